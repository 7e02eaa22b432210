//! The gates of a token up to the cache, for operators. No upstream is asked, nothing is counted and nobody is let in.

use super::TokenPipeline;
use crate::authenticate::gates::{Gate, id};
use crate::route;
use base::secret::BearerToken;

impl TokenPipeline {
    /// How `token` fares at every gate, as if it came to `POST /token`.
    #[must_use]
    pub fn explain(&self, token: &BearerToken) -> Vec<Gate> {
        let mut found = self.authenticator.gates(token, &self.routes.acceptance_to_the_end());
        if let Some(verified) = found.verified.take() {
            let resource = self.routes.resource_of(verified.context);
            let route = route::gate(verified.context, resource.map(|resource| &resource.name));
            let assignment = match (resource, verified.principal) {
                (None, _) => Gate::skip(id::ASSIGNMENT, "no resource serves the caller, so no assignments apply"),
                (_, None) => Gate::skip(id::ASSIGNMENT, "the token does not name both a user and a client app"),
                (Some(resource), Some(principal)) => resource
                    .authorizer
                    .gate(&principal, |allowed| resource.exchanger.grants(allowed)),
            };
            found.gates.extend([route, assignment]);
        }
        found.completed()
    }
}
