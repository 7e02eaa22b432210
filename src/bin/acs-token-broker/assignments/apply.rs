//! `apply` and `diff`: a file against what is at ACS.

use std::collections::HashSet;
use std::path::Path;

use acs_token_broker::authorize::assignment::Assignment;
use acs_token_broker::authorize::source::parse::{self, FileProblem};
use azure::acs_assignments::EntraAssignment;
use serde_json::json;

use super::difference::Difference;
use super::failure::Failure;
use super::for_acs;
use super::output::{self, Report};
use super::resource::Resource;
use crate::output::OutputFormat;
use crate::say;

pub(super) async fn apply(
    resource: &Resource,
    file: &Path,
    dry_run: bool,
    output: OutputFormat,
) -> Result<Report, Failure> {
    let difference = Difference::between_file(resource, file).await?;
    let text = output::difference(&difference);
    let sent = !dry_run && !difference.is_none();
    if sent {
        // The difference is shown before it is sent. As JSON it is one value, with the outcome.
        if output == OutputFormat::Table {
            say(&text);
        }
        resource.client.patch(&difference.patch()).await?;
    }
    let json = json!({
        "dryRun": dry_run,
        "applied": sent,
        "added": difference.added,
        "changed": difference.changed,
        "removed": difference.removed,
    });
    let text = match (sent, difference.is_none()) {
        (true, _) => "applied".to_owned(),
        (false, true) => text,
        (false, false) => format!("{text}\nnothing was sent (--dry-run)"),
    };
    Ok(Report::new(&json, text))
}

pub(super) async fn diff(resource: &Resource, file: Option<&Path>) -> Result<Report, Failure> {
    let configured = resource.file.as_ref().map(|file| &*file.path);
    let file = file.or(configured).ok_or(Failure::NoFile)?;
    let difference = Difference::between_file(resource, file).await?;
    Ok(Report::new(&json!(difference), output::difference(&difference)))
}

impl Difference {
    /// The file is read first: nothing is asked of ACS for one that is no good.
    async fn between_file(resource: &Resource, file: &Path) -> Result<Self, Failure> {
        let wanted = read(file)?;
        Ok(Self::between(resource.client.list().await?, wanted))
    }
}

/// All that the file says.
pub(super) fn read_all(file: &Path) -> Result<Vec<Assignment>, Failure> {
    let file = || file.to_owned();
    parse::read_file(&file()).map_err(|problem| match problem {
        FileProblem::Format(cause) => Failure::Format { file: file(), cause },
        FileProblem::Unreadable(cause) => Failure::Unreadable { file: file(), cause },
        FileProblem::Content(problems) => Failure::File { file: file(), problems },
    })
}

fn read(file: &Path) -> Result<Vec<EntraAssignment>, Failure> {
    let assignments = for_acs(read_all(file)?);
    let mut ids = HashSet::new();
    match assignments.iter().find(|assignment| !ids.insert(assignment.object_id)) {
        None => Ok(assignments),
        Some(twice) => Err(Failure::TwoTenants {
            file: file.to_owned(),
            id: twice.object_id,
        }),
    }
}
