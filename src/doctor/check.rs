//! The form of a result: stable ids, and what a person or a program gets to read.

use serde::{Serialize, Serializer};
use strum::VariantArray as _;

/// What is checked. Names are stable: programs compare them, and each is an anchor in `docs/doctor.md`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::VariantNames,
)]
pub enum CheckId {
    /// The configuration can be used.
    #[strum(serialize = "config.valid")]
    ConfigValid,
    /// No token leaves this machine unencrypted.
    #[strum(serialize = "config.plain_http")]
    ConfigPlainHttp,
    /// The clock agrees with Azure's.
    #[strum(serialize = "clock.skew")]
    ClockSkew,
    /// A tenant's discovery documents.
    #[strum(serialize = "entra.discovery")]
    EntraDiscovery,
    /// A tenant's signing keys.
    #[strum(serialize = "entra.keys")]
    EntraKeys,
    /// An app of the broker's gets tokens.
    #[strum(serialize = "entra.credential")]
    EntraCredential,
    /// The resource's endpoint answers.
    #[strum(serialize = "acs.reachable")]
    AcsReachable,
    /// The resource accepts the broker's own credential.
    #[strum(serialize = "acs.credential")]
    AcsCredential,
    /// ACS has assignments that cover what the broker's file grants.
    #[strum(serialize = "acs.assignments")]
    AcsAssignments,
    /// File and ACS say the same.
    #[strum(serialize = "acs.assignments.drift")]
    AcsAssignmentsDrift,
    /// The api-version has what the mode needs.
    #[strum(serialize = "acs.api_version")]
    AcsApiVersion,
    /// What of the mode ends with the retirement of ACS.
    #[strum(serialize = "acs.retirement")]
    AcsRetirement,
    /// There is a token for Graph in the tenant.
    #[strum(serialize = "graph.token")]
    GraphToken,
    /// The tenant has a service principal of ACS Clients.
    #[strum(serialize = "graph.acs_clients_principal")]
    GraphAcsClientsPrincipal,
    /// The application lets users of the assigned tenants sign in.
    #[strum(serialize = "graph.app_account_type")]
    GraphAppAccountType,
    /// The application has somewhere to send users back to.
    #[strum(serialize = "graph.app_redirect_uris")]
    GraphAppRedirectUris,
    /// The application asks for the permissions of ACS Clients.
    #[strum(serialize = "graph.app_permissions")]
    GraphAppPermissions,
    /// The tenant consented.
    #[strum(serialize = "graph.consent")]
    GraphConsent,
    /// The tenant has the group that is assigned.
    #[strum(serialize = "graph.group_exists")]
    GraphGroupExists,
    /// The group is assigned to ACS Clients.
    #[strum(serialize = "graph.group_assigned")]
    GraphGroupAssigned,
    /// The tenant has the license that the assignment of groups needs.
    #[strum(serialize = "graph.license")]
    GraphLicense,
    /// The store that replicas share is there.
    #[strum(serialize = "shared_cache.reachable")]
    SharedCacheReachable,
    /// There are keys to seal with what is in it.
    #[strum(serialize = "shared_cache.keys")]
    SharedCacheKeys,
    /// The token is a signed JWT.
    #[strum(serialize = "token.well_formed")]
    TokenWellFormed,
    /// It is signed with RS256.
    #[strum(serialize = "token.algorithm")]
    TokenAlgorithm,
    /// It is of a listed tenant.
    #[strum(serialize = "token.tenant")]
    TokenTenant,
    /// The tenant publishes its key.
    #[strum(serialize = "token.key")]
    TokenKey,
    /// The signature verifies.
    #[strum(serialize = "token.signature")]
    TokenSignature,
    /// The tenant states the issuer.
    #[strum(serialize = "token.issuer")]
    TokenIssuer,
    /// It is for an API that is served.
    #[strum(serialize = "token.audience")]
    TokenAudience,
    /// It is in force now.
    #[strum(serialize = "token.lifetime")]
    TokenLifetime,
    /// It is a user's.
    #[strum(serialize = "token.delegated")]
    TokenDelegated,
    /// It names the client app.
    #[strum(serialize = "token.client_app")]
    TokenClientApp,
    /// It has a required scope.
    #[strum(serialize = "token.scopes")]
    TokenScopes,
    /// A resource serves its user.
    #[strum(serialize = "token.route")]
    TokenRoute,
    /// An assignment covers its user.
    #[strum(serialize = "token.assignment")]
    TokenAssignment,
    /// ACS gives a token for it.
    #[strum(serialize = "token.exchange")]
    TokenExchange,
}

impl CheckId {
    /// All of them, in the order in which they are shown.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The heading under which it is shown.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self.name().split('.').next() {
            Some("config") => "configuration",
            Some("clock" | "entra") => "Microsoft Entra",
            Some("acs") => "Azure Communication Services",
            Some("graph") => "administrators' steps (Microsoft Graph)",
            Some("shared_cache") => "shared cache",
            _ => "token",
        }
    }

    /// Where its page is, from the root of the project.
    #[must_use]
    pub fn docs(self) -> String {
        format!("docs/doctor.md#{}", self.name())
    }
}

impl Serialize for CheckId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Pass,
    /// It may break something, or could not be decided because an upstream failed.
    Warn,
    /// It will break something.
    Fail,
    /// Not looked at.
    Skip,
}

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Who runs the broker.
    Operator,
    /// The administrator of the application's home tenant (Contoso's).
    AppTenantAdmin,
    /// The administrator of the users' tenant (Fabrikam's).
    UserTenantAdmin,
    /// Who writes the front end.
    Developer,
}

impl Who {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Operator => "the broker's operator",
            Self::AppTenantAdmin => "the administrator of the application's tenant",
            Self::UserTenantAdmin => "the administrator of the users' tenant",
            Self::Developer => "the front end's developer",
        }
    }
}

/// One result. Nothing in it is a token or a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub id: CheckId,
    /// Of which tenant, resource or assignment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it came out.
    pub status: Status,
    /// What was seen, in one sentence.
    pub summary: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Who can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// A command that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

impl Check {
    fn new(id: CheckId, status: Status, summary: impl Into<String>) -> Self {
        Self {
            id,
            subject: None,
            status,
            summary: summary.into(),
            fix: None,
            who: None,
            command: None,
            docs: Some(id.docs()),
        }
    }

    /// A good one.
    #[must_use]
    pub fn pass(id: CheckId, summary: impl Into<String>) -> Self {
        Self::new(id, Status::Pass, summary)
    }

    /// One that was not looked at, and why.
    #[must_use]
    pub fn skip(id: CheckId, why: impl Into<String>) -> Self {
        Self::new(id, Status::Skip, why)
    }

    /// One that may break something.
    #[must_use]
    pub fn warn(id: CheckId, summary: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..Self::new(id, Status::Warn, summary)
        }
    }

    /// One that will.
    #[must_use]
    pub fn fail(id: CheckId, who: Who, summary: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            who: Some(who),
            ..Self::new(id, Status::Fail, summary)
        }
    }

    /// The same, unless it warns of what the operator has said to know: then it passes.
    #[must_use]
    pub fn unless_acknowledged(self, known: &[String]) -> Self {
        if self.status == Status::Warn && known.iter().any(|id| id == self.id.name()) {
            Self {
                status: Status::Pass,
                summary: format!("acknowledged: {}", self.summary),
                fix: None,
                who: None,
                command: None,
                ..self
            }
        } else {
            self
        }
    }

    /// The same about something.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "ids are copied, and a text may be borrowed"
    )]
    pub fn about(self, subject: impl ToString) -> Self {
        Self {
            subject: Some(subject.to_string()),
            ..self
        }
    }

    /// The same about a resource, which has a name only among several.
    #[must_use]
    pub fn about_resource(self, name: Option<&str>) -> Self {
        Self {
            subject: name.map(str::to_owned),
            ..self
        }
    }

    /// The same with who can mend it.
    #[must_use]
    pub fn by(self, who: Who) -> Self {
        Self { who: Some(who), ..self }
    }

    /// The same with a command that does it.
    #[must_use]
    pub fn with_command(self, command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..self
        }
    }
}

/// All results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of [`CheckId::ALL`], then by subject as they were made.
    pub checks: Vec<Check>,
    /// How many passed.
    pub passed: usize,
    /// How many warn.
    pub warnings: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were not looked at.
    pub skipped: usize,
}

impl Report {
    /// The report of `checks`.
    #[must_use]
    pub fn new(mut checks: Vec<Check>) -> Self {
        checks.sort_by_key(|check| check.id);
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        Self {
            passed: count(Status::Pass),
            warnings: count(Status::Warn),
            failed: count(Status::Fail),
            skipped: count(Status::Skip),
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_the_json_that_is_promised() {
        let report = Report::new(vec![
            Check::fail(CheckId::GraphConsent, Who::UserTenantAdmin, "none", "consent")
                .about("t")
                .with_command("az"),
            Check::pass(CheckId::ConfigValid, "good"),
            Check::warn(CheckId::ClockSkew, "40 s", "set it"),
            Check::skip(CheckId::GraphLicense, "not asked"),
        ]);
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            json!({"checks": [
                {"id": "config.valid", "status": "pass", "summary": "good", "docs": "docs/doctor.md#config.valid"},
                {"id": "clock.skew", "status": "warn", "summary": "40 s", "fix": "set it", "docs": "docs/doctor.md#clock.skew"},
                {"id": "graph.consent", "subject": "t", "status": "fail", "summary": "none", "fix": "consent",
                 "who": "user_tenant_admin", "command": "az", "docs": "docs/doctor.md#graph.consent"},
                {"id": "graph.license", "status": "skip", "summary": "not asked", "docs": "docs/doctor.md#graph.license"},
            ], "passed": 1, "warnings": 1, "failed": 1, "skipped": 1})
        );
    }

    #[test]
    fn ids_are_in_one_piece_for_each_group() {
        let groups: Vec<_> = CheckId::ALL.iter().map(|id| id.group()).collect();
        let mut once = groups.clone();
        once.dedup();
        assert_eq!(once.len(), 6, "{groups:?}");
    }
}
