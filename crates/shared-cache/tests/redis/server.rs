//! Servers of the store's kind: processes on loopback.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use config::StoreServer;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::local;

/// A server, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    program: &'static str,
    arguments: Vec<String>,
    // How the tests themselves speak to it.
    password: Option<String>,
    is_tls: bool,
    // Of a sentinel, which writes it.
    configuration: Option<TempDir>,
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Server {
    /// A server with nothing in it.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn with(arguments: &[&str]) -> Self {
        Self::run("redis-server", arguments, None, false).await
    }

    /// The same with a password for the default user.
    pub(crate) async fn with_password(password: &str) -> Self {
        let arguments = ["--requirepass", password];
        Self::run("redis-server", &arguments, Some(password.to_owned()), false).await
    }

    /// A server that speaks TLS alone, with these files.
    pub(crate) async fn with_tls(certificate: &str, key: &str, ca: &str, arguments: &[&str]) -> Self {
        let tls = [
            "--tls-cert-file",
            certificate,
            "--tls-key-file",
            key,
            "--tls-ca-cert-file",
            ca,
            "--tls-auth-clients",
            "no",
        ];
        Self::run("redis-server", &[&tls, arguments].concat(), None, true).await
    }

    /// A sentinel with this configuration.
    pub(crate) async fn sentinel(configuration: &str, password: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, configuration).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let mut server = Self::run("redis-sentinel", &[&file], password.map(str::to_owned), false).await;
        server.configuration = Some(folder);
        server
    }

    async fn run(program: &'static str, arguments: &[&str], password: Option<String>, is_tls: bool) -> Self {
        // Another process may take the port meanwhile.
        for _ in 0..10 {
            let port = free_port();
            let folder = tempfile::tempdir().unwrap();
            let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let mut server = Self {
                child: spawn(program, &arguments, port, &folder, is_tls),
                folder,
                port,
                program,
                arguments,
                password: password.clone(),
                is_tls,
                configuration: None,
            };
            if server.is_up().await {
                return server;
            }
        }
        panic!("{program} does not start");
    }

    async fn is_up(&mut self) -> bool {
        for _ in 0..1000 {
            if self.child.try_wait().unwrap().is_some() {
                let mut said = String::new();
                let _ = self.child.stdout.take().unwrap().read_to_string(&mut said);
                eprintln!("{said}");
                return false;
            }
            let is_up = if self.is_tls {
                tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
            } else {
                match self.connect().await {
                    Ok(mut connection) => redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok(),
                    Err(_) => false,
                }
            };
            if is_up {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub(crate) fn node(&self) -> StoreServer {
        local(self.port)
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let password = self
            .password
            .as_ref()
            .map_or(String::new(), |password| format!(":{password}@"));
        let client = redis::Client::open(format!("redis://{password}127.0.0.1:{}", self.port))?;
        client.get_multiplexed_async_connection().await
    }

    /// Says something to it, as its administrator.
    pub(crate) async fn say<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_say(words).await.unwrap()
    }

    pub(crate) async fn try_say<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connect().await?).await
    }

    /// All names in it.
    pub(crate) async fn keys(&self) -> Vec<String> {
        self.say(&["KEYS", "*"]).await
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Stops it from doing anything, without a connection being closed.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, at its port, with nothing in it but what it wrote to its folder.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.program, &self.arguments, self.port, &self.folder, self.is_tls);
        assert!(self.is_up().await);
    }
}

fn spawn(program: &str, arguments: &[String], port: u16, folder: &TempDir, is_tls: bool) -> Child {
    let port = port.to_string();
    let mut command = Command::new(program);
    // A configuration file comes first.
    command.args(arguments);
    let ports = if is_tls {
        ["--port", "0", "--tls-port", &port]
    } else {
        ["--port", &port, "--tls-port", "0"]
    };
    command
        .args(ports)
        .args(["--bind", "127.0.0.1", "--protected-mode", "no"]);
    command.args(["--dir", folder.path().to_str().unwrap()]);
    if program == "redis-server" {
        command.args(["--save", "", "--appendonly", "no"]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/shared-cache.sh installs it"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
