//! How a call ended without a complete response, and what that says of the connection that it was sent on.

use std::error::Error as _;
use std::io;

use super::SendError;

/// How a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing came back in time.
    Silent,
    /// It was closed or reset with a request on it. Those beside it have most likely met with the same.
    Broken,
}

/// A call without a complete response, and whether that says something about the connection that it was sent on.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: SendError,
    pub(super) lost: Option<Lost>,
}

impl Ended {
    /// No complete response in time.
    pub(super) const TIMED_OUT: Self = Self {
        error: SendError::Timeout,
        lost: Some(Lost::Silent),
    };

    /// What a failure of the HTTP client means.
    pub(super) fn from_reqwest(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            // There was no connection, so there is none to give up.
            return Self {
                error: if error.is_timeout() {
                    SendError::Timeout
                } else {
                    SendError::NotConnected(causes(error))
                },
                lost: None,
            };
        }
        Self {
            error: SendError::Connection(causes(error)),
            lost: broke(error).then_some(Lost::Broken),
        }
    }
}

/// Whether the whole connection broke; an HTTP/2 stream alone can be reset too, by an upstream that is well.
fn broke(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<io::Error>() {
            return true;
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_timeout())
        {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The cause chain of a reqwest error without its URL. Only transport words are in it, never headers or bodies.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if text.is_empty() {
        // One without a cause is about the request itself, which is made here.
        text.push_str("the request cannot be sent");
    }
    text
}
