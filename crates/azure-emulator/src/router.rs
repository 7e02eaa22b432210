//! Every route and layer in one place.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

use super::acs::outlook::AssignmentOutlook;
use super::callers::guard;
use super::distort::{HangUp, spoil, stand_in};
use super::endpoint::Endpoint;
use super::entra::token_endpoint::{JWT_BEARER, grant_type};
use super::faults::Faults;
use super::journal::Journal;
use super::request::{Unreadable, read_body, too_large};
use super::site::Site;
use super::world::World;
use super::{acs, control, entra, graph, managed_identity, playground};

/// The emulator's router.
pub(super) fn router(world: &World) -> Router {
    let observer = Observer {
        site: world.site.clone(),
        faults: world.faults.clone(),
        journal: world.journal.clone(),
    };
    let site = world.site.clone();
    Router::new()
        // ACS's paths have segments that begin with a colon. A merged router with the check brings it back.
        .without_v07_checks()
        .merge(entra::routes(
            world.entra.clone(),
            Arc::new(AssignmentOutlook(world.acs.clone())),
        ))
        .merge(acs::routes(&world.acs))
        .merge(graph::routes(world.graph.clone()))
        .merge(managed_identity::routes(world.entra.clone()))
        .merge(control::routes(world.controls()))
        .merge(playground::routes(world.playground.clone()))
        .fallback(async || StatusCode::NOT_FOUND)
        // Around every route, so that faults and the journal see the request as it was sent.
        .layer(from_fn_with_state(observer, observe))
        // Around that, so that a browser can read faults too.
        .layer(
            CorsLayer::new()
                .allow_origin(AllowOrigin::predicate(move |origin, _| may_read(&site, origin)))
                .allow_methods(AllowMethods::mirror_request())
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers([header::RETRY_AFTER]),
        )
        // Outermost: who may not call gets no other answer.
        .layer(from_fn_with_state(world.site.clone(), guard))
}

/// Whether a page of this origin may read answers: whoever may call may.
fn may_read(site: &Site, origin: &HeaderValue) -> bool {
    origin.to_str().is_ok_and(|origin| site.is_friendly(origin))
}

/// What stands around every route.
#[derive(Debug, Clone)]
struct Observer {
    site: Arc<Site>,
    faults: Arc<Faults>,
    journal: Arc<Journal>,
}

/// Writes the journal and applies faults.
async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let endpoint = Endpoint::for_request(request.method(), path);
    if (control::is_control(path) && endpoint.is_none()) || request.method() == http::Method::OPTIONS {
        return next.run(request).await;
    }
    let (request, grant) = match endpoint {
        Some(Endpoint::Token) => match with_grant(request).await {
            Ok(read) => read,
            Err((parts, Unreadable)) => {
                let number = observer.journal.begin(endpoint, None, &parts, observer.site.now());
                let response = too_large();
                observer.journal.answered(number, Some(response.status().as_u16()));
                return response;
            }
        },
        _ => (request, None),
    };
    let (parts, body) = request.into_parts();
    let number = observer.journal.begin(endpoint, grant, &parts, observer.site.now());
    let request = Request::from_parts(parts, body);
    // A fault for the grant goes before one for the token endpoint as a whole.
    let fault = [grant, endpoint]
        .into_iter()
        .flatten()
        .find_map(|endpoint| Some((endpoint, observer.faults.take(endpoint)?)));
    let response = match fault {
        None => next.run(request).await,
        Some((endpoint, fault)) => {
            if let Some(milliseconds) = fault.latency_ms {
                tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
            }
            match stand_in(&fault, endpoint, observer.site.now()) {
                Some(response) => response,
                None => spoil(&fault, next.run(request).await, observer.site.now()).await,
            }
        }
    };
    let hung_up = response.extensions().get::<HangUp>().is_some();
    let status = (!hung_up).then(|| response.status().as_u16());
    observer.journal.answered(number, status);
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
