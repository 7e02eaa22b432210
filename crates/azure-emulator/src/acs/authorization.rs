//! Authorization of the resource's own operations: the access key, or an Entra token of an app with a role on it.
//!
//! <https://learn.microsoft.com/azure/communication-services/concepts/authentication>

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;

use super::error::AcsError;
use super::signing;
use super::state::Acs;
use crate::entra::apis::ACS_URI;
use crate::entra::signed::Lifetime;
use crate::request::{bearer_token, host, read_body};

/// Lets a request pass if the access key signed it as it arrived, or with a manager's Entra token.
pub(super) async fn require(State(acs): State<Arc<Acs>>, request: Request, next: Next) -> Response {
    if bearer_token(request.headers()).is_some() {
        return match with_token(&acs, &request) {
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
    match signing::verify(&signed, &acs.scenario.resource.access_key, acs.site.now()) {
        Ok(()) => next.run(Request::from_parts(parts, body.into())).await,
        Err(refusal) => {
            tracing::debug!(%refusal, "emulated ACS refuses a signature");
            AcsError::denied(refusal.public_message()).into_response()
        }
    }
}

fn with_token(acs: &Acs, request: &Request) -> Result<(), AcsError> {
    let denied = || AcsError::denied("Denied by the resource provider.");
    let text = bearer_token(request.headers()).ok_or_else(denied)?;
    let token = acs.tokens.read(text, None).map_err(|_| denied())?;
    let current = matches!(token.lifetime(acs.site.now()), Lifetime::Current(_));
    let resource = &acs.scenario.resource;
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
