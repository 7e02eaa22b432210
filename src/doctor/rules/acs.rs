//! `acs.*`: one ACS resource.

use azure::SendError;
use azure::acs::Operation;
use azure::acs_assignments::{AssignmentsError, EntraAssignment};
use base::ids::ClientAppId;
use config::{Config, ExchangeMode, IdentityScope, ResourceConfig, UpstreamConfig};
use http::StatusCode;
use jiff::civil::{Date, date};

use super::super::check::{Check, CheckId, Who};
use super::entra::undecided;
use super::in_words;
use crate::authorize::assignment::{Assignment, PrincipalType};

/// The version that has the Entra exchange, its assignments, and `customId`.
pub const PREVIEW: &str = "2025-03-02-preview";
/// The versions that have the exchange for Teams users as it is called here, the newest last.
const TEAMS_USER: [&str; 6] = [
    "2022-06-01",
    "2022-10-01",
    "2023-10-01",
    PREVIEW,
    "2025-06-30",
    "2026-09-23",
];
/// When the retiring services end ("ACS retirement and breaking changes guide", 2026-08-18).
const RETIREMENT: Date = date(2028, 9, 30);

/// What was seen of one resource.
pub struct ResourceLook<'c> {
    /// Its settings.
    pub config: &'c ResourceConfig,
    /// The status that an unsigned request got: ACS refuses it, which shows that it is there.
    pub answered: Result<StatusCode, SendError>,
    /// Its assignments by each credential of the broker's for it, the one that asks for them in the service first; none where the
    /// broker has nothing to sign the question with.
    pub lists: Vec<ListLook>,
    /// Those of the broker's own file, if there is one.
    pub file: Option<Result<Vec<Assignment>, String>>,
}

/// What a credential brought.
pub struct ListLook {
    /// The section of the resource that it stands in, such as `assignments.acs`.
    pub section: &'static str,
    /// The assignments that ACS lists for it.
    pub listed: Result<Vec<EntraAssignment>, AssignmentsError>,
}

impl ResourceLook<'_> {
    /// Its assignments, as the service asks for them.
    #[must_use]
    pub fn listed(&self) -> Option<&Result<Vec<EntraAssignment>, AssignmentsError>> {
        self.lists.first().map(|list| &list.listed)
    }
}

/// All checks of one resource.
#[must_use]
pub fn resource(look: &ResourceLook<'_>, config: &Config, today: Date) -> Vec<Check> {
    let mut checks = vec![reachable(look, &config.upstream)];
    checks.extend(credentials(look));
    checks.extend([
        assignments(look),
        drift(look),
        api_version(look),
        retirement(look.config, &config.entra.required_scopes, today),
    ]);
    let name = look.config.name.as_deref();
    checks.into_iter().map(|check| check.about_resource(name)).collect()
}

fn reachable(look: &ResourceLook<'_>, upstream: &UpstreamConfig) -> Check {
    let id = CheckId::AcsReachable;
    let endpoint = &look.config.exchange.endpoint;
    match &look.answered {
        Ok(StatusCode::NOT_FOUND) => Check::fail(
            id,
            Who::Operator,
            format!("{endpoint} answers, but has no Entra assignments: it is no ACS resource"),
            format!(
                "take the endpoint from the resource's page in the portal into {}",
                look.config.key("exchange.endpoint")
            ),
        ),
        Ok(status) if status.is_server_error() => Check::warn(
            id,
            format!("{endpoint} answers {status}"),
            "look at Azure's status page, and at what stands between",
        ),
        Ok(_) => Check::pass(id, format!("{endpoint} answers")),
        Err(error) => {
            let (summary, fix) = in_words(error, endpoint, upstream);
            Check::fail(id, Who::Operator, summary, fix)
        }
    }
}

/// One for each credential, as one may be good and another not.
fn credentials(look: &ResourceLook<'_>) -> Vec<Check> {
    if look.lists.is_empty() {
        let settings = look.config.key("assignments.acs");
        let why = format!("the broker has no credential for this resource ([{settings}])");
        return vec![Check::skip(CheckId::AcsCredential, why)];
    }
    look.lists.iter().map(|list| credential(look, list)).collect()
}

fn credential(look: &ResourceLook<'_>, list: &ListLook) -> Check {
    let id = CheckId::AcsCredential;
    let settings = look.config.key(list.section);
    let mend = |error: &dyn std::fmt::Display| {
        Check::fail(
            id,
            Who::Operator,
            format!("[{settings}]: {error}"),
            format!(
                "put a current key of this resource (portal, Keys) into [{settings}], or give the app a role on the resource"
            ),
        )
    };
    match &list.listed {
        Ok(_) => Check::pass(id, format!("ACS accepts the broker's own credential, [{settings}]")),
        // Where the endpoint cannot be reached at all, why is said once.
        Err(AssignmentsError::Upstream(_)) if look.answered.is_err() => {
            Check::skip(id, format!("[{settings}] is not tried: ACS is not reached"))
        }
        Err(AssignmentsError::Upstream(failure)) => {
            let check = undecided(id, "ACS", failure);
            let summary = format!("[{settings}] is {}", check.summary);
            Check { summary, ..check }
        }
        Err(error @ (AssignmentsError::NotFound | AssignmentsError::UnexpectedStatus { .. })) => Check::warn(
            id,
            format!("[{settings}] is not decided: {error}"),
            "see acs.reachable and acs.api_version",
        ),
        Err(
            error @ (AssignmentsError::Refused { .. }
            | AssignmentsError::AccessKey(_)
            | AssignmentsError::ServiceToken(_)),
        ) => mend(error),
    }
}

/// The app that is ACS's client: in the broker's own name where it asks on a user's behalf.
fn client_at_acs(config: &ResourceConfig) -> Option<ClientAppId> {
    match &config.exchange.mode {
        ExchangeMode::OnBehalfOf(settings) => Some(settings.app.client_id),
        ExchangeMode::Passthrough | ExchangeMode::Identity(_) | ExchangeMode::TeamsUser(_) => None,
    }
}

/// What ACS must have for an entry of the file.
#[must_use]
pub fn wanted_at_acs(config: &ResourceConfig, assignment: &Assignment) -> EntraAssignment {
    let mut wanted = EntraAssignment::from(assignment.clone());
    if let Some(own) = client_at_acs(config) {
        wanted.client_ids = vec![own];
    }
    wanted
}

/// Whether `listed` lets those of `wanted` have tokens: by the same principal, or by their whole tenant.
#[must_use]
pub fn is_covered(listed: &[EntraAssignment], wanted: &EntraAssignment) -> bool {
    wanted.client_ids.iter().all(|client| {
        listed.iter().any(|at_acs| {
            let same = at_acs.object_id == wanted.object_id && at_acs.principal_type == wanted.principal_type;
            at_acs.tenant_id == wanted.tenant_id
                && (same || at_acs.principal_type == PrincipalType::Tenant)
                && at_acs.client_ids.contains(client)
        })
    })
}

fn assignments(look: &ResourceLook<'_>) -> Check {
    let id = CheckId::AcsAssignments;
    let listed = match usable(id, look) {
        Ok(listed) => listed,
        Err(check) => return *check,
    };
    let config = look.config;
    let missing: Vec<String> = match &look.file {
        Some(Ok(file)) => file
            .iter()
            .filter(|assignment| !is_covered(listed, &wanted_at_acs(config, assignment)))
            .map(|assignment| format!("{} {}", assignment.principal_type.as_ref(), assignment.object_id))
            .collect(),
        Some(Err(_)) | None => Vec::new(),
    };
    let fix = "assign them at ACS: portal, User access for Entra ID, or the command";
    if listed.is_empty() {
        Check::fail(
            id,
            Who::Operator,
            "ACS has no assignments for this resource: no user gets a token",
            fix,
        )
        .with_command("acs-token-broker setup plan")
    } else if let Some(Err(problem)) = &look.file {
        Check::skip(
            id,
            format!(
                "ACS has {} assignments; the broker's file cannot be read: {problem}",
                listed.len()
            ),
        )
    } else if missing.is_empty() {
        Check::pass(
            id,
            format!(
                "ACS has {} assignments, and covers all that the broker's file grants",
                listed.len()
            ),
        )
    } else {
        Check::fail(
            id,
            Who::Operator,
            format!(
                "ACS does not have what the broker's file grants: {}",
                shortened(&missing)
            ),
            fix,
        )
        .with_command("acs-token-broker setup plan")
    }
}

fn drift(look: &ResourceLook<'_>) -> Check {
    let id = CheckId::AcsAssignmentsDrift;
    let listed = match usable(id, look) {
        Ok(listed) => listed,
        Err(check) => return *check,
    };
    let file = match &look.file {
        None => return Check::skip(id, "the broker has no assignment file to compare with"),
        Some(Err(problem)) => return Check::skip(id, format!("the assignment file cannot be read: {problem}")),
        Some(Ok(file)) => file,
    };
    let wanted: Vec<EntraAssignment> = file
        .iter()
        .map(|assignment| wanted_at_acs(look.config, assignment))
        .collect();
    let mut differences = Vec::new();
    for one in &wanted {
        match listed.iter().find(|other| other.object_id == one.object_id) {
            None => differences.push(format!("{} is in the file alone", one.object_id)),
            Some(other) if !same(one, other) => differences.push(format!("{} differs", one.object_id)),
            Some(_) => {}
        }
    }
    let alone = listed
        .iter()
        .filter(|other| !wanted.iter().any(|one| one.object_id == other.object_id));
    differences.extend(alone.map(|other| format!("{} is at ACS alone", other.object_id)));
    if differences.is_empty() {
        Check::pass(id, "the broker's file and ACS say the same")
    } else {
        Check::warn(
            id,
            format!("the broker's file and ACS differ: {}", shortened(&differences)),
            "see the difference, and make one like the other",
        )
        .by(Who::Operator)
        .with_command(match &look.config.name {
            Some(name) => format!("acs-token-broker assignments diff --resource {name}"),
            None => "acs-token-broker assignments diff".to_owned(),
        })
    }
}

/// On behalf of users ACS may list further clients: those of other brokers.
fn same(wanted: &EntraAssignment, at_acs: &EntraAssignment) -> bool {
    let lists = |client| at_acs.client_ids.contains(client);
    wanted.tenant_id == at_acs.tenant_id
        && wanted.principal_type == at_acs.principal_type
        && wanted.client_ids.iter().all(lists)
}

/// ACS's list, where it has a part in who gets a token.
fn usable<'l>(id: CheckId, look: &'l ResourceLook<'_>) -> Result<&'l [EntraAssignment], Box<Check>> {
    match look.config.exchange.mode {
        ExchangeMode::Identity(_) | ExchangeMode::TeamsUser(_) => {
            let mode = look.config.exchange.mode.name();
            let why = format!("in {mode} mode ACS's assignments have no part");
            return Err(Box::new(Check::skip(id, why)));
        }
        ExchangeMode::Passthrough | ExchangeMode::OnBehalfOf(_) => {}
    }
    match look.listed() {
        None => Err(Box::new(Check::skip(
            id,
            "the broker has no credential to ask ACS with",
        ))),
        Some(Err(_)) => Err(Box::new(Check::skip(
            id,
            "ACS did not list its assignments; see acs.credential",
        ))),
        Some(Ok(listed)) => Ok(listed),
    }
}

fn shortened(items: &[String]) -> String {
    const SHOWN: usize = 5;
    match items.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", items[..SHOWN].join(", ")),
        _ => items.join(", "),
    }
}

fn api_version(look: &ResourceLook<'_>) -> Check {
    let id = CheckId::AcsApiVersion;
    let exchange = &look.config.exchange;
    let (key, version, known): (_, _, &[&str]) = match &exchange.mode {
        ExchangeMode::Identity(settings) => ("exchange.identity.api_version", &settings.api_version, &[PREVIEW]),
        ExchangeMode::TeamsUser(settings) => ("exchange.teams_user.api_version", &settings.api_version, &TEAMS_USER),
        ExchangeMode::Passthrough | ExchangeMode::OnBehalfOf(_) => {
            ("exchange.api_version", &exchange.api_version, &[PREVIEW])
        }
    };
    let good = known.last().copied().unwrap_or(PREVIEW);
    let key = look.config.key(key);
    let refused = match look.listed() {
        Some(Err(AssignmentsError::UnexpectedStatus {
            status,
            error: Some(error),
        })) if *status == StatusCode::BAD_REQUEST => error
            .code
            .to_string()
            .to_ascii_lowercase()
            .contains("apiversion")
            .then(|| error.to_string()),
        _ => None,
    };
    if let Some(said) = refused {
        Check::fail(
            id,
            Who::Operator,
            format!("ACS refuses {key} = \"{version}\": {said}"),
            format!("set {key} to \"{good}\""),
        )
    } else if known.contains(&version.as_str()) {
        Check::pass(id, format!("{key} is \"{version}\", which has what the mode needs"))
    } else {
        Check::warn(
            id,
            format!(
                "{key} is \"{version}\"; of the published versions \"{}\" alone has what the mode needs",
                known.join("\", \"")
            ),
            format!("set {key} to \"{good}\", unless {version} is newer and has it"),
        )
        .by(Who::Operator)
    }
}

/// `acs.retirement`
fn retirement(config: &ResourceConfig, required_scopes: &[String], today: Date) -> Check {
    let id = CheckId::AcsRetirement;
    let mode = config.exchange.mode.name();
    let ends = [
        grants_chat(config).then(|| "Chat, which exchange.identity.scopes grants,".to_owned()),
        grants_standalone_calls(config, required_scopes).then(|| format!("standalone calling ({mode} mode)")),
    ];
    let ends: Vec<String> = ends.into_iter().flatten().collect();
    if ends.is_empty() {
        return Check::pass(id, format!("what {mode} mode grants goes on after {RETIREMENT}"));
    }
    let ends = ends.join(" and ");
    let fix = "plan the move (docs/modes.md): calls go on with Teams Phone extensibility, Teams meeting interoperability or \
               Teams click-to-call, and new major versions of the SDKs; see Microsoft's \"ACS retirement and breaking changes guide\"";
    if today >= RETIREMENT {
        Check::fail(id, Who::Developer, format!("{ends}: ended on {RETIREMENT}"), fix)
    } else {
        Check::warn(id, format!("{ends}: ends on {RETIREMENT}"), fix).by(Who::Developer)
    }
}

fn grants_chat(config: &ResourceConfig) -> bool {
    match &config.exchange.mode {
        ExchangeMode::Identity(settings) => settings.scopes.iter().any(|scope| is_chat(*scope)),
        ExchangeMode::Passthrough | ExchangeMode::OnBehalfOf(_) | ExchangeMode::TeamsUser(_) => false,
    }
}

/// Calls that neither Teams Phone extensibility nor a Teams user makes.
fn grants_standalone_calls(config: &ResourceConfig, required_scopes: &[String]) -> bool {
    match &config.exchange.mode {
        ExchangeMode::Passthrough => !required_scopes
            .iter()
            .all(|scope| scope.starts_with("TeamsExtension.") || scope.starts_with("Teams.")),
        ExchangeMode::OnBehalfOf(settings) => Operation::for_scope(&settings.scope) == Operation::Entra,
        ExchangeMode::Identity(settings) => settings.scopes.iter().any(|scope| !is_chat(*scope)),
        ExchangeMode::TeamsUser(_) => false,
    }
}

fn is_chat(scope: IdentityScope) -> bool {
    matches!(
        scope,
        IdentityScope::Chat | IdentityScope::ChatJoin | IdentityScope::ChatJoinLimited
    )
}

#[cfg(test)]
#[path = "acs_tests.rs"]
mod tests;
