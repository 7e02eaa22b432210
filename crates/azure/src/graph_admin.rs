//! The wire contract of the Microsoft Graph operations that an administrator's checks and steps need (v1.0): service
//! principals, applications, delegated permission grants, app role assignments, groups, and licenses.
//!
//! Each operation is described on the page of its name at <https://learn.microsoft.com/graph/api/overview>.

mod answer;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

pub use self::answer::AdminError;
pub use self::objects::{
    ApiApplication, Application, Group, PermissionGrant, PermissionScope, PreAuthorizedApplication, Principal,
    RoleAssignment, ServicePlan, ServicePrincipal, Sku, SkuState,
};
use super::pause::Pause;
use super::retry;
use super::{Response, Upstream, UpstreamFailure};
use base::clock::SharedClock;
use base::ids::{ClientAppId, ObjectId};
use base::secret::BearerToken;
use telemetry::metrics::labels::Peer;

/// Pages of one list. A longer one is taken for one without end.
const MOST_PAGES: usize = 50;
/// The role of an assignment that names none ("appRoleAssignment").
pub const DEFAULT_ROLE: &str = "00000000-0000-0000-0000-000000000000";
/// A member of a group that is a group itself.
const GROUP_TYPE: &str = "#microsoft.graph.group";

/// Microsoft Graph in one tenant, with one token.
pub struct GraphAdmin {
    upstream: Upstream,
    endpoint: Url,
    token: BearerToken,
    timeout: Duration,
    // Once Graph limits the caller, nothing more is sent for as long as it asks.
    pause: Pause,
    clock: SharedClock,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<T> {
    value: Vec<T>,
    #[serde(rename = "@odata.nextLink")]
    next_link: Option<String>,
}

impl GraphAdmin {
    /// Graph at `endpoint`, an origin, asked with `token`. Each call, so each page of a list, takes at most `timeout`.
    #[must_use]
    pub fn new(upstream: Upstream, endpoint: Url, token: BearerToken, timeout: Duration, clock: SharedClock) -> Self {
        Self {
            upstream,
            endpoint,
            token,
            timeout,
            pause: Pause::new(SharedClock::clone(&clock)),
            clock,
        }
    }

    /// The tenant's service principal of an application. Permission: `Application.Read.All`.
    pub async fn service_principal(&self, app: ClientAppId) -> Result<Option<ServicePrincipal>, AdminError> {
        let url = self.url("servicePrincipals", &[("$filter", &format!("appId eq '{app}'"))]);
        let found: Vec<ServicePrincipal> = self.list(url).await?;
        Ok(found.into_iter().find(|each| each.app_id == app))
    }

    /// The registration of an application, in its home tenant alone. Permission: `Application.Read.All`.
    pub async fn application(&self, app: ClientAppId) -> Result<Option<Application>, AdminError> {
        let url = self.url("applications", &[("$filter", &format!("appId eq '{app}'"))]);
        let found: Vec<Application> = self.list(url).await?;
        Ok(found.into_iter().find(|each| each.app_id == app))
    }

    /// What users of the tenant consented to for a client's service principal. Permission: `Directory.Read.All`.
    pub async fn permission_grants(&self, client: ObjectId) -> Result<Vec<PermissionGrant>, AdminError> {
        let url = self.url(
            "oauth2PermissionGrants",
            &[("$filter", &format!("clientId eq '{client}'"))],
        );
        let found: Vec<PermissionGrant> = self.list(url).await?;
        // A filter that is not obeyed must not bring another client's consent.
        Ok(found.into_iter().filter(|each| each.client_id == client).collect())
    }

    /// Who is assigned to a service principal. Permission: `Application.Read.All`.
    pub async fn assigned_to(&self, principal: ObjectId) -> Result<Vec<RoleAssignment>, AdminError> {
        let url = self.url(&format!("servicePrincipals/{principal}/appRoleAssignedTo"), &[]);
        self.list(url).await
    }

    /// A group, if the tenant has it. Permission: `Directory.Read.All`.
    pub async fn group(&self, group: ObjectId) -> Result<Option<Group>, AdminError> {
        let url = self.url(&format!("groups/{group}"), &[("$select", "id,displayName")]);
        match self.get::<Group>(url).await {
            Ok(found) if found.id == group => Ok(Some(found)),
            Ok(_) => Err(AdminError::invalid("it is about another group")),
            Err(AdminError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether groups are members of a group. Permission: `Directory.Read.All`.
    pub async fn has_nested_groups(&self, group: ObjectId) -> Result<bool, AdminError> {
        let query = [("$select", "id"), ("$top", "999")];
        let members: Vec<Principal> = self.list(self.url(&format!("groups/{group}/members"), &query)).await?;
        Ok(members.iter().any(|member| member.kind.as_deref() == Some(GROUP_TYPE)))
    }

    /// What the tenant has licenses for. Permission: `LicenseAssignment.Read.All`.
    pub async fn subscribed_skus(&self) -> Result<Vec<Sku>, AdminError> {
        self.list(self.url("subscribedSkus", &[])).await
    }

    /// Makes the service principal of an application. Permission: `Application.ReadWrite.All`.
    pub async fn create_service_principal(&self, app: ClientAppId) -> Result<(), AdminError> {
        let url = self.url("servicePrincipals", &[]);
        self.write(Method::POST, url, service_principal_body(app)).await
    }

    /// Writes all permissions that an application asks for, `object` being its object id. What is not in the list is taken
    /// away. Permission: `Application.ReadWrite.All`.
    pub async fn set_required_permissions(&self, object: ObjectId, all: &[Value]) -> Result<(), AdminError> {
        let url = self.url(&format!("applications/{object}"), &[]);
        self.write(Method::PATCH, url, required_permissions_body(all)).await
    }

    /// Assigns a group to a service principal. Permission: `AppRoleAssignment.ReadWrite.All`.
    pub async fn assign(&self, principal: ObjectId, group: ObjectId) -> Result<(), AdminError> {
        let url = self.url(&format!("servicePrincipals/{principal}/appRoleAssignedTo"), &[]);
        self.write(Method::POST, url, assignment_body(principal, group)).await
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/v1.0/{path}"));
        if !query.is_empty() {
            // As Graph's own documentation writes it: a blank is %20 in a filter.
            let query: Vec<String> = query
                .iter()
                .map(|(name, value)| format!("{name}={}", value.replace(' ', "%20")))
                .collect();
            url.set_query(Some(&query.join("&")));
        }
        url
    }

    /// A whole list, within a few times what one call may take.
    async fn list<T: DeserializeOwned>(&self, first: Url) -> Result<Vec<T>, AdminError> {
        tokio::time::timeout(self.timeout * 3, self.pages(first))
            .await
            .unwrap_or(Err(AdminError::Upstream(UpstreamFailure::Timeout)))
    }

    async fn pages<T: DeserializeOwned>(&self, first: Url) -> Result<Vec<T>, AdminError> {
        let mut items = Vec::new();
        let mut seen = HashSet::from([first.clone()]);
        let mut next = Some(first);
        while let Some(url) = next.take() {
            let page: Page<T> = self.get(url.clone()).await?;
            items.extend(page.value);
            if let Some(link) = page.next_link.filter(|link| !link.is_empty()) {
                // The token goes nowhere else, whatever an answer says.
                let link = url
                    .join(&link)
                    .ok()
                    .filter(|link| link.origin() == self.endpoint.origin() && link.username().is_empty())
                    .ok_or_else(|| AdminError::invalid("@odata.nextLink leads away from the endpoint"))?;
                if seen.len() == MOST_PAGES || !seen.insert(link.clone()) {
                    return Err(AdminError::invalid("the list has no end"));
                }
                next = Some(link);
            }
        }
        Ok(items)
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, AdminError> {
        let response = self.send(Method::GET, url, None).await?;
        if response.status == StatusCode::OK {
            response.json().map_err(AdminError::Upstream)
        } else {
            Err(answer::failure(&response, self.clock.now()))
        }
    }

    async fn write(&self, method: Method, url: Url, body: Value) -> Result<(), AdminError> {
        let response = self.send(method, url, Some(body)).await?;
        if response.status.is_success() {
            Ok(())
        } else {
            Err(answer::failure(&response, self.clock.now()))
        }
    }

    async fn send(&self, method: Method, url: Url, body: Option<Value>) -> Result<Response, AdminError> {
        let deadline = Instant::now() + self.timeout;
        let attempt = || {
            let mut request = self
                .upstream
                .request(method.clone(), url.clone())
                .bearer_auth(self.token.expose())
                .header(http::header::ACCEPT, "application/json");
            if let Some(body) = &body {
                request = request.json(body);
            }
            self.upstream.send(Peer::Graph, request, deadline)
        };
        let guards = retry::Guards {
            pause: &self.pause,
            breaker: None,
            budget: None,
        };
        retry::call(guards, None, &*self.clock, deadline, attempt)
            .await
            .map_err(|error: retry::CallError| AdminError::Upstream(UpstreamFailure::from(error)))
    }
}

/// The body that makes a service principal.
#[must_use]
pub fn service_principal_body(app: ClientAppId) -> Value {
    json!({ "appId": app })
}

/// The body that writes the permissions of an application.
#[must_use]
pub fn required_permissions_body(all: &[Value]) -> Value {
    json!({ "requiredResourceAccess": all })
}

/// The body that assigns a group to a service principal.
#[must_use]
pub fn assignment_body(principal: ObjectId, group: ObjectId) -> Value {
    json!({ "principalId": group, "resourceId": principal, "appRoleId": DEFAULT_ROLE })
}
