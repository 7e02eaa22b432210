//! The token endpoint's form, and the request that every grant gets to see.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use super::error::{EntraError, shortened};
use super::state::Entra;
use crate::scenario::Tenant;

/// A request to the token endpoint.
pub(super) struct TokenCall<'a> {
    pub(super) entra: &'a Entra,
    pub(super) tenant: &'a Tenant,
    pub(super) form: &'a Form,
    /// The origin that the request was sent to: client assertions name the endpoint by it.
    pub(super) origin: &'a str,
    /// A web page sent it, across origins: its refresh tokens are a single-page app's.
    pub(super) from_page: bool,
}

/// The form's parameters, in order.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// Adds the client's id and secret from an `Authorization: Basic` header (RFC 6749 2.3.1), where the form does not
    /// name them itself.
    pub(super) fn with_basic(mut self, headers: &HeaderMap) -> Self {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let pair = value
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((id, secret)) = pair.as_deref().and_then(|text| text.split_once(':')) {
            for (name, value) in [("client_id", id), ("client_secret", secret)] {
                // Both are form-encoded within the header.
                let value = form_urlencoded::parse(format!("v={value}").as_bytes())
                    .next()
                    .map(|(_, value)| value.into_owned());
                if self.optional(name).is_none() {
                    self.0.extend(value.map(|value| (name.to_owned(), value)));
                }
            }
        }
        self
    }

    /// The parameters, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter that is there and not empty.
    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, value)| found == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, EntraError> {
        self.optional(name).ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            EntraError::bad_request("invalid_request", 900_144, text)
        })
    }

    pub(super) fn duplicate(&self) -> Option<String> {
        self.0
            .iter()
            .enumerate()
            .find(|(index, (name, _))| self.0.iter().take(*index).any(|(earlier, _)| earlier == name))
            .map(|(_, (name, _))| shortened(name))
    }
}

/// Whether a request says that its body is a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .to_ascii_lowercase()
                .starts_with("application/x-www-form-urlencoded")
        })
}
