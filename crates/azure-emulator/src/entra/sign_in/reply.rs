//! How a client is answered: by sending the user back to its redirect URI.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;

use super::html::{posting_page, with_common_headers};
use crate::entra::error::EntraError;
use crate::site::Origin;

/// How parameters reach the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub(super) enum ResponseMode {
    Query,
    Fragment,
    FormPost,
}

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) redirect_uri: String,
    pub(super) origin: Origin,
    pub(super) mode: ResponseMode,
    pub(super) state: Option<String>,
}

impl Reply {
    /// Sends the user back with these parameters.
    pub(super) fn send(&self, mut parameters: Vec<(&'static str, String)>) -> Response {
        parameters.extend(self.state.clone().map(|state| ("state", state)));
        if self.mode == ResponseMode::FormPost {
            return posting_page(&self.redirect_uri, &self.origin, &parameters);
        }
        let separator = match self.mode {
            ResponseMode::Fragment => '#',
            _ if self.redirect_uri.contains('?') => '&',
            _ => '?',
        };
        redirect(&format!("{}{separator}{}", self.redirect_uri, encoded(&parameters)))
    }

    /// Sends the user back with an error.
    pub(super) fn refuse(&self, error: &EntraError, now: Timestamp) -> Response {
        self.send(error.to_parameters(now))
    }
}

/// Percent-encoded, blanks too: clients read a fragment by other rules than a form.
pub(super) fn encoded(parameters: &[(&'static str, String)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str())));
    form.finish().replace('+', "%20")
}

/// A redirect to an address that has been checked.
pub(super) fn redirect(location: &str) -> Response {
    let response = match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::FOUND, [(header::LOCATION, location)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    };
    with_common_headers(response)
}
