//! What an idle connection holds in memory, counted by the allocator: alone in its process, as it counts all there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![expect(
    clippy::disallowed_methods,
    reason = "real sockets are waited for, by a thread that serves nobody"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use acs_token_broker_serve::{Handler, HeadLimits, Listener, ServeOptions, ShutdownSignals, run};
use axum::body::Body;
use axum::response::Response;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const CONNECTIONS: usize = 256;
/// Bytes on the heap for each; 4,630 when this was written. Resident memory is more by what the allocator cannot use.
const MOST: usize = 5 * 1024;

/// Opens connections, each of which gets an answer and stays open.
fn open(address: SocketAddr) -> Vec<TcpStream> {
    let connection = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: broker.test\r\n\r\n")
            .unwrap();
        let mut answer = [0; 256];
        let mut read = 0;
        while !answer[..read].ends_with(b"hello") {
            let count = stream.read(&mut answer[read..]).unwrap();
            assert_ne!(count, 0);
            read += count;
        }
        stream
    };
    (0..CONNECTIONS).map(connection).collect()
}

/// The bytes on the heap once they have not changed for a while.
fn still() -> usize {
    let (mut bytes, mut since) = (HEAP.current_usage(), Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        sleep(Duration::from_millis(10));
        if HEAP.current_usage() != bytes {
            (bytes, since) = (HEAP.current_usage(), Instant::now());
        }
    }
    bytes
}

/// The bytes on the heap once they are at most so many, or after some seconds.
fn settled(most: usize) -> usize {
    let start = Instant::now();
    while HEAP.current_usage() > most && start.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(10));
    }
    HEAP.current_usage()
}

#[test]
fn an_idle_connection_is_small() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap());
    let listener = runtime.block_on(listener).unwrap();
    let address = listener.address();
    let heads = HeadLimits {
        fields: 100,
        bytes: 32 * 1024,
        read: Vec::new(),
        on_refusal: Vec::new(),
    };
    let hello = Handler::new(|_| async { Response::new(Body::from("hello")) });
    let options = ServeOptions::new(CONNECTIONS * 4, heads);
    runtime.spawn(run(listener, hello, options, ShutdownSignals::default()));

    // Tables that grow, and what is made once, are paid for before.
    let first = open(address);
    let before = still();
    let connections = open(address);
    let held = settled(before + CONNECTIONS * MOST).saturating_sub(before) / CONNECTIONS;
    assert!(held <= MOST, "{held} bytes for each");
    drop((first, connections));
}
