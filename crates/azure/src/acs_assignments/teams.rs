//! The wire contract of ACS's Teams Phone assignments (data-plane Identity, `2025-06-30` and `2026-09-23`).

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, EnumString};
use tokio::time::Instant;
use url::Url;

use super::Put;
use super::answer::{self, AssignmentsError};
use crate::acs_signing::{SignedAcs, Unsigned};
use crate::{Response, operation_url};
use base::ids::{ClientAppId, ObjectId, TenantId};

/// An assignment as ACS has it. Members that ACS adds are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamsAssignment {
    /// The object id of the user or the resource account.
    pub object_id: ObjectId,
    /// Their tenant.
    pub tenant_id: TenantId,
    /// What the objectId stands for.
    pub principal_type: TeamsPrincipalType,
    /// The client applications; without, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ids: Option<Vec<ClientAppId>>,
}

/// What a Teams Phone assignment's objectId stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AsRefStr, EnumString)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum TeamsPrincipalType {
    /// A user of Teams.
    User,
    /// A resource account of Teams.
    ResourceAccount,
}

/// The Teams Phone assignment operations of one ACS resource.
pub struct AcsTeamsAssignments {
    acs: SignedAcs,
    url: Url,
    timeout: Duration,
}

impl AcsTeamsAssignments {
    /// The operations at `endpoint`, an origin. Each call takes at most `timeout`.
    #[must_use]
    pub fn new(acs: SignedAcs, endpoint: &Url, api_version: &str, timeout: Duration) -> Self {
        let url = operation_url(endpoint, "", api_version);
        Self { acs, url, timeout }
    }

    /// One assignment.
    pub async fn get(&self, tenant: TenantId, object: ObjectId) -> Result<TeamsAssignment, AssignmentsError> {
        let response = self.send(Method::GET, tenant, object, Bytes::new()).await?;
        let response = answer::expect(response, &[StatusCode::OK], true, self.acs.now())?;
        read(&response, tenant, object)
    }

    /// Makes or replaces one assignment.
    pub async fn put(&self, assignment: &TeamsAssignment) -> Result<(TeamsAssignment, Put), AssignmentsError> {
        let (tenant, object) = (assignment.tenant_id, assignment.object_id);
        let body = answer::write(&Members::new(assignment));
        let response = self.send(Method::PUT, tenant, object, body).await?;
        let response = answer::expect(response, &[StatusCode::OK, StatusCode::CREATED], false, self.acs.now())?;
        Ok((read(&response, tenant, object)?, Put::from_status(response.status)))
    }

    /// Removes one assignment.
    pub async fn delete(&self, tenant: TenantId, object: ObjectId) -> Result<(), AssignmentsError> {
        let response = self.send(Method::DELETE, tenant, object, Bytes::new()).await?;
        answer::expect(response, &[StatusCode::NO_CONTENT], true, self.acs.now()).map(drop)
    }

    async fn send(
        &self,
        method: Method,
        tenant: TenantId,
        object: ObjectId,
        body: Bytes,
    ) -> Result<Response, AssignmentsError> {
        let mut url = self.url.clone();
        url.set_path(&format!("/access/teamsExtension/tenants/{tenant}/assignments/{object}"));
        let request = Unsigned {
            content_type: (method == Method::PUT).then_some("application/json"),
            method,
            url,
            body,
        };
        Ok(self.acs.send(request, Instant::now() + self.timeout).await?)
    }
}

fn read(response: &Response, tenant: TenantId, object: ObjectId) -> Result<TeamsAssignment, AssignmentsError> {
    let assignment: TeamsAssignment = answer::read(response)?;
    if (assignment.tenant_id, assignment.object_id) == (tenant, object) {
        Ok(assignment)
    } else {
        Err(answer::invalid("it is about another object"))
    }
}

/// What is sent of an assignment, whose ids stand in the address.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    principal_type: TeamsPrincipalType,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ids: Option<&'a [ClientAppId]>,
}

impl<'a> Members<'a> {
    fn new(assignment: &'a TeamsAssignment) -> Self {
        Self {
            principal_type: assignment.principal_type,
            client_ids: assignment.client_ids.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::CONTENT_TYPE;
    use serde_json::json;

    use super::*;

    const TENANT: &str = "c70d068c-2f32-484d-9455-73070cd5aadd";
    const OBJECT: &str = "b27b64b9-39d2-44a3-869d-67700b74e805";

    fn answered(body: &serde_json::Value) -> Result<TeamsAssignment, AssignmentsError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        let response = Response {
            status: StatusCode::OK,
            headers,
            body: body.to_string().into(),
        };
        read(&response, TENANT.parse().unwrap(), OBJECT.parse().unwrap())
    }

    #[test]
    fn answers_are_read_with_and_without_clients() {
        let bare = json!({"objectId": OBJECT, "tenantId": TENANT, "principalType": "resourceAccount"});
        let found = answered(&bare).unwrap();
        assert_eq!(
            (found.principal_type, &found.client_ids),
            (TeamsPrincipalType::ResourceAccount, &None)
        );
        assert_eq!(serde_json::to_value(&found).unwrap(), bare);
        let app = "c0a5a990-0000-4000-8000-000000000003";
        let whole =
            json!({"objectId": OBJECT, "tenantId": TENANT, "principalType": "user", "clientIds": [app], "x": 1});
        assert_eq!(answered(&whole).unwrap().client_ids.unwrap().len(), 1);
        for body in [
            json!({}),
            json!({"objectId": OBJECT, "tenantId": TENANT}),
            json!({"objectId": OBJECT, "tenantId": TENANT, "principalType": "group"}),
            json!({"objectId": TENANT, "tenantId": TENANT, "principalType": "user"}),
            json!({"objectId": OBJECT, "tenantId": OBJECT, "principalType": "user"}),
        ] {
            assert!(answered(&body).is_err(), "{body}");
        }
    }

    /// As the specification's example of 2026-09-23 has it.
    #[test]
    fn what_is_sent() {
        let mut assignment = TeamsAssignment {
            object_id: OBJECT.parse().unwrap(),
            tenant_id: TENANT.parse().unwrap(),
            principal_type: TeamsPrincipalType::ResourceAccount,
            client_ids: None,
        };
        let body = |assignment: &TeamsAssignment| serde_json::to_value(Members::new(assignment)).unwrap();
        assert_eq!(body(&assignment), json!({"principalType": "resourceAccount"}));
        assignment.client_ids = Some(vec![OBJECT.parse().unwrap()]);
        assignment.principal_type = TeamsPrincipalType::User;
        assert_eq!(
            body(&assignment),
            json!({"principalType": "user", "clientIds": [OBJECT]})
        );
    }
}
