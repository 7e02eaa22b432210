//! Doing a step that is missing. What is there is read anew, so that nothing of it is written away.

use azure::graph_admin::AdminError;
use config::Config;

use super::{GraphAccess, Looker};
use crate::doctor::needs::{AcsApi, Needs};
use crate::doctor::rules::graph::TokenLook;
use crate::doctor::setup::{Action, Step, added, permissions_to_write};
use base::ids::TenantId;

impl Looker<'_> {
    /// Does what `step` says; the text is why it was refused.
    pub async fn apply(&self, step: &Step, needs: &Needs, access: &GraphAccess) -> Result<(), String> {
        match &step.action {
            Action::None => Ok(()),
            Action::CreatePrincipal(tenant, api) => {
                let graph = self.admin(*tenant, access).await?;
                let created = graph.create_service_principal(api.app_id()).await;
                created.map_err(|error| refused(&error, "Application.ReadWrite.All"))
            }
            Action::AddPermissions(tenant, app, api) => {
                let graph = self.admin(*tenant, access).await?;
                let words = |error: AdminError| refused(&error, "Application.ReadWrite.All");
                let principal = graph.service_principal(api.app_id()).await.map_err(words)?;
                let principal =
                    principal.ok_or_else(|| format!("the service principal of {} is not there", api.name()))?;
                let registration = graph.application(*app).await.map_err(words)?;
                let registration = registration.ok_or("the application is not registered there")?;
                let need = needs.apps.get(app).cloned().unwrap_or_default();
                match permissions_to_write(&registration.required_resource_access, &principal, &need, *api) {
                    Some(all) => graph
                        .set_required_permissions(registration.id, &all)
                        .await
                        .map_err(words),
                    None => Ok(()),
                }
            }
            Action::AssignGroup(tenant, group) => {
                let graph = self.admin(*tenant, access).await?;
                let words = |error: AdminError| refused(&error, "AppRoleAssignment.ReadWrite.All");
                let principal = graph.service_principal(AcsApi::Clients.app_id()).await.map_err(words)?;
                let principal =
                    principal.ok_or("the service principal of Azure Communication Services Clients is not there")?;
                graph.assign(principal.id, *group).await.map_err(words)
            }
            Action::Assign(index, wanted) => {
                let config: &Config = self.config;
                let resource = config.resources.get(*index).ok_or("the resource is not there")?;
                let client = self.assignments(resource).map_err(|error| error.to_string())?;
                let client = client.ok_or("the broker has no credential for this resource")?;
                let there = match client.get(wanted.object_id).await {
                    Ok(there) => Some(there),
                    Err(azure::acs_assignments::AssignmentsError::NotFound) => None,
                    Err(error) => return Err(error.to_string()),
                };
                let all = match &there {
                    Some(there)
                        if there.tenant_id != wanted.tenant_id || there.principal_type != wanted.principal_type =>
                    {
                        return Err("ACS has another assignment of this object by now; nothing is replaced".to_owned());
                    }
                    Some(there) => added(there, wanted),
                    None => wanted.clone(),
                };
                client.put(&all).await.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    async fn admin(&self, tenant: TenantId, access: &GraphAccess) -> Result<azure::graph_admin::GraphAdmin, String> {
        self.graph_admin(tenant, access).await.map_err(|look| match look {
            TokenLook::None(why) | TokenLook::Given(why) => why,
            TokenLook::App(_, error) => error.to_string(),
            TokenLook::Have(_) => String::new(),
        })
    }
}

fn refused(error: &AdminError, permission: &str) -> String {
    match error {
        AdminError::Forbidden(_) => format!("{error}; the token needs the permission {permission}"),
        error => error.to_string(),
    }
}
