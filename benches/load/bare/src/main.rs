//! The yardstick of `benches/load`: what axum costs that looks at nothing and answers with bytes that it is given.
//!
//! `serve FILE` answers `POST /token` with the content of FILE and the headers that the broker's answer has, and takes
//! OTLP on every other path and throws it away. `check FILE CHECKS` checks the token of FILE so many times, as the
//! broker's library does it. FILE has three lines: the token, `n` and `e` of the key.

use std::hint::black_box;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::routing::post;
use jsonwebtoken::{Algorithm, DecodingKey};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", file] => serve(std::fs::read(file)?.into()),
        ["check", file, checks] => check(&std::fs::read_to_string(file)?, checks.parse()?),
        _ => Err("serve FILE | check FILE CHECKS".into()),
    }
}

#[tokio::main]
async fn serve(answer: Bytes) -> Outcome {
    let token = move |headers: HeaderMap| {
        let answer = answer.clone();
        async move {
            // Looked up, as the least that a service does with it.
            black_box(headers.get(AUTHORIZATION));
            let fields = [
                (CONTENT_TYPE, "application/json"),
                (CACHE_CONTROL, "no-store"),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (VARY, "origin"),
                (
                    "x-ms-request-id".parse().unwrap_or(VARY),
                    "00000000-0000-4000-8000-000000000000",
                ),
                (
                    "access-control-expose-headers".parse().unwrap_or(VARY),
                    "x-ms-request-id,x-ms-error-code,retry-after,www-authenticate,server-timing,x-cache",
                ),
            ];
            (fields, Body::from(answer))
        }
    };
    let router = Router::new().route("/token", post(token)).fallback(|_: Bytes| async {});
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("bare http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

fn check(file: &str, checks: u32) -> Outcome {
    let lines: Vec<&str> = file.lines().collect();
    let [token, n, e] = lines[..] else {
        return Err("a token, n and e, each on a line".into());
    };
    let (message, signature) = token.rsplit_once('.').ok_or("no token")?;
    let key = DecodingKey::from_rsa_components(n, e)?;
    for _ in 0..checks {
        let message = black_box(message).as_bytes();
        if !jsonwebtoken::crypto::verify(signature, message, &key, Algorithm::RS256)? {
            return Err("the signature is not good".into());
        }
    }
    Ok(())
}
