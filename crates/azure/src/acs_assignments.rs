//! The wire contract of ACS's Entra assignments (data-plane Identity, `2025-03-02-preview`, tag `EntraId`).

mod answer;
mod pages;
pub mod teams;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{AsRefStr, EnumString, VariantNames};
use tokio::time::Instant;
use url::Url;

pub use self::answer::AssignmentsError;
use self::pages::{Page, Pages};
use super::acs_signing::{SignedAcs, Unsigned};
use super::{Response, UpstreamFailure, operation_url};
use base::ids::{ClientAppId, ObjectId, TenantId};

/// An assignment as ACS has it. Members that ACS adds are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntraAssignment {
    /// The user's object id, the group's object id, or the tenant's id, which then is the tenantId too.
    pub object_id: ObjectId,
    /// The tenant that the principal belongs to.
    pub tenant_id: TenantId,
    /// What the objectId stands for.
    pub principal_type: PrincipalType,
    /// The client applications; at least one.
    #[schemars(length(min = 1))]
    pub client_ids: Vec<ClientAppId>,
}

/// What an assignment's objectId stands for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, AsRefStr, EnumString, VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PrincipalType {
    /// One user.
    User,
    /// The members of a group.
    Group,
    /// Everyone of the tenant.
    Tenant,
}

/// What a merge patch (RFC 7386) makes of each assignment, by its object id: set, or removed.
pub type AssignmentPatch = BTreeMap<ObjectId, Option<EntraAssignment>>;

/// Whether a `PUT` made an assignment or replaced one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// There was none (201).
    Created,
    /// There was one (200).
    Replaced,
}

impl Put {
    fn from_status(status: StatusCode) -> Self {
        if status == StatusCode::CREATED {
            Self::Created
        } else {
            Self::Replaced
        }
    }
}

/// Limit for all pages of a list together.
const LIST_LIMIT: Duration = Duration::from_mins(5);

/// The assignment operations of one ACS resource.
#[derive(Clone)]
pub struct AcsAssignments {
    acs: SignedAcs,
    url: Url,
    timeout: Duration,
}

impl AcsAssignments {
    /// The operations at `endpoint`, an origin. Each call, so each page of a list, takes at most `timeout`.
    #[must_use]
    pub fn new(acs: SignedAcs, endpoint: &Url, api_version: &str, timeout: Duration) -> Self {
        let url = operation_url(endpoint, "/access/entra/assignments", api_version);
        Self { acs, url, timeout }
    }

    /// All assignments, or an error: a part of them would be another set.
    pub async fn list(&self) -> Result<Vec<EntraAssignment>, AssignmentsError> {
        tokio::time::timeout(LIST_LIMIT, self.all_pages())
            .await
            .unwrap_or(Err(AssignmentsError::Upstream(UpstreamFailure::Timeout)))
    }

    async fn all_pages(&self) -> Result<Vec<EntraAssignment>, AssignmentsError> {
        let mut pages = Pages::new(self.url.clone());
        while let Some(url) = pages.next() {
            let response = self.send(Method::GET, url, None).await?;
            let response = answer::expect(response, &[StatusCode::OK], false, self.acs.now())?;
            pages.add(answer::read::<Page>(&response)?)?;
        }
        Ok(pages.into_assignments())
    }

    /// One assignment.
    pub async fn get(&self, object: ObjectId) -> Result<EntraAssignment, AssignmentsError> {
        let response = self.send(Method::GET, self.object(object), None).await?;
        let response = answer::expect(response, &[StatusCode::OK], true, self.acs.now())?;
        Self::read_one(&response, object)
    }

    /// Makes or replaces one assignment.
    pub async fn put(&self, assignment: &EntraAssignment) -> Result<(EntraAssignment, Put), AssignmentsError> {
        let object = assignment.object_id;
        let body = answer::write(&Members::new(assignment));
        let response = self
            .send(Method::PUT, self.object(object), Some(("application/json", body)))
            .await?;
        let response = answer::expect(response, &[StatusCode::OK, StatusCode::CREATED], false, self.acs.now())?;
        Ok((Self::read_one(&response, object)?, Put::from_status(response.status)))
    }

    /// Removes one assignment.
    pub async fn delete(&self, object: ObjectId) -> Result<(), AssignmentsError> {
        let response = self.send(Method::DELETE, self.object(object), None).await?;
        answer::expect(response, &[StatusCode::NO_CONTENT], true, self.acs.now()).map(drop)
    }

    /// Sets and removes many assignments in one call: all of it or nothing.
    pub async fn patch(&self, patch: &AssignmentPatch) -> Result<(), AssignmentsError> {
        let members: BTreeMap<_, _> = patch
            .iter()
            .map(|(object, change)| (object, change.as_ref().map(Members::new)))
            .collect();
        let body = answer::write(&members);
        let content = Some(("application/merge-patch+json", body));
        let response = self.send(Method::PATCH, self.url.clone(), content).await?;
        let response = answer::expect(
            response,
            &[StatusCode::OK, StatusCode::NO_CONTENT],
            false,
            self.acs.now(),
        )?;
        if response.status == StatusCode::OK {
            // It is a list; which of the assignments are in it does not matter.
            answer::read::<Page>(&response)?;
        }
        Ok(())
    }

    fn object(&self, object: ObjectId) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{object}", self.url.path()));
        url
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        content: Option<(&'static str, Bytes)>,
    ) -> Result<Response, AssignmentsError> {
        let (content_type, body) = content.unzip();
        let request = Unsigned {
            method,
            url,
            content_type,
            body: body.unwrap_or_default(),
        };
        let deadline = Instant::now() + self.timeout;
        Ok(self.acs.send(request, deadline).await?)
    }

    fn read_one(response: &Response, object: ObjectId) -> Result<EntraAssignment, AssignmentsError> {
        let assignment: EntraAssignment = answer::read(response)?;
        if assignment.object_id != object {
            return Err(answer::invalid("it is about another object"));
        }
        pages::check(&assignment).map_err(|fault| answer::invalid(format!("the assignment {fault}")))?;
        Ok(assignment)
    }
}

/// What pages come to, each of which answers the address after the last one, and the addresses: for the fuzz targets.
#[cfg(fuzzing)]
pub fn read_pages(first: Url, answers: Vec<Response>) -> Result<(Vec<EntraAssignment>, Vec<Url>), AssignmentsError> {
    let mut pages = Pages::new(first);
    let mut addresses = Vec::new();
    for response in answers {
        let Some(address) = pages.next() else { break };
        addresses.push(address);
        pages.add(answer::read::<Page>(&response)?)?;
    }
    Ok((pages.into_assignments(), addresses))
}

/// What is sent of an assignment, whose object id stands elsewhere.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    tenant_id: TenantId,
    principal_type: PrincipalType,
    client_ids: &'a [ClientAppId],
}

impl<'a> Members<'a> {
    fn new(assignment: &'a EntraAssignment) -> Self {
        Self {
            tenant_id: assignment.tenant_id,
            principal_type: assignment.principal_type,
            client_ids: &assignment.client_ids,
        }
    }
}
