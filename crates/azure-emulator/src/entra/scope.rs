//! The `scope` parameter: the requested API and scopes.

use super::apis::Api;
use super::error::{EntraError, shortened};
use crate::scenario::{Scenario, Tenant};

/// `OpenID` Connect's own scopes, which name no API.
const OPENID_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// One API, with its scopes by name or `.default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestedScope {
    pub(super) api: Api,
    /// Without the API's URI; not `.default`.
    pub(super) names: Vec<String>,
    /// Whether `.default` is among them.
    pub(super) default: bool,
}

impl RequestedScope {
    /// Reads the parameter.
    pub(super) fn parse(scenario: &Scenario, tenant: &Tenant, scope: &str) -> Result<Self, EntraError> {
        let mut resource: Option<&str> = None;
        let mut names = Vec::new();
        for full in scope.split_whitespace().filter(|scope| !OPENID_SCOPES.contains(scope)) {
            let (of, name) = full
                .rsplit_once('/')
                .filter(|(resource, name)| !resource.is_empty() && !name.is_empty())
                .ok_or_else(|| invalid_scope(full))?;
            if *resource.get_or_insert(of) != of {
                let text = "Provided value for the input parameter scope is not valid because it contains more than \
                            one resource.";
                return Err(EntraError::bad_request("invalid_request", 28000, text));
            }
            names.push(name.to_owned());
        }
        let resource = resource.ok_or_else(|| invalid_scope(scope))?;
        let api = Api::from_name(scenario, resource).ok_or_else(|| {
            let text = format!(
                "The resource principal named {} was not found in the tenant named {}. This can happen if the \
                 application has not been installed by the administrator of the tenant or consented to by any user in \
                 the tenant. You might have sent your authentication request to the wrong tenant.",
                shortened(resource),
                tenant.name
            );
            EntraError::bad_request("invalid_resource", 500_011, text)
        })?;
        let default = names.iter().any(|name| name == ".default");
        names.retain(|name| name != ".default");
        Ok(Self { api, names, default })
    }

    /// The delegated scopes that a token gets, if everything requested is consented to.
    pub(super) fn granted(&self, scenario: &Scenario) -> Option<Vec<String>> {
        let consented = self.api.consented_scopes(scenario);
        if consented.is_empty() {
            return None;
        }
        if self.default {
            return Some(consented);
        }
        self.names
            .iter()
            .all(|name| consented.contains(name))
            .then(|| self.names.clone())
    }
}

/// Admin or user must consent first.
pub(super) fn consent_required(client_id: &str, name: &str) -> EntraError {
    let text = format!(
        "The user or administrator has not consented to use the application with ID '{client_id}' named '{name}'. Send \
         an interactive authorization request for this user and resource."
    );
    EntraError::bad_request("invalid_grant", 65001, text).suberror("consent_required")
}

fn invalid_scope(scope: &str) -> EntraError {
    let text = format!(
        "The provided value for the input parameter 'scope' is not valid. The scope {} is not valid.",
        shortened(scope)
    );
    EntraError::bad_request("invalid_scope", 70011, text)
}
