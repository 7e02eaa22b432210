//! Reading bodies within bounds of size, time and memory.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::error::ApiError;
use crate::admission::Overloaded;

/// The largest body read.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The memory that all bodies being read may take together.
#[derive(Debug, Clone)]
pub(super) struct BodyReader {
    // One permit a byte, taken as bytes arrive: who announces a body and sends nothing holds nothing.
    bytes: Arc<Semaphore>,
}

impl BodyReader {
    /// A reader for `bodies` bodies of the largest size at once.
    pub(super) fn new(bodies: usize) -> Self {
        let bytes = bodies.saturating_mul(MAX_BODY_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Reads the whole body before `deadline`. One that announces too much is not read at all.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body, deadline: Instant) -> Result<Bytes, ApiError> {
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
        tokio::time::timeout_at(deadline, self.collect(body))
            .await
            .unwrap_or(Err(ApiError::RequestTimeout))
    }

    async fn collect(&self, mut body: Body) -> Result<Bytes, ApiError> {
        // Copied into one buffer: kept frames would pin whole read buffers, however few bytes each brings.
        let mut content = BytesMut::new();
        let mut held: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::InvalidRequest("The body could not be read."))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if content.len() + data.len() > MAX_BODY_BYTES {
                return Err(ApiError::PayloadTooLarge);
            }
            let count = u32::try_from(data.len()).map_err(|_| ApiError::PayloadTooLarge)?;
            let more = self.bytes.try_acquire_many(count).map_err(|_| Overloaded::Bodies)?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
            content.extend_from_slice(&data);
        }
        Ok(content.freeze())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::pipeline::IssueError;

    fn in_time() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn frames(sizes: &[usize]) -> Body {
        let frames: Vec<_> = sizes
            .iter()
            .map(|size| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'a'; *size]))))
            .collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        let reader = BodyReader::new(4);
        let headers = HeaderMap::new();
        for (sizes, length) in [
            (&[][..], Some(0)),
            (&[1, 2, 3][..], Some(6)),
            (&[MAX_BODY_BYTES][..], Some(MAX_BODY_BYTES)),
            (&[MAX_BODY_BYTES, 1][..], None),
            (&[MAX_BODY_BYTES + 1][..], None),
        ] {
            let outcome = reader.read(&headers, frames(sizes), in_time()).await;
            assert_eq!(outcome.ok().map(|content| content.len()), length, "{sizes:?}");
        }
        assert_eq!(reader.bytes.available_permits(), 4 * MAX_BODY_BYTES, "all given back");
    }

    #[tokio::test]
    async fn bodies_that_send_nothing_keep_nobody_out() {
        let reader = BodyReader::new(1);
        let headers = HeaderMap::new();
        let silent = Body::new(StreamBody::new(futures_util::stream::pending::<
            Result<Frame<Bytes>, Infallible>,
        >()));
        let mut waiting = Box::pin(reader.read(&headers, silent, in_time()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let other = reader.read(&headers, Body::new(Full::from("{}")), in_time()).await;
        assert_eq!(other.unwrap(), "{}");
    }

    #[tokio::test]
    async fn memory_is_bounded_in_all() {
        let reader = BodyReader::new(1);
        let headers = HeaderMap::new();
        let endless = futures_util::StreamExt::chain(
            futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![
                b'a';
                MAX_BODY_BYTES
            ])))]),
            futures_util::stream::pending(),
        );
        let mut waiting = Box::pin(reader.read(&headers, Body::new(StreamBody::new(endless)), in_time()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let other = reader.read(&headers, frames(&[1]), in_time()).await;
        assert!(matches!(
            other,
            Err(ApiError::Issue(IssueError::Overloaded(Overloaded::Bodies)))
        ));
        drop(waiting);
        assert!(reader.read(&headers, frames(&[1]), in_time()).await.is_ok());
    }
}
