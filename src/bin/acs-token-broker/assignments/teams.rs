//! `teams-assignments`: who may use Teams Phone through the ACS resource.

use std::fmt::Write as _;

use azure::acs_assignments::Put;
use azure::acs_assignments::teams::{TeamsAssignment, TeamsPrincipalType};
use base::ids::{ClientAppId, ObjectId, TenantId};
use clap::{Args, Subcommand, ValueEnum};
use config::load::Environment;
use serde_json::json;

use super::failure::Failure;
use super::output::Report;
use super::resource::Resource;
use super::{CommonArguments, answered};
use crate::{Exit, complain, runtime};

#[derive(Args)]
pub(crate) struct TeamsAssignmentsArguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArguments,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the Teams Phone assignment of a user or a resource account.
    Get(Principal),
    /// Make or replace it.
    Set(SetArguments),
    /// Remove it.
    Remove(Principal),
}

#[derive(Args)]
struct Principal {
    /// The object id of the user or the resource account.
    #[arg(value_name = "OBJECT_ID")]
    object_id: ObjectId,
    /// Their tenant.
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
}

#[derive(Args)]
struct SetArguments {
    #[command(flatten)]
    principal: Principal,
    /// What the id stands for.
    #[arg(long, value_enum, default_value_t = PrincipalArgument::User)]
    principal_type: PrincipalArgument,
    /// A client app that may be used; can be repeated. Without it all may.
    #[arg(long = "client-id", value_name = "ID")]
    client_ids: Vec<ClientAppId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
enum PrincipalArgument {
    User,
    ResourceAccount,
}

pub(crate) fn run(arguments: &TeamsAssignmentsArguments, environment: &Environment) -> Exit {
    answered(at_acs(arguments, environment), arguments.common.output)
}

fn at_acs(arguments: &TeamsAssignmentsArguments, environment: &Environment) -> Result<Report, Failure> {
    let resource = arguments.common.load_resource(environment)?;
    runtime().map_err(Failure::Runtime)?.block_on(async {
        match &arguments.verb {
            Verb::Get(Principal { object_id, tenant }) => {
                let assignment = resource.teams.get(*tenant, *object_id).await?;
                Ok(Report::new(&json!(assignment), details(&assignment)))
            }
            Verb::Set(set) => self::set(&resource, set).await,
            Verb::Remove(principal) => remove(&resource, principal).await,
        }
    })
}

async fn set(resource: &Resource, set: &SetArguments) -> Result<Report, Failure> {
    let assignment = TeamsAssignment {
        object_id: set.principal.object_id,
        tenant_id: set.principal.tenant,
        principal_type: match set.principal_type {
            PrincipalArgument::User => TeamsPrincipalType::User,
            PrincipalArgument::ResourceAccount => TeamsPrincipalType::ResourceAccount,
        },
        client_ids: (!set.client_ids.is_empty()).then(|| set.client_ids.clone()),
    };
    let (stored, put) = resource.teams.put(&assignment).await?;
    complain(&match put {
        Put::Created => "the assignment was created",
        Put::Replaced => "the assignment was replaced",
    });
    Ok(Report::new(&json!(stored), details(&stored)))
}

/// ACS answers the removal of what is not there like any other; the administrator wants to know.
async fn remove(resource: &Resource, principal: &Principal) -> Result<Report, Failure> {
    let Principal { object_id, tenant } = principal;
    let assignment = resource.teams.get(*tenant, *object_id).await?;
    resource.teams.delete(*tenant, *object_id).await?;
    let removed = json!({ "removed": assignment });
    Ok(Report::new(&removed, format!("removed\n{}", details(&assignment))))
}

/// One assignment, a line a member.
fn details(assignment: &TeamsAssignment) -> String {
    let mut text = format!(
        "object id       {}\nprincipal type  {}\ntenant id       {}",
        assignment.object_id,
        assignment.principal_type.as_ref(),
        assignment.tenant_id
    );
    let clients = assignment.client_ids.as_deref().unwrap_or_default();
    if clients.is_empty() {
        text.push_str("\nclient ids      all");
    }
    for (index, client) in clients.iter().enumerate() {
        let name = if index == 0 { "client ids" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{name:<14}  {client}");
    }
    text
}
