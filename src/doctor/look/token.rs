//! A user's token, by the service's own code: its keys, its routes, its assignments, its exchange.

use std::sync::Arc;
use std::time::Duration;

use azure::UpstreamFailure;
use base::ids::{ClientAppId, ObjectId, TenantId};
use base::secret::{BearerToken, TokenDigest};
use base::tasks::Tasks;
use telemetry::metrics::Metrics;
use tokio::time::Instant;

use super::{CALL_LIMIT, Looker, read_file};
use crate::authenticate::{Caller, Verdict};
use crate::authorize::assignment::Assignment;
use crate::authorize::source::{AssignmentWatch, SourceKind};
use crate::authorize::{AssignmentIndex, Denied, MatchedAssignment, Permit};
use crate::broker::{self, StartError};
use crate::doctor::check::{Check, CheckId, Status, Who};
use crate::doctor::rules::acs::ResourceLook;
use crate::doctor::rules::entra::TenantLook;
use crate::doctor::rules::token::{Claims, Covered, Seen, TokenLook, gates};
use crate::exchange::ExchangeError;
use crate::route::{Resource, Routes, Selector};
use config::{Config, ResourceConfig};

/// Who was looked up, and with what outcome.
struct Looked {
    covered: Covered,
    // What an exchange needs, if nothing is in its way.
    permitted: Option<(Resource, Permit)>,
}

impl Looker<'_> {
    /// All gates of `token`; with `exchange` also what ACS says to it, if every gate lets it pass. Without what was seen of
    /// `azure` nothing is asked.
    pub async fn token(
        &self,
        token: &BearerToken,
        azure: Option<(&[TenantLook], &[ResourceLook<'_>])>,
        exchange: bool,
    ) -> Vec<Check> {
        let claims = Claims::read(token);
        let (seen, caller) = self.verify(token, azure.is_some()).await;
        let tenant = claims
            .as_ref()
            .and_then(|claims| claims.text("tid"))
            .and_then(|tid| tid.parse::<TenantId>().ok());
        let client = claims
            .as_ref()
            .and_then(Claims::client_app)
            .and_then(|app| app.parse::<ClientAppId>().ok());
        let issuers = azure.and_then(|(tenants, _)| {
            let look = tenants.iter().find(|look| Some(look.tenant) == tenant)?;
            Some(look.published.as_ref().ok()?.issuers.clone())
        });
        let index = tenant.and_then(|tenant| serving(self.config, tenant, client));
        let looked = match (index, &claims) {
            (Some(index), Some(claims)) => {
                let look = azure.and_then(|(_, resources)| resources.get(index));
                self.covered(&self.config.resources[index], look, caller, claims).await
            }
            _ => Looked {
                covered: Covered::NotLookedAt("no resource serves the token's user".to_owned()),
                permitted: None,
            },
        };
        let mut checks = gates(&TokenLook {
            config: self.config,
            seen,
            claims,
            issuers,
            resource: index.map(|index| named(&self.config.resources[index])),
            covered: looked.covered,
            now: self.clock.now(),
        });
        if exchange {
            let check = if azure.is_none() {
                Check::skip(CheckId::TokenExchange, "nothing is exchanged offline")
            } else if checks.iter().any(|check| check.status == Status::Fail) {
                Check::skip(CheckId::TokenExchange, "nothing is exchanged after a gate that failed")
            } else {
                match looked.permitted {
                    Some((resource, permit)) => exchanged(&resource, permit, token).await,
                    None => Check::skip(
                        CheckId::TokenExchange,
                        "it is not known whether the user may have a token",
                    ),
                }
            };
            checks.push(check);
        }
        checks
    }

    /// What the service's authenticator says, with keys that are fetched where there is a network.
    async fn verify(&self, token: &BearerToken, online: bool) -> (Seen, Option<Caller>) {
        let mut config: Config = self.config.clone();
        config.entra.jwks_wait = CALL_LIMIT;
        let tasks = Tasks::default();
        let metrics = Metrics::noop();
        let authenticator = broker::authenticator(&config, &self.upstream, &self.clock, &tasks, &metrics);
        // By the service's own routes, as far as its resources can be built.
        let stages = config
            .resources
            .iter()
            .map(|each| broker::stages(each, &self.services, &self.listed()));
        let routes = stages.map(|built| Ok(built?.0)).collect::<Result<_, StartError>>();
        let routes = Routes::new(routes.unwrap_or_default());
        let acceptance = routes.acceptance(None);
        let look = || authenticator.verify(token, &acceptance);
        let verdict = match look() {
            Verdict::KeyMiss(_) if !online => return (Seen::KeyNotLookedFor, None),
            Verdict::KeyMiss(miss) => match miss.settle().await {
                Ok(()) => look(),
                Err(rejection) => Verdict::Refused(rejection),
            },
            verdict => verdict,
        };
        tasks.stop(Duration::from_millis(100)).await;
        match verdict {
            Verdict::Accepted(caller) => (Seen::Accepted, Some(caller)),
            Verdict::Refused(rejection) => (Seen::Refused(rejection), None),
            Verdict::KeyMiss(miss) => (Seen::Refused(miss.into_rejection()), None),
        }
    }

    /// What the resource's assignments say, by the service's authorizer where there is a caller.
    async fn covered(
        &self,
        config: &ResourceConfig,
        look: Option<&ResourceLook<'_>>,
        caller: Option<Caller>,
        claims: &Claims,
    ) -> Looked {
        let not = |why: String| Looked {
            covered: Covered::NotLookedAt(why),
            permitted: None,
        };
        let (resource, watch) = match broker::stages(config, &self.services, &self.listed()) {
            Ok(stages) => stages,
            Err(error) => return not(error.to_string()),
        };
        load(&watch, config, look);
        let Some(caller) = caller else {
            return Looked {
                covered: by_index(&watch, claims),
                permitted: None,
            };
        };
        match resource.authorizer.authorize(caller, Instant::now() + CALL_LIMIT).await {
            Ok(permit) => Looked {
                covered: Covered::By(matched(permit.assignment())),
                permitted: Some((resource, permit)),
            },
            Err(denied) => Looked {
                covered: Covered::Not(denied),
                permitted: None,
            },
        }
    }
}

/// The resource that serves a user, by the service's own rule.
fn serving(config: &Config, tenant: TenantId, client: Option<ClientAppId>) -> Option<usize> {
    config.resources.iter().position(|resource| {
        let selector = Selector {
            tenants: resource.tenants.iter().copied().collect(),
            client_ids: resource.client_ids.iter().copied().collect(),
        };
        selector.matches(tenant, client)
    })
}

fn named(resource: &ResourceConfig) -> String {
    match &resource.name {
        Some(name) => format!("resource {name}"),
        None => "the resource".to_owned(),
    }
}

/// Fills what is in force with what was looked at. A source that was not had stays away, as in the service.
fn load(watch: &AssignmentWatch, config: &ResourceConfig, look: Option<&ResourceLook<'_>>) {
    if let Some(file) = &config.assignments.file
        && let Ok(assignments) = read_file(&file.path)
    {
        watch.source(SourceKind::File).replace(assignments);
    }
    if config.assignments.acs.is_some()
        && let Some(Ok(listed)) = look.and_then(ResourceLook::listed)
    {
        let assignments = listed.iter().cloned().map(Assignment::from).collect();
        watch.source(SourceKind::Acs).replace(assignments);
    }
}

fn matched(assignment: MatchedAssignment) -> String {
    match assignment {
        MatchedAssignment::User => "the user's own assignment".to_owned(),
        MatchedAssignment::Group(group) => format!("the assignment of group {group}"),
        MatchedAssignment::Tenant => "the tenant's assignment".to_owned(),
        MatchedAssignment::AcsAlone => {
            "ACS alone: a group may cover them (assignments.unknown_groups is \"acs\")".to_owned()
        }
    }
}

/// What the assignments say of a user whose token is refused for something else.
fn by_index(watch: &AssignmentWatch, claims: &Claims) -> Covered {
    let id = |name: &str| claims.text(name);
    let tenant = id("tid").and_then(|id| id.parse::<TenantId>().ok());
    let user = id("oid").and_then(|id| id.parse::<ObjectId>().ok());
    let client = claims.client_app().and_then(|id| id.parse::<ClientAppId>().ok());
    let (Some(tenant), Some(user), Some(client)) = (tenant, user, client) else {
        return Covered::NotLookedAt("the token does not name its user and client app".to_owned());
    };
    let Some(set) = watch.current() else {
        return Covered::Not(Denied::NotLoaded);
    };
    let index: &AssignmentIndex = &Arc::clone(&set.index);
    let group = claims
        .groups()
        .filter_map(|group| group.parse::<ObjectId>().ok())
        .find(|group| index.group(tenant, *group, client));
    if index.user(tenant, user, client) {
        Covered::By(matched(MatchedAssignment::User))
    } else if let Some(group) = group {
        Covered::By(matched(MatchedAssignment::Group(group)))
    } else if index.tenant(tenant, client) {
        Covered::By(matched(MatchedAssignment::Tenant))
    } else if !set.complete {
        Covered::Not(Denied::NotLoaded)
    } else if !claims.has("groups") && !index.groups_of(tenant, client).is_empty() {
        Covered::NotLookedAt(
            "only a group could cover the user, which is looked up once the other gates pass".to_owned(),
        )
    } else {
        Covered::Not(Denied::NoAssignment)
    }
}

/// `token.exchange`: the exchange that the service would make. What it brings is dropped at once.
async fn exchanged(resource: &Resource, permit: Permit, token: &BearerToken) -> Check {
    let id = CheckId::TokenExchange;
    let outcome = match resource.exchanger.plan(permit, TokenDigest::new(token), None) {
        Ok(plan) => resource.exchanger.exchange(&plan, token, None, None).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(issued) => Check::pass(
            id,
            format!(
                "ACS gives a token for identity {} until {}",
                base::untrusted::Untrusted::new(&issued.grant.identity_id),
                issued.grant.expires_on
            ),
        ),
        Err(
            ExchangeError::Upstream(UpstreamFailure::InvalidResponse(fault)) | ExchangeError::InvalidResponse(fault),
        ) => Check::fail(
            id,
            Who::Operator,
            format!("ACS's answer is no token: {fault}"),
            "see acs.reachable and acs.api_version",
        ),
        Err(ExchangeError::Upstream(failure)) => Check::warn(
            id,
            format!("not decided: {}", failure.describe("ACS", "this resource")),
            "try again later",
        ),
        Err(error) => {
            let (who, fix) = remedy(&error);
            Check::fail(id, who, error.to_string(), fix)
        }
    }
}

fn remedy(error: &ExchangeError) -> (Who, &'static str) {
    match error {
        ExchangeError::Rejected(_) => (
            Who::Developer,
            "check which ACS API the token is for, and that it has not ended",
        ),
        ExchangeError::Forbidden(_) => (
            Who::Operator,
            "assign the user at ACS with this client app; see acs.assignments",
        ),
        ExchangeError::OnBehalfOf(_) => (
            Who::UserTenantAdmin,
            "see graph.consent; the words of Entra say what is missing",
        ),
        ExchangeError::BrokerRejected(_) => (Who::Operator, "see entra.credential and acs.credential"),
        ExchangeError::NoScope => (
            Who::Operator,
            "widen allowedScopes of the assignment, or exchange.identity.scopes",
        ),
        ExchangeError::WrongAudience | ExchangeError::WrongPath => (
            Who::Developer,
            "ask Entra for the API that this resource's mode takes; see token.audience",
        ),
        _ => (Who::Operator, "see the page of this check"),
    }
}
