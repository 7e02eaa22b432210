//! A proxy on the way to an upstream that treats one path as bad networks and broken servers do, byte by byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// What is done to a request for the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Read, and never answered.
    Silence,
    /// Read, and the connection reset.
    Reset,
    /// Every other time as `Reset`; otherwise passed on.
    Flapping,
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then one more byte every few milliseconds, without end.
    Drip(Vec<u8>),
    /// These bytes, then the second ones again and again, as fast as they are taken.
    Flood(Vec<u8>, Vec<u8>),
}

/// How long a drip waits.
const DRIP: Duration = Duration::from_millis(20);

/// A running proxy; dropping it cuts its connections.
pub(crate) struct Saboteur {
    address: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    /// A part of the path.
    path: &'static str,
    target: SocketAddr,
    /// This origin, and the one in its place in what the target answers.
    origins: (String, String),
    sabotage: Mutex<Option<Sabotage>>,
    /// Requests for the path, passed on or not.
    seen: AtomicUsize,
}

impl Saboteur {
    /// A proxy to the server at an origin, which passes everything on at first.
    pub(crate) async fn start(target: &str, path: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            path,
            target: target.trim_start_matches("http://").parse().unwrap(),
            origins: (target.to_owned(), format!("http://{address}")),
            sabotage: Mutex::new(None),
            seen: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                connections.spawn(async move {
                    // A connection that ends early is what this is for.
                    let _ = serve(near, &state).await;
                });
            }
        });
        Self {
            address,
            state,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this from now on to requests for the path; `None` passes them on.
    pub(crate) fn set(&self, sabotage: Option<Sabotage>) {
        *self.state.sabotage.lock().unwrap() = sabotage;
    }

    /// How many requests for the path there have been.
    pub(crate) fn seen(&self) -> usize {
        self.state.seen.load(Ordering::SeqCst)
    }
}

impl Drop for Saboteur {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request for each connection.
async fn serve(mut near: TcpStream, state: &State) -> std::io::Result<()> {
    let request = read_message(&mut near).await?;
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if !String::from_utf8_lossy(line).contains(state.path) {
        return pass_on(near, &request, state).await;
    }
    let number = state.seen.fetch_add(1, Ordering::SeqCst);
    let sabotage = state.sabotage.lock().unwrap().clone();
    match sabotage {
        None => pass_on(near, &request, state).await,
        Some(Sabotage::Flapping) if number % 2 == 1 => pass_on(near, &request, state).await,
        Some(Sabotage::Reset | Sabotage::Flapping) => near.set_zero_linger(),
        Some(Sabotage::Silence) => {
            // Until the other side gives up.
            let _ = near.read(&mut [0]).await;
            Ok(())
        }
        Some(Sabotage::Bytes(bytes)) => {
            near.write_all(&bytes).await?;
            near.shutdown().await
        }
        Some(Sabotage::Drip(bytes)) => {
            near.write_all(&bytes).await?;
            loop {
                tokio::time::sleep(DRIP).await;
                near.write_all(b"x").await?;
            }
        }
        Some(Sabotage::Flood(bytes, again)) => {
            near.write_all(&bytes).await?;
            loop {
                near.write_all(&again).await?;
            }
        }
    }
}

/// Passes a request on, and the answer back, in which the endpoints that documents name are this proxy's.
async fn pass_on(mut near: TcpStream, request: &[u8], state: &State) -> std::io::Result<()> {
    let mut far = TcpStream::connect(state.target).await?;
    let head = head_length(request).unwrap_or(request.len());
    far.write_all(&request[..head - 2]).await?;
    far.write_all(b"connection: close\r\n\r\n").await?;
    far.write_all(&request[head..]).await?;
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await?;
    let head = head_length(&answer).unwrap_or(answer.len());
    let (from, to) = &state.origins;
    let mut body = String::from_utf8_lossy(&answer[head..]).into_owned();
    for name in ["jwks_uri", "token_endpoint"] {
        body = body.replace(&format!("\"{name}\":\"{from}"), &format!("\"{name}\":\"{to}"));
    }
    let text = String::from_utf8_lossy(&answer[..head]).into_owned();
    let kept = text
        .split_inclusive("\r\n")
        .filter(|line| *line != "\r\n" && !line.to_ascii_lowercase().starts_with("content-length:"));
    let head: String = kept.collect();
    let length = body.len();
    near.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes())
        .await?;
    near.shutdown().await
}

/// A request with its body, which has a length.
async fn read_message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if stream.read_buf(&mut message).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = head_length(&message) else { continue };
        let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap_or(0));
        if message.len() >= head + length {
            return Ok(message);
        }
    }
}

/// The length of the head, with the empty line at its end.
fn head_length(message: &[u8]) -> Option<usize> {
    let end = message.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    Some(end + 4)
}
