//! The `scope` parameter: the requested API and scopes.

use super::apis::Api;
use super::error::{EntraError, shortened};
use crate::scenario::Scenario;

/// OpenID Connect's own scopes, which name no API: whether each is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four names, each there or not")]
pub(super) struct OpenidScopes {
    /// An ID token.
    pub(super) openid: bool,
    /// The user's names in it.
    pub(super) profile: bool,
    /// The address in it.
    pub(super) email: bool,
    /// A refresh token.
    pub(super) offline_access: bool,
}

impl OpenidScopes {
    /// Notes a scope; whether it is one of these.
    fn take(&mut self, scope: &str) -> bool {
        let flag = match scope {
            "openid" => &mut self.openid,
            "profile" => &mut self.profile,
            "email" => &mut self.email,
            "offline_access" => &mut self.offline_access,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// What either asks for.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            openid: self.openid || other.openid,
            profile: self.profile || other.profile,
            email: self.email || other.email,
            offline_access: self.offline_access || other.offline_access,
        }
    }
}

/// One API, with its scopes by name or `.default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestedScope {
    pub(super) api: Api,
    /// Without the API's URI; not `.default`.
    pub(super) names: Vec<String>,
    /// Whether `.default` is among them.
    pub(super) default: bool,
    /// What is requested beside the API.
    pub(super) openid: OpenidScopes,
    /// Nothing else is requested: the access token is one for Microsoft Graph, as at Entra.
    pub(super) only_openid: bool,
}

impl RequestedScope {
    /// Reads the parameter; the directory's name is for an error.
    pub(super) fn parse(scenario: &Scenario, directory: &str, scope: &str) -> Result<Self, EntraError> {
        let mut resource: Option<&str> = None;
        let mut names = Vec::new();
        let mut openid = OpenidScopes::default();
        for full in scope.split_whitespace() {
            if openid.take(full) {
                continue;
            }
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
        let Some(resource) = resource else {
            // "openid" alone says that somebody signs in; without it there is nothing to issue.
            return if openid.openid {
                let names = scope.split_whitespace().filter(|scope| *scope != "offline_access");
                Ok(Self {
                    api: Api::Graph,
                    names: names.map(str::to_owned).collect(),
                    default: false,
                    openid,
                    only_openid: true,
                })
            } else {
                Err(invalid_scope(scope))
            };
        };
        let api = Api::from_name(scenario, resource).ok_or_else(|| {
            let text = format!(
                "The resource principal named {} was not found in the tenant named {}. This can happen if the \
                 application has not been installed by the administrator of the tenant or consented to by any user in \
                 the tenant. You might have sent your authentication request to the wrong tenant.",
                shortened(resource),
                directory
            );
            EntraError::bad_request("invalid_resource", 500_011, text)
        })?;
        let default = names.iter().any(|name| name == ".default");
        names.retain(|name| name != ".default");
        Ok(Self {
            api,
            names,
            default,
            openid,
            only_openid: false,
        })
    }

    /// The delegated scopes that a token gets, if everything requested is consented to.
    pub(super) fn granted(&self, scenario: &Scenario) -> Option<Vec<String>> {
        if self.only_openid {
            return Some(self.names.clone());
        }
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
