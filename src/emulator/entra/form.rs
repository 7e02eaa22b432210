//! The token endpoint's form, and the request that every grant gets to see.

use super::{EntraError, shortened};
use crate::emulator::scenario::Tenant;
use crate::emulator::world::World;

/// A request to the token endpoint.
pub(super) struct TokenCall<'a> {
    pub(super) world: &'a World,
    pub(super) tenant: &'a Tenant,
    pub(super) form: &'a Form,
    /// The origin that was asked: client assertions name the endpoint by it.
    pub(super) origin: &'a str,
}

/// The form's parameters, in order.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
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
