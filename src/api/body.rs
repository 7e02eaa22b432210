//! Reading bodies within bounds of size, time and memory.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::error::ApiError;
use crate::admission::Overloaded;
use ::serve::{Budget, Share};

/// The largest body read.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Reads bodies within the memory that heads and bodies may take together.
#[derive(Debug, Clone)]
pub(super) struct BodyReader {
    // Taken as bytes arrive: a client that announces a body and sends nothing holds nothing.
    memory: Budget,
}

/// A body that was read, and the memory that it has.
struct Content {
    bytes: Vec<u8>,
    share: Share,
}

impl BodyReader {
    pub(super) fn new(memory: Budget) -> Self {
        Self { memory }
    }

    /// Reads the whole body before `deadline`. One that announces too much is not read at all.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body, deadline: Instant) -> Result<Bytes, ApiError> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
            return Err(ApiError::PayloadTooLarge);
        }
        tokio::time::timeout_at(deadline, self.collect(body, announced))
            .await
            .unwrap_or(Err(ApiError::RequestTimeout))
    }

    async fn collect(&self, mut body: Body, announced: Option<usize>) -> Result<Bytes, ApiError> {
        // Copied into one buffer: kept frames would pin whole read buffers, however few bytes each brings.
        let mut content = Content {
            bytes: Vec::new(),
            share: self.memory.take(0).ok_or(Overloaded::Memory)?,
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::InvalidRequest("The body could not be read."))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if content.bytes.len() + data.len() > MAX_BODY_BYTES {
                return Err(ApiError::PayloadTooLarge);
            }
            content.extend(&data, announced)?;
        }
        // The memory is taken until the body is dropped.
        Ok(Bytes::from_owner(content))
    }
}

impl Content {
    /// Appends, and takes memory for what is really allocated: while a buffer grows there are two.
    fn extend(&mut self, data: &[u8], announced: Option<usize>) -> Result<(), Overloaded> {
        let needed = self.bytes.len() + data.len();
        let old = self.bytes.capacity();
        if needed > old {
            let most = announced.filter(|length| *length >= needed).unwrap_or(MAX_BODY_BYTES);
            let new = needed.max((2 * old).min(most));
            if !self.share.grow(new) {
                return Err(Overloaded::Memory);
            }
            let mut bytes = Vec::with_capacity(new);
            bytes.extend_from_slice(&self.bytes);
            self.bytes = bytes;
            self.share.shrink(old);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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
        let reader = BodyReader::new(Budget::new(4 * MAX_BODY_BYTES));
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
        assert_eq!(reader.memory.used(), 0, "all given back");
    }

    #[tokio::test]
    async fn bodies_that_send_nothing_hold_no_memory() {
        let reader = BodyReader::new(Budget::new(MAX_BODY_BYTES));
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
        let reader = BodyReader::new(Budget::new(MAX_BODY_BYTES));
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
            Err(ApiError::Issue(IssueError::Overloaded(Overloaded::Memory)))
        ));
        drop(waiting);
        assert!(reader.read(&headers, frames(&[1]), in_time()).await.is_ok());
    }

    #[tokio::test]
    async fn the_memory_taken_is_that_allocated() {
        for (announced, sizes) in [
            (None, vec![1; 3000]),
            (None, vec![4096; 16]),
            (None, vec![MAX_BODY_BYTES]),
            (Some(3000), vec![1; 3000]),
            (Some(MAX_BODY_BYTES), vec![4096; 16]),
            (Some(1), vec![1000, 1000]),
        ] {
            let memory = Budget::new(usize::MAX);
            let mut content = Content {
                bytes: Vec::new(),
                share: memory.take(0).unwrap(),
            };
            for size in &sizes {
                content.extend(&vec![b'a'; *size], announced).unwrap();
                assert_eq!(memory.used(), content.bytes.capacity());
            }
            let length: usize = sizes.iter().sum();
            assert_eq!(content.bytes.len(), length);
            assert!(content.bytes.capacity() <= MAX_BODY_BYTES);
        }
    }

    #[tokio::test]
    async fn the_memory_of_a_body_is_taken_until_it_is_dropped() {
        let memory = Budget::new(MAX_BODY_BYTES);
        let reader = BodyReader::new(memory.clone());
        let content = reader.read(&HeaderMap::new(), frames(&[100]), in_time()).await.unwrap();
        assert!(memory.used() >= 100);
        drop(content);
        assert_eq!(memory.used(), 0);
    }
}
