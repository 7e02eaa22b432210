//! The public listener: three request forms, one pipeline. Nothing here decides about a caller.

mod access_log;
mod answer;
mod audit;
mod azure_form;
mod base_path;
mod bearer;
pub mod body;
mod content;
mod context;
pub mod error;
pub mod error_response;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod issue_error;
pub mod layers;
mod limits;
mod media;
mod observe;
mod sign_in;
mod token_exchange;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::Method;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

pub use self::access_log::{AccessLines, WINDOW as ACCESS_LOG_WINDOW};
use self::body::BodyReader;
use self::context::RequestContext;
use self::error::ApiError;
pub use self::sign_in::SignIn;
pub use self::token_exchange::Target;
use crate::pipeline::TokenPipeline;
use ::serve::{Budget, Handler};

/// The broker's own path.
pub const TOKEN_PATH: &str = "/token";
/// Where OAuth libraries send token exchange requests (RFC 8693).
pub const OAUTH_TOKEN_PATH: &str = "/oauth2/token";
/// The path that ACS itself serves; the official SDKs append it to the `resourceEndpoint` they are given.
pub const ACS_PATH: &str = "/access/entra/:exchangeAccessToken";
/// The same for tokens of a Teams Phone extension app.
pub const TEAMS_EXTENSION_PATH: &str = "/access/teamsExtension/:exchangeAccessToken";
/// ACS's paths, as some clients and proxies write them: the colon encoded, in either letter case (RFC 3986 section 6.2.2), and
/// a slash more at the beginning, which comes of joining them to a `resourceEndpoint` that ends in one.
const ACS_PATHS: [(&str, [&str; 6]); 2] = [
    (
        ACS_PATH,
        [
            ACS_PATH,
            "/access/entra/%3AexchangeAccessToken",
            "/access/entra/%3aexchangeAccessToken",
            "//access/entra/:exchangeAccessToken",
            "//access/entra/%3AexchangeAccessToken",
            "//access/entra/%3aexchangeAccessToken",
        ],
    ),
    (
        TEAMS_EXTENSION_PATH,
        [
            TEAMS_EXTENSION_PATH,
            "/access/teamsExtension/%3AexchangeAccessToken",
            "/access/teamsExtension/%3aexchangeAccessToken",
            "//access/teamsExtension/:exchangeAccessToken",
            "//access/teamsExtension/%3AexchangeAccessToken",
            "//access/teamsExtension/%3aexchangeAccessToken",
        ],
    ),
];

/// The route that a path is of, under one name.
fn route_of(path: &str) -> Option<&'static str> {
    if let Some(own) = [TOKEN_PATH, OAUTH_TOKEN_PATH].into_iter().find(|own| *own == path) {
        return Some(own);
    }
    let route = ACS_PATHS.into_iter().find(|(_, written)| written.contains(&path));
    route.map(|(route, _)| route)
}

/// How the public listener behaves.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// What heads and bodies may take in memory together.
    pub memory: Budget,
    /// Whether each token handed out, or refused to a verified caller, is an event of its own.
    pub audit: bool,
    /// Proxies whose word counts for the address of a caller.
    pub trusted_proxies: Vec<IpNet>,
    /// Writes the lines of requests.
    pub access_lines: Arc<AccessLines>,
    /// Accepted on the ACS path.
    pub api_versions: Vec<String>,
    /// Accepted on the path of Teams Phone extension.
    pub teams_api_versions: Vec<String>,
    /// The path below which all paths stand; empty for none.
    pub base_path: String,
    /// The whole request's deadline.
    pub request_timeout: Duration,
    /// Whether answers carry `Server-Timing` and `x-cache`.
    pub diagnostic_headers: bool,
    /// Exact browser origins.
    pub allowed_origins: Vec<String>,
    /// Whether pages of this machine may read answers too: for development.
    pub loopback_origins: bool,
    /// Request headers that browsers may send beside those that are always allowed, in lower case.
    pub allowed_headers: Vec<String>,
    /// What an `insufficient_scope` challenge names, space-separated.
    pub required_scopes: String,
    /// What the RFC 8693 form may name as `resource` and `audience`, in the order of the routes.
    pub targets: Vec<Target>,
    /// What may stand before a scope's name there: the accepted audiences, as Entra names scopes.
    pub scope_prefixes: Vec<String>,
    /// Where a claims challenge sends the client.
    pub sign_in: SignIn,
}

/// What every request needs. Clones share it.
#[derive(Clone)]
struct Api(Arc<Parts>);

struct Parts {
    pipeline: Arc<TokenPipeline>,
    settings: ApiSettings,
    bodies: BodyReader,
    // Cancelled when no new work is taken.
    stopping: CancellationToken,
}

impl Api {
    fn new(pipeline: Arc<TokenPipeline>, settings: ApiSettings, stopping: CancellationToken) -> Self {
        Self(Arc::new(Parts {
            pipeline,
            bodies: BodyReader::new(settings.memory.clone()),
            settings,
            stopping,
        }))
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What answers at the public listener.
pub fn handler(pipeline: Arc<TokenPipeline>, settings: ApiSettings, stopping: CancellationToken) -> Handler {
    let base_path = settings.base_path.clone();
    let api = Api::new(pipeline, settings, stopping);
    base_path::mounted(layered(api, routed), &base_path)
}

/// Answers a request by its path and its method. There are few paths and all are fixed, so this is no router: one would
/// put each request's handler on the heap.
async fn routed(api: Api, context: RequestContext, request: Request) -> Response {
    let outcome = match route_of(request.uri().path()) {
        None => Err(ApiError::NotFound),
        Some(_) if request.method() != Method::POST => Err(ApiError::MethodNotAllowed),
        Some(OAUTH_TOKEN_PATH) => token_exchange::oauth2_token(api, context, request).await,
        Some(ACS_PATH) => azure_form::acs_path(api, context, request).await,
        Some(TEAMS_EXTENSION_PATH) => azure_form::teams_extension_path(api, context, request).await,
        Some(_) => azure_form::token(api, context, request).await,
    };
    outcome.into_response()
}

/// What happens around every request, whatever its route.
///
/// Functions that call each other, no router and its layers: those are copied and put on the heap for each request, every one
/// with all that are inside it.
fn layered<R, F>(api: Api, routed: R) -> Handler
where
    R: Fn(Api, RequestContext, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let cors = Arc::new(layers::cors(&api.settings));
    Handler::new(move |request| {
        let (api, cors, routed) = (api.clone(), Arc::clone(&cors), routed.clone());
        async move {
            let inner = api.clone();
            let within = |request, context| {
                let routed = |api, request| routed(api, context, request);
                // Inside CORS, so that browsers can read the answers of the limits and of the panic barrier too. The limits come
                // before everything but preflights, which CORS answers.
                layers::shared(&cors, request, |request| limits::count(inner, request, routed))
            };
            // Outermost, so that every answer has its request id and span, and every error its shape.
            observe::observe(api, request, within).await
        }
    })
}
