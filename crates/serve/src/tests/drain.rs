//! What a listener does when it stops.

use super::*;

#[tokio::test]
async fn draining_finishes_what_is_in_flight_and_refuses_the_rest() {
    let (router, mut arrivals, release) = held();
    let server = Server::start(router, options()).await;
    let mut busy = server.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();
    // One that sent nothing yet, and one kept alive after an answer.
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();
    release.add_permits(2);
    read_until(&mut idle, "released").await;
    read_until(&mut busy, "released").await;
    busy.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();

    server.signals.draining.cancel();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "the listener is still open"
    );

    release.add_permits(1);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("released"), "{answer}");
    assert_eq!(server.ended().await, Drained { cut: 0 });
}

#[tokio::test]
async fn what_outlives_the_drain_is_cut_and_counted() {
    let (router, mut arrivals, _release) = held();
    let brief = ServeOptions {
        drain_timeout: Duration::from_millis(50),
        ..options()
    };
    let server = Server::start(router, brief).await;
    let mut busy = server.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();
    server.signals.draining.cancel();
    assert_eq!(read_to_end(&mut busy).await, "");
    assert_eq!(server.ended().await, Drained { cut: 1 });
}

#[tokio::test]
async fn an_abort_does_not_wait() {
    let (router, mut arrivals, _release) = held();
    let patient = ServeOptions {
        drain_timeout: Duration::from_hours(1),
        ..options()
    };
    let server = Server::start(router, patient).await;
    let mut busy = server.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();
    server.signals.abort.cancel();
    assert_eq!(server.ended().await, Drained { cut: 1 });
}
