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

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::post;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;

pub use self::access_log::{AccessLines, WINDOW as ACCESS_LOG_WINDOW};
use self::body::BodyReader;
use self::error::ApiError;
pub use self::sign_in::SignIn;
pub use self::token_exchange::Target;
use crate::pipeline::TokenPipeline;
use ::serve::Budget;

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

#[derive(Clone)]
struct Api {
    pipeline: Arc<TokenPipeline>,
    settings: Arc<ApiSettings>,
    bodies: BodyReader,
    // Cancelled when no new work is taken.
    stopping: CancellationToken,
}

/// The public router.
pub fn router(pipeline: Arc<TokenPipeline>, settings: ApiSettings, stopping: CancellationToken) -> Router {
    let cors = layers::cors(&settings);
    let base_path = settings.base_path.clone();
    let api = Api {
        pipeline,
        bodies: BodyReader::new(settings.memory.clone()),
        settings: Arc::new(settings),
        stopping,
    };
    base_path::mounted(layered(routes(), cors, api), &base_path)
}

fn routes() -> Router<Api> {
    let not_allowed = || async { ApiError::MethodNotAllowed };
    let mut routes = Router::new()
        // ACS's path begins a segment with a colon, which axum otherwise takes for its old parameter syntax.
        .without_v07_checks()
        .route(TOKEN_PATH, post(azure_form::token).fallback(not_allowed))
        .route(
            OAUTH_TOKEN_PATH,
            post(token_exchange::oauth2_token).fallback(not_allowed),
        );
    let handlers = [post(azure_form::acs_path), post(azure_form::teams_extension_path)];
    for ((_, written), handler) in ACS_PATHS.into_iter().zip(handlers) {
        for path in written {
            routes = routes.route(path, handler.clone().fallback(not_allowed));
        }
    }
    routes.fallback(|| async { ApiError::NotFound })
}

/// What happens around every request, whatever its route.
fn layered(routes: Router<Api>, cors: CorsLayer, api: Api) -> Router {
    routes
        .layer(
            ServiceBuilder::new()
                // Outermost, so that every answer has its request id and span, and every error its shape.
                .layer(from_fn_with_state(api.clone(), observe::observe))
                // Outside the limits and the panic barrier, so that their answers can be read by browsers too.
                .layer(from_fn(layers::mark_plain_options))
                .layer(cors)
                // Before everything but preflights, which the layer above answers.
                .layer(from_fn_with_state(api.clone(), limits::count))
                .layer(CatchPanicLayer::custom(layers::panicked))
                // Before anything reads a header.
                .layer(from_fn_with_state(api.clone(), layers::limit)),
        )
        .with_state(api)
}
