//! Who may use the resource's own operations: who has its access key, or an Entra token of an app with a role on it.
//!
//! <https://learn.microsoft.com/azure/communication-services/concepts/authentication>

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;

use super::{AcsError, signing};
use crate::entra::apis::ACS_URI;
use crate::entra::signed::{self, Lifetime};
use crate::router::{bearer_token, host, read_body};
use crate::world::{SharedWorld, World};

/// Lets a request pass if the access key signed it as it arrived, or with a manager's Entra token.
pub(super) async fn require(State(world): State<SharedWorld>, request: Request, next: Next) -> Response {
    if bearer_token(request.headers()).is_some() {
        return match with_token(&world, &request) {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        };
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = read_body(Request::new(body)).await else {
        return AcsError::too_large().into_response();
    };
    let signed = signing::SignedRequest {
        method: parts.method.as_str(),
        path_and_query: parts.uri.path_and_query().map_or("/", |text| text.as_str()),
        host: host(&parts.headers, &parts.uri).unwrap_or_default(),
        headers: &parts.headers,
        body: &body,
    };
    match signing::verify(&signed, &world.scenario.resource.access_key, world.now()) {
        Ok(()) => next.run(Request::from_parts(parts, body.into())).await,
        Err(refusal) => {
            tracing::debug!(%refusal, "emulated ACS refuses a signature");
            AcsError::denied(refusal.public_message()).into_response()
        }
    }
}

fn with_token(world: &World, request: &Request) -> Result<(), AcsError> {
    let denied = || AcsError::denied("Denied by the resource provider.");
    let text = bearer_token(request.headers()).ok_or_else(denied)?;
    let token = signed::read(text, &world.keys, world.issuer_origin(), None).map_err(|_| denied())?;
    let current = matches!(token.lifetime(world.now()), Lifetime::Current(_));
    let resource = &world.scenario.resource;
    let is_app = token.text("idtyp") == Some("app");
    if !token.is_for(None, ACS_URI) || !current || token.tenant != resource.tenant_id || !is_app {
        return Err(denied());
    }
    match token.client() {
        Some(client) if resource.managers.contains(&client) => Ok(()),
        _ => {
            let message = "The client does not have permission to perform the operation on this resource.";
            Err(AcsError::new(StatusCode::FORBIDDEN, "Forbidden", message))
        }
    }
}
