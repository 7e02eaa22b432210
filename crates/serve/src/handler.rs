//! What answers the requests of a listener.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::ServiceExt as _;

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Answers requests. Clones share what does it.
///
/// A router is one too. It copies its services and moves what they do several times for each request, so that where every
/// request counts a function is better.
#[derive(Clone)]
pub struct Handler(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>);

impl Handler {
    /// Answers each request by a call of `answer`.
    #[must_use]
    pub fn new<A, F>(answer: A) -> Self
    where
        A: Fn(Request<Body>) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }

    /// The answer to `request`.
    pub fn answer(&self, request: Request<Body>) -> impl Future<Output = Response> + Send + use<> {
        (self.0)(request)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

impl From<Router> for Handler {
    fn from(router: Router) -> Self {
        Self::new(move |request| {
            let answer = router.clone().oneshot(request);
            async move {
                let Ok(response) = answer.await;
                response
            }
        })
    }
}
