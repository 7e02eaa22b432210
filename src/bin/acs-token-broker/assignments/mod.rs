//! `assignments`: the administrator's side. What ACS lists, one by one or as a whole file.

mod apply;
mod difference;
mod failure;
mod output;
mod replay;
mod resource;
pub(crate) mod teams;

use std::path::PathBuf;

use acs_token_broker::authorize::assignment::{Assignment, PrincipalType};
use acs_token_broker::authorize::source::schema;
use azure::acs_assignments::{EntraAssignment, Put};
use base::ids::{ClientAppId, ObjectId, TenantId};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use config::load::Environment;
use serde_json::json;
use strum::VariantNames as _;

use self::failure::Failure;
use self::output::Report;
use self::resource::Resource;
use crate::output::OutputFormat;
use crate::{ConfigArgument, Exit, complain, runtime, say};

#[derive(Args)]
pub(crate) struct AssignmentsArguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArguments,
}

/// What commands about one resource take beside their verb.
#[derive(Args)]
struct CommonArguments {
    /// The configuration file; also from `ACS_TOKEN_BROKER_CONFIG`. Without one the environment alone must do.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// How results are written to standard output. With json it is one JSON value.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table, global = true)]
    output: OutputFormat,
    /// The resource by its name; needed only where the configuration lists several.
    #[arg(long, value_name = "NAME", global = true)]
    resource: Option<String>,
}

impl CommonArguments {
    fn config_file(&self, environment: &Environment) -> Option<PathBuf> {
        let argument = ConfigArgument {
            config: self.config.clone(),
        };
        argument.file(environment)
    }

    fn load_resource(&self, environment: &Environment) -> Result<Resource, Failure> {
        Resource::load(
            self.config_file(environment).as_deref(),
            environment,
            self.resource.as_deref(),
        )
    }
}

#[derive(Subcommand)]
enum Verb {
    /// List all assignments at ACS.
    List,
    /// Show one assignment at ACS.
    Get {
        /// The id of the user, group or tenant.
        #[arg(value_name = "OBJECT_ID")]
        object_id: ObjectId,
    },
    /// Make or replace one assignment at ACS.
    Set(SetArguments),
    /// Remove one assignment at ACS.
    Remove {
        /// The id of the user, group or tenant.
        #[arg(value_name = "OBJECT_ID")]
        object_id: ObjectId,
    },
    /// Make ACS's assignments those of a file: shows the difference, then sends it, in one call.
    Apply {
        /// An assignment file, .toml or .json; allowedScopes stay here, since ACS does not know them.
        file: PathBuf,
        /// Show the difference and send nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show how a file and ACS have drifted apart, as what `apply` would do. That they have is no failure: exit code 0.
    Diff {
        /// An assignment file, .toml or .json; by default the configured one.
        file: Option<PathBuf>,
    },
    /// Show which callers of an audit log the configured assignment file would refuse or newly admit. ACS is not asked.
    Replay {
        /// A log of the broker's, JSON lines; "-" is standard input.
        #[arg(long, value_name = "FILE")]
        audit_log: PathBuf,
    },
    /// Print the JSON Schema of assignment files.
    Schema,
}

#[derive(Args)]
struct SetArguments {
    /// The id of the user, group or tenant.
    #[arg(value_name = "OBJECT_ID")]
    object_id: ObjectId,
    /// The tenant that it belongs to.
    #[arg(long, value_name = "ID")]
    tenant_id: TenantId,
    /// What the id stands for.
    #[arg(long, value_parser = principal_types())]
    principal_type: PrincipalType,
    /// A client app that may be used; can be repeated.
    #[arg(long = "client-id", value_name = "ID", required = true)]
    client_ids: Vec<ClientAppId>,
}

/// The types by their names at ACS.
fn principal_types() -> impl TypedValueParser<Value = PrincipalType> {
    PossibleValuesParser::new(PrincipalType::VARIANTS).try_map(|name| name.parse::<PrincipalType>())
}

pub(crate) fn run(arguments: &AssignmentsArguments, environment: &Environment) -> Exit {
    let outcome = match &arguments.verb {
        // It needs no configuration, and is JSON in any case.
        Verb::Schema => {
            say(&schema::text().trim_end());
            return Exit::Done;
        }
        Verb::Replay { audit_log } => {
            let config = arguments.common.config_file(environment);
            let name = arguments.common.resource.as_deref();
            replay::replay(config.as_deref(), environment, name, audit_log)
        }
        verb => at_acs(verb, &arguments.common, environment),
    };
    answered(outcome, arguments.common.output)
}

/// Reports an outcome, and says what the process ends with.
fn answered(outcome: Result<Report, Failure>, output: OutputFormat) -> Exit {
    match outcome {
        Ok(report) => {
            report.print(output);
            Exit::Done
        }
        Err(failure) => {
            complain(&failure);
            if output == OutputFormat::Json {
                say(&failure.to_json());
            }
            failure.exit()
        }
    }
}

fn at_acs(verb: &Verb, arguments: &CommonArguments, environment: &Environment) -> Result<Report, Failure> {
    let resource = arguments.load_resource(environment)?;
    runtime().map_err(Failure::Runtime)?.block_on(async {
        match verb {
            Verb::List => list(&resource).await,
            Verb::Get { object_id } => {
                let assignment = resource.client.get(*object_id).await?;
                Ok(Report::new(&json!(assignment), output::details(&assignment)))
            }
            Verb::Set(set) => self::set(&resource, set).await,
            Verb::Remove { object_id } => remove(&resource, *object_id).await,
            Verb::Apply { file, dry_run } => apply::apply(&resource, file, *dry_run, arguments.output).await,
            Verb::Diff { file } => apply::diff(&resource, file.as_deref()).await,
            Verb::Replay { .. } | Verb::Schema => Ok(Report::new(&json!(null), String::new())),
        }
    })
}

async fn list(resource: &Resource) -> Result<Report, Failure> {
    let mut assignments = resource.client.list().await?;
    assignments.sort_by_key(|assignment| (assignment.tenant_id, assignment.object_id));
    let table = output::table(&assignments);
    // The form that ACS has for it, so that it is an assignment file.
    Ok(Report::new(&json!({ "value": assignments }), table))
}

async fn set(resource: &Resource, set: &SetArguments) -> Result<Report, Failure> {
    let assignment = EntraAssignment {
        object_id: set.object_id,
        tenant_id: set.tenant_id,
        principal_type: set.principal_type,
        client_ids: set.client_ids.clone(),
    };
    if assignment.principal_type == PrincipalType::Tenant && set.object_id != set.tenant_id.as_object_id() {
        return Err(Failure::NotTheTenant);
    }
    let (stored, put) = resource.client.put(&assignment).await?;
    complain(&match put {
        Put::Created => "the assignment was created",
        Put::Replaced => "the assignment was replaced",
    });
    Ok(Report::new(&json!(stored), output::details(&stored)))
}

/// ACS answers the removal of what is not there like any other; the administrator wants to know.
async fn remove(resource: &Resource, object_id: ObjectId) -> Result<Report, Failure> {
    let assignment = resource.client.get(object_id).await?;
    resource.client.delete(object_id).await?;
    let removed = json!({ "removed": assignment });
    Ok(Report::new(
        &removed,
        format!("removed\n{}", output::details(&assignment)),
    ))
}

/// What ACS can have of the file's assignments.
fn for_acs(assignments: Vec<Assignment>) -> Vec<EntraAssignment> {
    assignments.into_iter().map(EntraAssignment::from).collect()
}
