//! What a request is, apart from its content; known from its head on and until its answer is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Uri};
use tokio::time::Instant;
use uuid::Uuid;

use super::media;

/// Longest `x-ms-client-request-id` that is echoed.
const MAX_CLIENT_REQUEST_ID: usize = 128;

/// A request's context, in its extensions.
#[derive(Debug, Clone)]
pub(super) struct RequestContext {
    /// `x-ms-request-id`, ours.
    pub(super) request_id: Uuid,
    /// `x-ms-client-request-id`, if well-formed.
    pub(super) client_request_id: Option<HeaderValue>,
    /// When the answer must be there.
    pub(super) deadline: Instant,
    /// Whether the answer has OAuth's shape.
    pub(super) oauth: bool,
    // Shared by the copies.
    caller_verified: Arc<AtomicBool>,
}

impl RequestContext {
    /// `is_bodiless`: whether the head says that nothing follows.
    pub(super) fn new(method: &Method, uri: &Uri, headers: &HeaderMap, is_bodiless: bool, deadline: Instant) -> Self {
        // A token in the head and nothing behind it: the content type is one that the client sends by itself.
        let is_bearer = is_bodiless && headers.contains_key(AUTHORIZATION);
        let is_oauth = match uri.path() {
            super::OAUTH_TOKEN_PATH => true,
            super::TOKEN_PATH => media::is_form(headers) && !is_bearer,
            _ => false,
        };
        Self {
            request_id: random_id(),
            client_request_id: client_request_id(headers),
            deadline,
            oauth: method == Method::POST && is_oauth,
            caller_verified: Arc::default(),
        }
    }

    /// Notes that the request's token was accepted, whatever became of the request then.
    pub(super) fn mark_verified(&self) {
        self.caller_verified.store(true, Ordering::Relaxed);
    }

    /// Whether the request's token was accepted. `false` too for one that was dropped before its end.
    pub(super) fn caller_verified(&self) -> bool {
        self.caller_verified.load(Ordering::Relaxed)
    }
}

/// Random, but not secret: no safety rests on it. A system call for each request's would cost more than the id is worth.
fn random_id() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid()
}

fn client_request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all("x-ms-client-request-id").iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let well_formed = (1..=MAX_CLIENT_REQUEST_ID).contains(&value.len())
        && value
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte));
    well_formed.then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_client_request_id_is_echoed() {
        let long = "a".repeat(129);
        for (values, echoed) in [
            (&["9c8b7a"][..], true),
            (&["9C8B7A6D-0000-4000-8000-000000000000"][..], true),
            (&[][..], false),
            (&[""][..], false),
            (&["a b"][..], false),
            (&["a\"b"][..], false),
            (&["<script>"][..], false),
            (&[long.as_str()][..], false),
            (&["a", "b"][..], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-ms-client-request-id", value.parse().unwrap());
            }
            assert_eq!(client_request_id(&headers).is_some(), echoed, "{values:?}");
        }
    }
}
