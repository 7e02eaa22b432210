//! `check-config`: every problem at once.

use std::collections::BTreeSet;
use std::path::Path;

use ::serve::{Capacity, OpenFiles};
use acs_token_broker::authorize::source::parse::{FileProblem, read_file};
use acs_token_broker::broker::Broker;
use base::clock::SystemClock;
use config::load::{Environment, inspect};
use config::{Config, ResourceConfig};

use crate::serve::clamp_warning;
use crate::{Exit, complain, say};

pub(crate) fn run(file: Option<&Path>, environment: &Environment) -> Exit {
    let inspected = inspect(file, environment);
    for warning in &inspected.warnings {
        complain(&format_args!("warning: {warning}"));
    }
    for warning in telemetry::warnings(&|name| environment.get(name).map(str::to_owned)) {
        complain(&format_args!("warning: {warning}"));
    }
    let mut problems: Vec<String> = inspected.problems.0.iter().map(ToString::to_string).collect();
    if let Some(config) = &inspected.config {
        problems.extend(look_further(config));
    }
    if problems.is_empty() {
        say(&"the configuration is valid");
        Exit::Done
    } else {
        let problems = problems.join("\n");
        complain(&format_args!("the configuration has problems\n{problems}"));
        Exit::Configuration
    }
}

/// What is wrong with the files that the settings name.
fn look_further(config: &Config) -> Vec<String> {
    match OpenFiles::most().capacity(Broker::wanted_files(config)) {
        Ok(Capacity::Enough) => {}
        Ok(Capacity::Reduced(clamped)) => complain(&format_args!(
            "warning: {}",
            clamp_warning(&clamped, config.server.max_connections)
        )),
        Err(error) => complain(&format_args!("warning: {error}")),
    }
    let found = files(config);
    for warning in found.warnings {
        complain(&format_args!("warning: {warning}"));
    }
    found.problems
}

/// What was found of the files that the settings name.
pub(crate) struct Files {
    pub(crate) problems: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Looks at the certificates, secrets and assignment files that the settings name.
pub(crate) fn files(config: &Config) -> Files {
    let clock = SystemClock::shared();
    let mut found = Files {
        problems: Broker::check(config, &clock).iter().map(ToString::to_string).collect(),
        warnings: Broker::warnings(config, &clock),
    };
    for resource in &config.resources {
        match check_assignments(config, resource) {
            Ok(warnings) => found.warnings.extend(warnings),
            Err(problems) => found.problems.extend(problems),
        }
    }
    found
}

/// What is wrong with the assignment file, or else what is odd about it. One that is not there yet is odd: the
/// broker starts without it and is not ready.
fn check_assignments(config: &Config, resource: &ResourceConfig) -> Result<Vec<String>, Vec<String>> {
    let Some(file) = resource.assignments.file.as_ref().map(|file| &file.path) else {
        return Ok(Vec::new());
    };
    let key = resource.key("assignments.file");
    let assignments = match read_file(file) {
        Ok(assignments) => assignments,
        Err(FileProblem::Unreadable(error)) => return Ok(vec![format!("{key}: {}: {error}", file.display())]),
        Err(FileProblem::Format(error)) => return Err(vec![format!("{key}: {error}")]),
        Err(FileProblem::Content(problems)) => {
            let problems = problems.iter().map(|problem| format!("{}: {problem}", file.display()));
            return Err(problems.collect());
        }
    };
    let mut warnings = Vec::new();
    if assignments.is_empty() {
        warnings.push(format!("{}: there are no assignments", file.display()));
    }
    let listed = |id| config.entra.tenants.iter().any(|tenant| tenant.id == id);
    let unlisted: BTreeSet<_> = assignments
        .iter()
        .map(|assignment| assignment.tenant_id)
        .filter(|id| !listed(*id))
        .collect();
    for tenant in unlisted {
        warnings.push(format!(
            "{}: tenant {tenant} is not listed under entra.tenants",
            file.display()
        ));
    }
    Ok(warnings)
}
