//! What HTTP clients send for "POST without a body", each as it was seen on the wire: with an Authorization header all of it
//! is the bearer form, whatever content type the client adds by itself.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::http::{Call, raw};
use crate::support::stack::{ACS_PATH, API_VERSION, Stack};

const FORM: &str = "application/x-www-form-urlencoded";
const TEXT: &str = "text/plain;charset=UTF-8";

/// What a client sends beside the request line, `Host` and `Authorization`.
struct Sent {
    client: &'static str,
    headers: String,
    body: &'static str,
}

fn sent(client: &'static str, headers: &[(&str, &str)], body: &'static str) -> Sent {
    let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    Sent {
        client,
        headers: headers.collect(),
        body,
    }
}

fn without_a_body() -> Vec<Sent> {
    let none: &[(&str, &str)] = &[];
    let zero = [("Content-Length", "0")];
    let zero_form = [("Content-Type", FORM), ("Content-Length", "0")];
    let chunked = [("Transfer-Encoding", "chunked")];
    vec![
        // No body at all.
        sent("curl -X POST", none, ""),
        sent("HttpURLConnection without output", none, ""),
        // A length of 0.
        sent("fetch, XMLHttpRequest", &zero, ""),
        sent("requests, httpx, urllib without data, Node's http", &zero, ""),
        sent("java.net.http noBody()", &zero, ""),
        sent("Go, nil or http.NoBody", &zero, ""),
        sent("Dart http, .NET HttpClient with null, URLSession", &zero, ""),
        sent(
            "java.net.http before it knows of HTTP/2",
            &[
                ("Connection", "Upgrade, HTTP2-Settings"),
                ("HTTP2-Settings", "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA"),
                ("Upgrade", "h2c"),
                ("Content-Length", "0"),
            ],
            "",
        ),
        // A content type beside it.
        sent("axios post(url, null), curl -d ''", &zero_form, ""),
        sent("HttpURLConnection, urllib with data=b''", &zero_form, ""),
        sent(
            "fetch of URLSearchParams, Dart http with a map",
            &[
                ("content-type", "application/x-www-form-urlencoded;charset=UTF-8"),
                ("content-length", "0"),
            ],
            "",
        ),
        sent(
            "fetch of '', XMLHttpRequest send('')",
            &[("content-type", TEXT), ("content-length", "0")],
            "",
        ),
        sent(
            "Dart http with body ''",
            &[("content-type", "text/plain; charset=utf-8"), ("content-length", "0")],
            "",
        ),
        sent(
            ".NET StringContent(\"\", UTF8, json), OkHttp with a JSON type",
            &[
                ("Content-Type", "application/json; charset=utf-8"),
                ("Content-Length", "0"),
            ],
            "",
        ),
        sent(
            "OkHttp with a type of \"\", Go with Content-Type \"\"",
            &[("Content-Type", ""), ("Content-Length", "0")],
            "",
        ),
        sent(
            "aiohttp, with data=b'' or without",
            &[("Content-Type", "application/octet-stream"), ("Content-Length", "0")],
            "",
        ),
        sent(
            "OkHttp with multipart headers, .NET with an encoding",
            &[
                ("Content-Type", "multipart/form-data; boundary=x"),
                ("Content-Encoding", "gzip"),
                ("Content-Length", "0"),
            ],
            "",
        ),
        sent(
            "a client with a type that is none",
            &[("Content-Type", "json"), ("Content-Length", "0")],
            "",
        ),
        // A stream without anything in it: only its end tells.
        sent(
            "fetch of a stream, Go and java.net.http of unknown length",
            &chunked,
            "0\r\n\r\n",
        ),
        sent(
            "HttpURLConnection with chunks",
            &[("Content-type", FORM), ("Transfer-Encoding", "chunked")],
            "0\r\n\r\n",
        ),
        sent(
            "chunks of text with trailers",
            &[("Content-Type", TEXT), ("Transfer-Encoding", "chunked")],
            "0\r\nx: y\r\n\r\n",
        ),
        // What stands for nothing.
        sent(
            "curl --json ''",
            &[("Content-Type", "application/json"), ("Content-Length", "0")],
            "",
        ),
        sent(
            "axios post(url, {}), requests with json={}",
            &[("Content-Type", "application/json"), ("Content-Length", "2")],
            "{}",
        ),
        sent(
            "a blank",
            &[("Content-Type", "application/json"), ("Content-Length", "3")],
            " \r\n",
        ),
        sent(
            "OkHttp with \"{}\", in chunks",
            &[
                ("Content-Type", "application/json; charset=utf-8"),
                ("Transfer-Encoding", "chunked"),
            ],
            "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        ),
    ]
}

fn paths() -> [String; 2] {
    ["/token".to_owned(), format!("{ACS_PATH}?api-version={API_VERSION}")]
}

#[tokio::test]
async fn no_body_is_no_body_whatever_a_client_says_of_it() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    for path in paths() {
        for Sent { client, headers, body } in without_a_body() {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n{body}\
                 GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            );
            let text = raw(stack.public, request.as_bytes()).await;
            assert!(text.starts_with("HTTP/1.1 200"), "{client} {path}: {text}");
            assert!(text.contains("\"accessToken\""), "{client} {path}: {text}");
            // And the connection goes on behind it.
            assert!(text.contains("HTTP/1.1 404"), "{client} {path}: {text}");
            // A refusal has the same shape as the answer.
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer a.b.c\r\n{}\r\n{body}",
                headers.replace("Connection: Upgrade, HTTP2-Settings\r\n", "")
            );
            let text = raw(stack.public, request.as_bytes()).await;
            assert!(text.starts_with("HTTP/1.1 401"), "{client} {path}: {text}");
            assert!(
                text.contains("\"innererror\":{\"code\":\"Malformed\"}"),
                "{client} {path}: {text}"
            );
        }
    }
    // A client that sent a head of its own shape and two hosts is answered in the bearer form's too.
    let two_hosts = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\nAuthorization: Bearer a.b.c\r\nContent-Type: {FORM}\r\nContent-Length: 0\r\n\r\n"
    );
    let text = raw(stack.public, two_hosts.as_bytes()).await;
    assert!(text.contains("\"error\":{\"code\":\"InvalidRequest\""), "{text}");
}

#[tokio::test]
async fn content_is_still_held_to_its_type() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let [own, acs] = paths();
    for (path, content_type, body, expected) in [
        (&own, FORM, "a=b", "400 invalid_request InvalidRequest"),
        (&acs, FORM, "a=b", "415 UnsupportedMediaType"),
        (&own, TEXT, "{}", "415 UnsupportedMediaType"),
        (&own, "", "{}", "415 UnsupportedMediaType"),
        (&acs, "application/octet-stream", " ", "415 UnsupportedMediaType"),
        // axios post(url, null) with a JSON type sends this.
        (&own, "application/json", "null", "400 InvalidRequest"),
        (&acs, "application/json", "\"\"", "400 InvalidRequest"),
    ] {
        let call = Call::new("POST", stack.url(path)).body(content_type, body);
        for token in [&token, "a.b.c"] {
            let answer = call.clone().bearer(token).send().await;
            assert_eq!(answer.outcome(), expected, "{path} {content_type:?} {body}");
        }
    }
    // Without the header it is the type that makes a request.
    for (content_type, expected) in [
        (FORM, "400 invalid_request InvalidRequest"),
        (TEXT, "415 UnsupportedMediaType"),
        ("", "401 AuthenticationRequired"),
        ("application/json", "401 AuthenticationRequired"),
    ] {
        let call = Call::new("POST", stack.url(&own)).body(content_type, "");
        assert_eq!(call.send().await.outcome(), expected, "{content_type:?}");
    }
}

/// What is sent behind the head of an HTTP/2 request: nothing, which the head says, or data frames, the last of which says so.
#[tokio::test]
async fn the_same_over_http_2() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    for path in paths() {
        for content_type in [None, Some(""), Some("application/json"), Some(FORM), Some(TEXT)] {
            for data in [&[][..], &[""], &["", ""]] {
                let answer = http_2(stack.public, &path, &token, content_type, data).await;
                assert!(
                    answer.contains("\"accessToken\""),
                    "{path} {content_type:?} {data:?}: {answer}"
                );
                let answer = http_2(stack.public, &path, "a.b.c", content_type, data).await;
                assert!(
                    answer.contains("\"innererror\":{\"code\":\"Malformed\"}"),
                    "{content_type:?} {data:?}: {answer}"
                );
            }
        }
        for data in [&["{}"][..], &["{", "}"], &[" ", ""]] {
            let answer = http_2(stack.public, &path, &token, Some("application/json"), data).await;
            assert!(answer.contains("\"accessToken\""), "{path} {data:?}: {answer}");
            let answer = http_2(stack.public, &path, &token, Some(TEXT), data).await;
            assert!(answer.contains("UnsupportedMediaType"), "{path} {data:?}: {answer}");
        }
    }
    let both_ways = http_2(stack.public, "/token", &token, Some(FORM), &["a=b"]).await;
    assert!(both_ways.contains("\"error\":\"invalid_request\""), "{both_ways}");
}

/// One request on a connection of its own; what the server sent until its answer's end, as text (RFC 9113, RFC 7541).
async fn http_2(address: SocketAddr, path: &str, token: &str, content_type: Option<&str>, data: &[&str]) -> String {
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let frame = |kind: u8, flags: u8, stream: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend(content);
        frame
    };
    let mut block = Vec::new();
    // A literal without indexing, without Huffman coding.
    let text = |block: &mut Vec<u8>, text: &str| {
        let mut length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap());
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            block.push(u8::try_from(length).unwrap());
        }
        block.extend(text.as_bytes());
    };
    let bearer = format!("Bearer {token}");
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", path),
        ("authorization", &bearer),
    ];
    fields.extend(content_type.map(|value| ("content-type", value)));
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    let end_of_head = if data.is_empty() { END_STREAM } else { 0 };
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend(frame(4, 0, 0, &[]));
    request.extend(frame(HEADERS, END_HEADERS | end_of_head, 1, &block));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    // Apart from the head, as a client does that does not know yet that nothing will come.
    for (index, part) in data.iter().enumerate() {
        let end = if index + 1 == data.len() { END_STREAM } else { 0 };
        stream.write_all(&frame(DATA, end, 1, part.as_bytes())).await.unwrap();
    }
    let mut answer = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut content = vec![0; length];
        stream.read_exact(&mut content).await.unwrap();
        let is_ours = head[8] == 1 && (head[3] == HEADERS || head[3] == DATA);
        if is_ours {
            answer.extend(content);
        }
        if is_ours && head[4] & END_STREAM != 0 {
            return String::from_utf8_lossy(&answer).into_owned();
        }
    }
}
