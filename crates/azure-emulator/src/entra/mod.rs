//! The Entra ID side: discovery, keys, token issuance, the token endpoint with its grants, and Entra's error body.
//!
//! Handlers take [`state::Entra`]. The other services take [`signed::TokenReader`], with which they read Entra's tokens.

pub(crate) mod apis;
pub(crate) mod app_token;
pub(crate) mod apps;
mod azure_cli;
pub(crate) mod certificate;
mod claims_request;
mod client_assertion;
mod client_auth;
mod client_credentials;
mod consent;
pub(crate) mod directory;
pub(crate) mod discovery;
mod error;
mod form;
mod grant;
mod identity;
pub(crate) mod issue;
pub(crate) mod issuer;
pub(crate) mod keys;
mod on_behalf_of;
mod password;
pub(crate) mod policy;
mod realm;
mod scope;
mod session_grants;
mod sessions;
pub(crate) mod sign_in;
pub(crate) mod signed;
pub(crate) mod state;
pub(crate) mod token_endpoint;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use self::sign_in::Outlook;
use self::state::Entra;

/// Entra's routes. The tenant is a GUID in any letter case or a domain.
pub(super) fn routes(entra: Arc<Entra>, outlook: Arc<dyn Outlook>) -> Router {
    Router::new()
        .without_v07_checks()
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(discovery::v2_document),
        )
        .route(
            "/{tenant}/.well-known/openid-configuration",
            get(discovery::v1_document),
        )
        // Below the issuer of v1 tokens, as at sts.windows.net.
        .route(
            "/sts/{tenant}/.well-known/openid-configuration",
            get(discovery::v1_document),
        )
        .route("/common/discovery/instance", get(realm::instance))
        .route("/{tenant}/userrealm/{upn}", get(realm::user_realm))
        .route("/{tenant}/discovery/v2.0/keys", get(discovery::v2_keys))
        .route("/{tenant}/discovery/keys", get(discovery::v1_keys))
        .route("/{tenant}/oauth2/v2.0/token", post(token_endpoint::token))
        .with_state(entra.clone())
        .merge(sign_in::routes(entra, outlook))
}
