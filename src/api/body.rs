//! Reading a body within bounds of size and time.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::Instant;

use super::error::ApiError;
use crate::admission::Admission;

/// The largest body read.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Reads the whole body before `deadline`. One that announces too much is not read at all.
///
/// `readers` bounds how many bodies are held at once: an HTTP/2 connection can bring a hundred.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    deadline: Instant,
    readers: &Admission,
) -> Result<Bytes, ApiError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(ApiError::PayloadTooLarge);
    }
    let _reader = readers.enter()?;
    match tokio::time::timeout_at(deadline, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::PayloadTooLarge),
        Ok(Err(_)) => Err(ApiError::InvalidRequest("The body could not be read.")),
        Err(_) => Err(ApiError::RequestTimeout),
    }
}
