//! `check-config`: every problem at once.

use std::path::Path;

use acs_token_broker::authorize::source::parse::{self, Format};
use acs_token_broker::clock::SystemClock;
use acs_token_broker::config::load::{Environment, load};
use acs_token_broker::telemetry;

use crate::{Exit, complain, say, serve};

pub(crate) fn run(file: Option<&Path>, environment: &Environment) -> Exit {
    let loaded = match load(file, environment) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(&format_args!("the configuration has problems\n{problems}"));
            return Exit::Configuration;
        }
    };
    let options = serve::telemetry_options(&loaded.config, &SystemClock::shared());
    let lookup = |name: &str| environment.get(name).map(str::to_owned);
    if let Err(error) = telemetry::check(&options, &lookup) {
        complain(&error);
        return Exit::Configuration;
    }
    for warning in &loaded.warnings {
        complain(&format_args!("warning: {warning}"));
    }
    // Not a problem of the configuration: the broker starts without it and is not ready.
    for warning in assignment_warnings(&loaded.config.assignments.file) {
        complain(&format_args!("warning: {warning}"));
    }
    say(&"the configuration is valid");
    Exit::Done
}

fn assignment_warnings(file: &Path) -> Vec<String> {
    let place = file.display();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return vec![format!("assignments.file {place}: {error}")],
    };
    match Format::of(file).map(|format| parse::parse(format, &text)) {
        Ok(Ok(assignments)) if assignments.is_empty() => vec![format!("{place}: there are no assignments")],
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(problems)) => problems.iter().map(|problem| format!("{place}: {problem}")).collect(),
        Err(error) => vec![format!("assignments.file {place}: {error}")],
    }
}
