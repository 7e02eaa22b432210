//! Every route and layer in one place.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::distort::{HangUp, spoil, stand_in};
use super::endpoint::Endpoint;
use super::entra::token_endpoint::{JWT_BEARER, grant_type};
use super::world::SharedWorld;
use super::{acs, control, entra, graph, managed_identity};
use base::loopback::is_loopback_host;

/// No body that the emulator reads may be longer.
const MOST_BODY_BYTES: usize = 64 * 1024;

/// A body was too long, or broke off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unreadable;

/// Reads a request's body within the limit.
pub(crate) async fn read_body(request: Request) -> Result<Bytes, Unreadable> {
    axum::body::to_bytes(request.into_body(), MOST_BODY_BYTES)
        .await
        .map_err(|_| Unreadable)
}

/// The emulator's router.
pub(super) fn router(world: SharedWorld) -> Router {
    Router::new()
        // ACS's paths have segments that begin with a colon. A merged router with the check brings it back.
        .without_v07_checks()
        .merge(entra::routes())
        .merge(acs::routes(&world))
        .merge(graph::routes())
        .merge(managed_identity::routes())
        .merge(control::routes())
        .fallback(async || StatusCode::NOT_FOUND)
        // Around every route, so that faults and the journal see what was really asked.
        .layer(from_fn_with_state(world.clone(), observe))
        // Outermost, so that a browser can read faults too.
        .layer(
            CorsLayer::new()
                .allow_origin(AllowOrigin::predicate(may_read))
                .allow_methods(AllowMethods::mirror_request())
                .allow_headers(AllowHeaders::mirror_request()),
        )
        .with_state(world)
}

/// Whether a page of this origin may read the answer. Entra and ACS let any page read their discovery documents
/// and exchange tokens; the controls are for pages on this machine, and only to sign demo users in.
fn may_read(origin: &HeaderValue, request: &Parts) -> bool {
    let path = request.uri.path();
    if control::is_control(path) {
        return control::is_for_pages(path) && is_loopback_origin(origin);
    }
    path == "/access/entra/:exchangeAccessToken"
        || path == "/access/teamsExtension/:exchangeAccessToken"
        || path.ends_with("/.well-known/openid-configuration")
        || path.ends_with("/discovery/keys")
        || path.ends_with("/discovery/v2.0/keys")
        || path.ends_with("/oauth2/v2.0/token")
}

/// Writes the journal and applies faults.
async fn observe(State(world): State<SharedWorld>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let endpoint = Endpoint::of(request.method(), path);
    if (control::is_control(path) && endpoint.is_none()) || request.method() == http::Method::OPTIONS {
        return next.run(request).await;
    }
    let (request, grant) = match endpoint {
        Some(Endpoint::Token) => match with_grant(request).await {
            Ok(read) => read,
            Err((parts, Unreadable)) => {
                let number = world.journal.begin(endpoint, None, &parts, world.now());
                let response = too_large();
                world.journal.answered(number, Some(response.status().as_u16()));
                return response;
            }
        },
        _ => (request, None),
    };
    let (parts, body) = request.into_parts();
    let number = world.journal.begin(endpoint, grant, &parts, world.now());
    let request = Request::from_parts(parts, body);
    // A fault for the grant goes before one for the token endpoint as a whole.
    let fault = [grant, endpoint]
        .into_iter()
        .flatten()
        .find_map(|endpoint| Some((endpoint, world.faults.take(endpoint)?)));
    let response = match fault {
        None => next.run(request).await,
        Some((endpoint, fault)) => {
            if let Some(milliseconds) = fault.latency_ms {
                tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
            }
            match stand_in(&fault, endpoint, world.now()) {
                Some(response) => response,
                None => spoil(&fault, next.run(request).await, world.now()).await,
            }
        }
    };
    let hung_up = response.extensions().get::<HangUp>().is_some();
    let status = (!hung_up).then(|| response.status().as_u16());
    world.journal.answered(number, status);
    response
}

/// Looks which grant a request to the token endpoint is for.
async fn with_grant(request: Request) -> Result<(Request, Option<Endpoint>), (Parts, Unreadable)> {
    let (parts, body) = request.into_parts();
    let body = match read_body(Request::new(body)).await {
        Ok(body) => body,
        Err(unreadable) => return Err((parts, unreadable)),
    };
    let grant = match grant_type(&parts.headers, &body).as_deref() {
        Some(JWT_BEARER) => Some(Endpoint::OnBehalfOf),
        Some("client_credentials") => Some(Endpoint::ClientCredentials),
        _ => None,
    };
    Ok((Request::from_parts(parts, body.into()), grant))
}

/// The one bearer token of a request. Two headers of the name leave open which one counts.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The host that a request names: the `Host` header, or HTTP/2's authority.
pub(crate) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    headers
        .get(http::header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| uri.authority().map(http::uri::Authority::as_str))
}

/// Whether a browser's origin is a page on this machine.
pub(crate) fn is_loopback_origin(origin: &HeaderValue) -> bool {
    origin
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")))
        .is_some_and(is_loopback_host)
}

/// A plain answer for a request that is too large.
pub(crate) fn too_large() -> Response {
    StatusCode::PAYLOAD_TOO_LARGE.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_origins() {
        assert!(is_loopback_origin(&HeaderValue::from_static("http://localhost:3000")));
        for origin in ["null", "file://localhost", "https://localhost.evil.example"] {
            assert!(!is_loopback_origin(&HeaderValue::from_static(origin)), "{origin}");
        }
    }
}
