//! Signing in with a browser: `authorize`, the pages, the device page, logout.
//!
//! Nothing is kept of a page that is shown: its form holds the whole request, which is checked anew each time.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>

mod admin_consent;
mod authorize;
mod device;
mod html;
mod logout;
mod reply;
mod request;
mod steps;

use std::fmt::Debug;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};

use super::state::Entra;
use crate::scenario::User;

/// Describes what will happen to a user who signs in, for the page that offers them. What it takes to know lies beyond Entra.
pub(crate) trait Outlook: Debug + Send + Sync {
    /// One sentence.
    fn line(&self, user: &User) -> String;
}

/// What these handlers share.
#[derive(Debug, Clone)]
struct SignInState {
    entra: Arc<Entra>,
    outlook: Arc<dyn Outlook>,
}

impl FromRef<SignInState> for Arc<Entra> {
    fn from_ref(state: &SignInState) -> Self {
        Self::clone(&state.entra)
    }
}

/// The routes.
pub(super) fn routes(entra: Arc<Entra>, outlook: Arc<dyn Outlook>) -> Router {
    Router::new()
        .without_v07_checks()
        .route(
            "/{tenant}/oauth2/v2.0/authorize",
            get(authorize::get).post(authorize::post),
        )
        .route(
            "/{tenant}/adminconsent",
            get(admin_consent::get).post(admin_consent::post),
        )
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device::begin))
        .route(device::PAGE, get(device::page).post(device::answer))
        .route("/{tenant}/oauth2/v2.0/logout", get(logout::get).post(logout::post))
        .with_state(SignInState { entra, outlook })
}
