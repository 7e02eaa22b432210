//! What Graph says, in each tenant that there is a token for.

use std::collections::BTreeMap;
use std::sync::Arc;

use azure::credential::app_tokens::AppTokens;
use azure::graph_admin::{AdminError, GraphAdmin};
use base::ids::{ClientAppId, ObjectId, TenantId};
use base::secret::BearerToken;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{CALL_LIMIT, Looker};
use crate::broker::StartError;
use crate::doctor::needs::{AcsApi, AppNeed, Needs};
use crate::doctor::rules::config::graph_endpoint;
use crate::doctor::rules::graph::{Looked, Missed, TenantGraph, TokenLook};
use crate::doctor::rules::token::Claims;

/// Who asks Graph.
pub enum GraphAccess {
    /// The app of `[graph]`.
    App(ClientAppId, AppTokens),
    /// An administrator, whose token is of one tenant.
    Given(TenantId, BearerToken),
    /// There is neither.
    Absent,
}

/// A token that does not say which tenant it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no access token of an organization's tenant: it has no `tid`")]
pub struct NoTenant;

/// An administrator's token. Nothing verifies it: Graph will.
pub fn given_token(token: BearerToken) -> Result<GraphAccess, NoTenant> {
    let claims = Claims::read(&token).ok_or(NoTenant)?;
    let tenant = claims.text("tid").and_then(|tid| tid.parse().ok()).ok_or(NoTenant)?;
    Ok(GraphAccess::Given(tenant, token))
}

impl Looker<'_> {
    /// The app of `[graph]`, if there is one.
    pub fn graph_app(&self) -> Result<GraphAccess, StartError> {
        Ok(match &self.config.graph_for_checks {
            Some(graph) => GraphAccess::App(graph.app.client_id, self.services.graph_tokens(graph)?),
            None => GraphAccess::Absent,
        })
    }

    /// Graph in `tenant`, or why it cannot be asked there.
    pub async fn graph_admin(&self, tenant: TenantId, access: &GraphAccess) -> Result<GraphAdmin, TokenLook> {
        let token = match access {
            GraphAccess::Absent => {
                return Err(TokenLook::None(
                    "there is neither [graph] in the configuration nor --graph-token-file".to_owned(),
                ));
            }
            GraphAccess::Given(of, token) if *of == tenant => token.clone(),
            GraphAccess::Given(of, _) => {
                return Err(TokenLook::None(format!(
                    "the token of --graph-token-file is of tenant {of}"
                )));
            }
            GraphAccess::App(app, tokens) => match tokens.token(tenant, Instant::now() + CALL_LIMIT).await {
                Ok(token) => token.access_token,
                Err(error) => return Err(TokenLook::App(*app, Box::new(error))),
            },
        };
        let Some(endpoint) = graph_endpoint(self.config) else {
            return Err(TokenLook::None("Graph's address is not known".to_owned()));
        };
        let clock = Arc::clone(&self.clock);
        Ok(GraphAdmin::new(
            self.upstream.clone(),
            endpoint,
            token,
            CALL_LIMIT,
            clock,
        ))
    }

    /// Asks in all tenants at once. The tenant of a given token is one of them, listed or not: it may be the home of the
    /// applications.
    pub(super) async fn graph(
        &self,
        needs: &Needs,
        access: &GraphAccess,
        step: &(dyn Fn() + Sync),
    ) -> Vec<TenantGraph> {
        let mut tenants: Vec<TenantId> = self.tenants().collect();
        if let GraphAccess::Given(tenant, _) = access
            && !tenants.contains(tenant)
            && self.is_wanted(*tenant)
        {
            tenants.push(*tenant);
        }
        join_all(tenants.into_iter().map(|tenant| async move {
            let looked = match self.graph_admin(tenant, access).await {
                Ok(graph) => {
                    let from = match access {
                        GraphAccess::App(..) => "the app of [graph]",
                        GraphAccess::Given(..) | GraphAccess::Absent => "the token of --graph-token-file",
                    };
                    ask(tenant, needs, &graph, from).await
                }
                Err(token) => not_asked(tenant, needs, token, "Graph was not asked: see graph.token"),
            };
            step();
            looked
        }))
        .await
    }
}

/// What is needed in one tenant.
fn needed_groups(tenant: TenantId, needs: &Needs) -> impl Iterator<Item = ObjectId> {
    needs
        .groups
        .iter()
        .filter(move |(_, of)| **of == tenant)
        .map(|(group, _)| *group)
}

fn not_asked(tenant: TenantId, needs: &Needs, token: TokenLook, why: &str) -> TenantGraph {
    fn none<T>(why: &str) -> Looked<T> {
        Err(Missed::NotAsked(why.to_owned()))
    }
    TenantGraph {
        tenant,
        token,
        acs_clients: none(why),
        acs_teams: none(why),
        assigned: none(why),
        registrations: needs.apps.keys().map(|app| (*app, none(why))).collect(),
        principals: needs.apps.keys().map(|app| (*app, none(why))).collect(),
        grants: needs.apps.keys().map(|app| (*app, none(why))).collect(),
        groups: needed_groups(tenant, needs).map(|group| (group, none(why))).collect(),
        nested: BTreeMap::new(),
        skus: none(why),
    }
}

async fn ask(tenant: TenantId, needs: &Needs, graph: &GraphAdmin, from: &'static str) -> TenantGraph {
    // The first question shows whether Graph takes the token at all.
    let acs_clients = graph
        .service_principal(AcsApi::Clients.app_id())
        .await
        .map_err(Missed::Failed);
    if let Err(Missed::Failed(AdminError::Unauthorized(_))) = acs_clients {
        let refused = not_asked(
            tenant,
            needs,
            TokenLook::Have(from),
            "Graph rejected the token: see graph.token",
        );
        return TenantGraph { acs_clients, ..refused };
    }
    let acs_teams = async {
        if needs.uses(AcsApi::Teams) {
            let found = graph.service_principal(AcsApi::Teams.app_id()).await;
            found.map_err(Missed::Failed)
        } else {
            Err(Missed::NotAsked("no Teams users are served".to_owned()))
        }
    };
    let assigned = async {
        match &acs_clients {
            Ok(Some(principal)) => graph.assigned_to(principal.id).await.map_err(Missed::Failed),
            Ok(None) => Ok(Vec::new()),
            Err(missed) => Err(missed.clone()),
        }
    };
    let apps = join_all(needs.apps.iter().map(|(app, need)| ask_app(*app, need, tenant, graph)));
    let groups = join_all(needed_groups(tenant, needs).map(|group| async move {
        let (found, nested) = tokio::join!(graph.group(group), graph.has_nested_groups(group));
        (group, found.map_err(Missed::Failed), nested.map_err(Missed::Failed))
    }));
    let skus = async {
        if needed_groups(tenant, needs).next().is_some() {
            graph.subscribed_skus().await.map_err(Missed::Failed)
        } else {
            Err(Missed::NotAsked("no group of this tenant is assigned".to_owned()))
        }
    };
    let (acs_teams, assigned, apps, groups, skus) = tokio::join!(acs_teams, assigned, apps, groups, skus);
    let mut seen = TenantGraph {
        tenant,
        token: TokenLook::Have(from),
        acs_clients,
        acs_teams,
        assigned,
        registrations: BTreeMap::new(),
        principals: BTreeMap::new(),
        grants: BTreeMap::new(),
        groups: BTreeMap::new(),
        nested: BTreeMap::new(),
        skus,
    };
    for app in apps {
        seen.registrations.insert(app.app, app.registration);
        seen.principals.insert(app.app, app.principal);
        seen.grants.insert(app.app, app.grants);
    }
    for (group, found, nested) in groups {
        seen.groups.insert(group, found);
        seen.nested.insert(group, nested);
    }
    seen
}

struct AppLook {
    app: ClientAppId,
    registration: Looked<Option<azure::graph_admin::Application>>,
    principal: Looked<Option<azure::graph_admin::ServicePrincipal>>,
    grants: Looked<Vec<azure::graph_admin::PermissionGrant>>,
}

async fn ask_app(app: ClientAppId, need: &AppNeed, tenant: TenantId, graph: &GraphAdmin) -> AppLook {
    let granted = async {
        let principal = graph.service_principal(app).await.map_err(Missed::Failed);
        let grants = match &principal {
            Ok(Some(principal)) if need.tenants.contains(&tenant) => {
                graph.permission_grants(principal.id).await.map_err(Missed::Failed)
            }
            Ok(_) => Ok(Vec::new()),
            Err(missed) => Err(missed.clone()),
        };
        (principal, grants)
    };
    let (registration, (principal, grants)) = tokio::join!(graph.application(app), granted);
    AppLook {
        app,
        registration: registration.map_err(Missed::Failed),
        principal,
        grants,
    }
}
