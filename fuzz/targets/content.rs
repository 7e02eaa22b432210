//! The body of a request whose token is in its head: nothing, or an empty JSON object. The first byte chooses the content type;
//! behind each 0xff begins another frame, as a body may come in any pieces.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use broker::api::fuzzing::content;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().enable_time().build().expect("a runtime"));
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let kinds = [None, Some("text/plain"), Some("application/x-www-form-urlencoded")];
    let kind = kinds
        .get(usize::from(kind))
        .copied()
        .unwrap_or(Some("application/json"));
    let mut headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"))]);
    headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
    let frames: Vec<Bytes> = data.split(|byte| *byte == 0xff).map(Bytes::copy_from_slice).collect();
    let whole = frames.concat();
    let frames = frames.into_iter().map(Ok::<_, Infallible>);
    let body = Body::from_stream(futures_util::stream::iter(frames));
    let read = RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let deadline = Instant::now() + Duration::from_secs(60);
            content(&headers, body, deadline).await
        })
    });
    let is_blank = whole.iter().all(|byte| b" \t\r\n".contains(byte));
    let is_empty =
        is_blank || serde_json::from_slice::<Value>(&whole).is_ok_and(|value| value == serde_json::json!({}));
    let expected = match kind {
        _ if whole.is_empty() => Ok(true),
        Some("application/json") if is_empty => Ok(true),
        Some("application/json") => Err("InvalidRequest"),
        _ => Err("UnsupportedMediaType"),
    };
    assert_eq!(read.map_err(|error| error.response().code), expected);
});
