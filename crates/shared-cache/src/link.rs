//! One connection to one server.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{self, Either, join_all};
use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisConnectionInfo, RedisError, ServerErrorKind};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::credentials::Login;
use crate::failure::{Failure, is_of_server};
use crate::permissions::{self, Refusal};
use crate::script::Script;
use crate::settings::Node;
use base::tasks::Tasks;
use base::untrusted::OneLine;
use config::SharedCacheConfig;

/// Commands that wait to be written. More wait for room there, each within its own limit.
const QUEUE: usize = 1024;
/// Of a reason that is shown, in characters. TLS errors name what a server's certificate is for.
const LONGEST_REASON: usize = 256;

/// How connections are made.
pub(crate) struct Dialer {
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) tls_name: Option<String>,
    pub(crate) limit: Duration,
    pub(crate) tasks: Tasks,
    // Is told when a connection is lost or doubtful.
    pub(crate) changed: Arc<Notify>,
}

/// A connection, and whether operations may use it.
pub(crate) struct Link {
    pub(crate) node: Node,
    // The host by which the node's certificate is verified, unless another name is set.
    pub(crate) known_as: String,
    connection: MultiplexedConnection,
    // Whether it is worth asking. Only a probe says so.
    is_well: AtomicBool,
    is_lost: Arc<AtomicBool>,
    login_ends: Mutex<Option<Timestamp>>,
    changed: Arc<Notify>,
    // Dropped with the link, which closes the connection.
    _open: oneshot::Sender<()>,
}

type Stream = Pin<Box<dyn AsyncStream>>;

trait AsyncStream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send> AsyncStream for S {}

impl Dialer {
    /// Connects and authenticates, within the limit. The link is not well before it is probed.
    pub(crate) async fn dial(&self, node: &Node, known_as: &str, login: Option<&Login>) -> Result<Link, Failure> {
        let shown = || node.to_string();
        match timeout(self.limit, self.dial_unbounded(node, known_as, login)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(Failure::NoAnswer { node: shown() }),
        }
    }

    async fn dial_unbounded(&self, node: &Node, known_as: &str, login: Option<&Login>) -> Result<Link, Failure> {
        let stream = self
            .stream(node, known_as)
            .await
            .map_err(|error| Failure::NoConnection {
                node: node.to_string(),
                reason: OneLine(&error.to_string(), LONGEST_REASON).to_string(),
            })?;
        let mut info = RedisConnectionInfo::default().set_lib_name("acs-token-broker", env!("CARGO_PKG_VERSION"));
        if let Some(login) = login {
            info = info.set_password(login.password.expose_secret());
            if let Some(username) = &login.username {
                info = info.set_username(username);
            }
        }
        // Limits of time are those of the operations: the crate's own would come on top.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| Failure::of(node.to_string(), &error))?;
        let (open, closed) = oneshot::channel();
        let is_lost = Arc::new(AtomicBool::new(false));
        self.tasks
            .spawn(drive(driver, closed, Arc::clone(&is_lost), Arc::clone(&self.changed)));
        Ok(Link {
            node: node.clone(),
            known_as: known_as.to_owned(),
            connection,
            is_well: AtomicBool::new(false),
            is_lost,
            login_ends: Mutex::new(login.and_then(|login| login.expires_on)),
            changed: Arc::clone(&self.changed),
            _open: open,
        })
    }

    async fn stream(&self, node: &Node, known_as: &str) -> io::Result<Stream> {
        let stream = TcpStream::connect((node.host.as_str(), node.port)).await?;
        // Requests are small, and each waits for its answer.
        stream.set_nodelay(true)?;
        if !node.is_tls {
            return Ok(Box::pin(stream));
        }
        let Some(tls) = &self.tls else {
            return Err(io::Error::other("TLS is not set up"));
        };
        let name = self.tls_name.as_deref().unwrap_or(known_as).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(Box::pin(stream))
    }
}

/// Reads and writes until the connection is lost, or its link is dropped.
async fn drive(
    driver: impl Future<Output = ()>,
    closed: oneshot::Receiver<()>,
    is_lost: Arc<AtomicBool>,
    changed: Arc<Notify>,
) {
    if let Either::Left(_) = future::select(std::pin::pin!(driver), closed).await {
        is_lost.store(true, Ordering::Release);
        changed.notify_one();
    }
}

impl Link {
    pub(crate) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Acquire) && !self.is_lost()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// Nothing is asked here until a probe has succeeded.
    pub(crate) fn doubt(&self) {
        self.is_well.store(false, Ordering::Release);
        self.changed.notify_one();
    }

    /// Asks the server. An answer by which it is of no use to anybody makes the link doubtful.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let answer = command.query_async(&mut self.connection.clone()).await;
        self.judge(answer)
    }

    /// The same for a key that is moving here from another server of the cluster.
    pub(crate) async fn ask_moving<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(command.clone());
        let answer = pipeline.query_async::<(T,)>(&mut self.connection.clone()).await;
        self.judge(answer.map(|(answer,)| answer))
    }

    /// Runs a script, which is sent whole if the server does not know it.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, RedisError> {
        match self.ask(&script.call(keys, arguments)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask(&script.call_whole(keys, arguments)).await
            }
            answer => answer,
        }
    }

    fn judge<T>(&self, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        if let Err(error) = &answer {
            // Where nothing was well before, nothing new is learnt by what is refused.
            let is_refused = self.is_well() && permissions::is_refused(error);
            if is_refused || is_of_server(error) || error.is_io_error() || error.is_unrecoverable_error() {
                self.doubt();
            }
        }
        answer
    }

    /// Looks whether the server answers, takes writes and does so within the limit for an operation: deletes a key that nobody
    /// has. A connection that was not well before has the user's permissions tried out, too.
    pub(crate) async fn probe(&self, key: &str, config: &SharedCacheConfig) -> Result<(), Failure> {
        let (allowed, limit) = (config.timeout, config.connect_timeout);
        let node = || self.node.to_string();
        let start = Instant::now();
        let command = redis::cmd("DEL").arg(key).take();
        let answer = timeout(limit, command.query_async::<i64>(&mut self.connection.clone())).await;
        let took = start.elapsed();
        match answer {
            Err(_) => {
                self.is_lost.store(true, Ordering::Release);
                Err(Failure::NoAnswer { node: node() })
            }
            Ok(Err(error)) if permissions::is_refused(&error) => {
                self.is_well.store(false, Ordering::Release);
                self.try_permissions(key, config).await
            }
            Ok(Err(error)) => {
                let failure = Failure::of(node(), &error);
                // Another connection may find another server, or another credential.
                self.is_lost.store(true, Ordering::Release);
                Err(failure)
            }
            Ok(Ok(_)) if took > allowed => Err(Failure::Slow {
                node: node(),
                milliseconds: took.as_millis(),
            }),
            Ok(Ok(_)) => {
                if self.is_well() {
                    return Ok(());
                }
                self.try_permissions(key, config).await
            }
        }
    }

    /// Looks whether the user may do what operations need: then the connection is well.
    async fn try_permissions(&self, key: &str, config: &SharedCacheConfig) -> Result<(), Failure> {
        let trials = permissions::trials(&config.kind, key);
        // Written together.
        let asked = trials.iter().map(|(name, command)| async move {
            let answer = command.query_async::<redis::Value>(&mut self.connection.clone()).await;
            (*name, answer.err().as_ref().and_then(Refusal::of))
        });
        let node = || self.node.to_string();
        let Ok(refused) = timeout(config.connect_timeout, join_all(asked)).await else {
            self.is_lost.store(true, Ordering::Release);
            return Err(Failure::NoAnswer { node: node() });
        };
        match permissions::lacking(&refused, &config.prefix) {
            None => {
                self.is_well.store(true, Ordering::Release);
                Ok(())
            }
            Some(permissions) => Err(Failure::NotPermitted {
                node: node(),
                permissions,
            }),
        }
    }

    /// When the server stops taking the credential of this connection.
    pub(crate) fn login_ends(&self) -> Option<Timestamp> {
        *self.login_ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Authenticates once more. Operations under way are not disturbed.
    pub(crate) async fn log_in(&self, login: &Login, limit: Duration) -> Result<(), Failure> {
        let node = || self.node.to_string();
        let mut command = redis::cmd("AUTH");
        if let Some(username) = &login.username {
            command.arg(username);
        }
        command.arg(login.password.expose_secret());
        let answer = timeout(limit, command.query_async::<()>(&mut self.connection.clone())).await;
        match answer {
            Err(_) => Err(Failure::NoAnswer { node: node() }),
            Ok(Err(error)) => Err(Failure::of(node(), &error)),
            Ok(Ok(())) => {
                *self.login_ends.lock().unwrap_or_else(PoisonError::into_inner) = login.expires_on;
                Ok(())
            }
        }
    }
}
