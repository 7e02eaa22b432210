//! Cancelled requests on an HTTP/2 connection that others share.

use super::*;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_OF_BOTH: u8 = 5;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// `GET /`, each field by its place in HPACK's static table but the authority.
fn request(stream: u32) -> Vec<u8> {
    let head = [&[0x82, 0x84, 0x86, 0x41, 6][..], b"broker"].concat();
    frame(HEADERS, END_OF_BOTH, stream, &head)
}

fn reset(stream: u32) -> Vec<u8> {
    // CANCEL
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

fn preface() -> Vec<u8> {
    [&crate::frames::PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Those of `wanted` that are answered before the connection ends; and whether it was sent away.
async fn answered(stream: &mut TcpStream, wanted: &[u32]) -> (Vec<u32>, bool) {
    let (mut read, mut answered, mut gone) = (Vec::new(), Vec::new(), false);
    while answered.len() < wanted.len() {
        if timeout(SOON, stream.read_buf(&mut read)).await.unwrap().unwrap_or(0) == 0 {
            break;
        }
        while let Some((head, rest)) = read.split_first_chunk::<9>() {
            let [a, b, c, kind, _, number @ ..] = *head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if rest.len() < length {
                break;
            }
            if kind == HEADERS {
                answered.extend(wanted.iter().filter(|stream| **stream == u32::from_be_bytes(number)));
            }
            gone |= kind == GOAWAY;
            read.drain(..9 + length);
        }
    }
    (answered, gone)
}

/// Three requests of others are under way, and `cancelled` come and go again at once. Gives how long the others take.
async fn shared_with(cancelled: u32, options: ServeOptions) -> Duration {
    let (router, mut arrivals, release) = held();
    let server = Server::start(router, options).await;
    let mut stream = server.connect().await;
    let others = [1, 3, 5];
    let sent = others.iter().flat_map(|stream| request(*stream));
    stream
        .write_all(&preface().into_iter().chain(sent).collect::<Vec<_>>())
        .await
        .unwrap();
    for _ in others {
        timeout(SOON, arrivals.recv()).await.unwrap();
    }
    let began = tokio::time::Instant::now();
    let mut sent = Vec::new();
    for n in 0..cancelled {
        sent.extend(request(7 + 2 * n));
        sent.extend(reset(7 + 2 * n));
    }
    // And one that comes after them.
    let last = 7 + 2 * cancelled;
    sent.extend(request(last));
    stream.write_all(&sent).await.unwrap();
    // The cancelled may take what is released too, before they are seen to be.
    release.add_permits(4 + cancelled as usize);
    let wanted = [1, 3, 5, last];
    let (mut streams, gone) = answered(&mut stream, &wanted).await;
    let took = began.elapsed();
    streams.sort_unstable();
    assert_eq!((streams, gone), (wanted.to_vec(), false), "beside {cancelled}");
    took
}

fn behind_a_proxy() -> ServeOptions {
    ServeOptions {
        // As much as a broker has by default.
        memory: Memory::new(4096),
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..options()
    }
}

#[tokio::test]
async fn others_on_the_connection_are_served() {
    for cancelled in [25, 190] {
        shared_with(cancelled, options()).await;
    }
}

#[tokio::test]
async fn others_on_a_proxys_connection_are_served() {
    for cancelled in [25, 900] {
        shared_with(cancelled, behind_a_proxy()).await;
    }
}

#[tokio::test]
async fn who_cancels_much_is_read_slowly_and_not_sent_away() {
    // A hundred beyond the burst, at their pace.
    let took = shared_with(300, options()).await;
    assert!(took >= Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn a_proxy_may_cancel_ten_times_as_much() {
    let took = shared_with(1500, behind_a_proxy()).await;
    assert!(took >= Duration::from_millis(450), "{took:?}");
}
