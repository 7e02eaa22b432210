//! `setup`: what `doctor` finds missing and Graph or ACS let one do. It adds and never takes away.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use acs_token_broker::doctor::look::{GraphAccess, Looker, Seen};
use acs_token_broker::doctor::rules::graph::TokenLook;
use acs_token_broker::doctor::setup::{self, State, Step};
use base::clock::SystemClock;
use base::ids::TenantId;
use clap::{Args, Subcommand};
use config::Config;
use config::load::Environment;
use serde_json::json;

use crate::doctor::table::{BOLD, FAINT};
use crate::doctor::{
    Source, Usage, access, configuration, end_progress, graph_access, json as to_json, progress, wanted,
};
use crate::output::OutputFormat;
use crate::{ConfigArgument, Exit, complain, say, say_in_colours};

#[derive(Args)]
pub(crate) struct SetupArguments {
    #[command(subcommand)]
    verb: Verb,
    /// The configuration file; also from `ACS_TOKEN_BROKER_CONFIG`. Without one the environment alone must do.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The steps in this tenant alone; can be repeated.
    #[arg(long = "tenant", value_name = "ID", global = true)]
    tenants: Vec<TenantId>,
    /// Ask Microsoft Graph with the administrator's token in this file, or on standard input (-), in place of [graph].
    #[arg(long, value_name = "FILE|-", global = true)]
    graph_token_file: Option<PathBuf>,
    /// How results are written to standard output. With json it is one JSON value.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table, global = true)]
    output: OutputFormat,
    /// Do it without asking.
    #[arg(long, global = true)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Verb {
    /// Show the steps that are missing, and change nothing.
    Plan,
    /// Show them, ask, and do them.
    Apply,
}

pub(crate) fn run(arguments: &SetupArguments, environment: &Environment) -> Exit {
    match work(arguments, environment) {
        Ok(exit) => exit,
        Err(usage) => usage.report(arguments.output),
    }
}

fn work(arguments: &SetupArguments, environment: &Environment) -> Result<Exit, Usage> {
    let source = arguments.graph_token_file.as_deref().map(Source::new);
    let asks = arguments.verb == Verb::Apply && !arguments.yes;
    if asks && (arguments.output == OutputFormat::Json || source.is_some_and(Source::is_stdin)) {
        return Err(Usage::NobodyToAsk);
    }
    let given = source.map(graph_access).transpose()?;
    let argument = ConfigArgument {
        config: arguments.config.clone(),
    };
    let found = configuration(&argument, environment);
    let Some(config) = &found.config else {
        let problems = found.problems.join("\n");
        complain(&format_args!("the configuration has problems\n{problems}"));
        if arguments.output == OutputFormat::Json {
            say(&json!({ "error": { "code": "Configuration", "message": problems } }));
        }
        return Ok(Exit::Configuration);
    };
    let only = wanted(&arguments.tenants, config, given.as_ref())?;
    let runtime = crate::runtime().map_err(Usage::Runtime)?;
    let looker = match Looker::new(config, SystemClock::shared(), only) {
        Ok(looker) => looker,
        Err(error) => {
            complain(&error);
            return Ok(Exit::Configuration);
        }
    };
    runtime.block_on(steps(arguments, config, &looker, given, asks))
}

async fn steps(
    arguments: &SetupArguments,
    config: &Config,
    looker: &Looker<'_>,
    given: Option<GraphAccess>,
    asks: bool,
) -> Result<Exit, Usage> {
    let access = access(looker, given);
    let progress = progress(arguments.output);
    let seen = looker.look(&access, &progress).await;
    end_progress(arguments.output);
    not_asked(&seen);
    let mut steps = setup::plan(config, &seen.needs, &seen.graph, &seen.resources);
    let wants = arguments.verb == Verb::Apply && steps.iter().any(|step| step.status == State::Planned);
    if arguments.output == OutputFormat::Table {
        say_in_colours(&shown(&steps));
    }
    if wants {
        if asks && !is_agreed()? {
            say(&"nothing was changed");
            return Ok(Exit::Done);
        }
        for step in steps.iter_mut().filter(|step| step.status == State::Planned) {
            match looker.apply(step, &seen.needs, &access).await {
                Ok(()) => step.status = State::Done,
                Err(why) => {
                    step.status = State::Refused;
                    step.error = Some(why);
                }
            }
            if arguments.output == OutputFormat::Table {
                say(&outcome(step));
            }
        }
    }
    let count = |status| steps.iter().filter(|step| step.status == status).count();
    if arguments.output == OutputFormat::Json {
        say(&to_json(&json!({
            "steps": steps,
            "planned": count(State::Planned),
            "done": count(State::Done),
            "refused": count(State::Refused),
            "manual": count(State::Manual),
        })));
    }
    Ok(if count(State::Refused) == 0 {
        Exit::Done
    } else {
        Exit::Failure
    })
}

/// Where nothing is planned because nothing is known.
fn not_asked(seen: &Seen<'_>) {
    for tenant in &seen.graph {
        match &tenant.token {
            TokenLook::Have(_) => {}
            TokenLook::None(why) | TokenLook::Given(why) => {
                complain(&format_args!("tenant {}: Graph is not asked: {why}", tenant.tenant));
            }
            TokenLook::App(_, error) => {
                complain(&format_args!("tenant {}: Graph is not asked: {error}", tenant.tenant));
            }
        }
    }
    for look in &seen.resources {
        if let Some(Err(error)) = look.listed() {
            let name = look.config.name.as_deref().unwrap_or("the resource");
            complain(&format_args!("{name}: {error}"));
        }
    }
}

fn shown(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "nothing to do".to_owned();
    }
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{BOLD}{}. {}{BOLD:#}  {FAINT}({}; {}){FAINT:#}",
            index + 1,
            step.summary,
            step.id,
            step.who.words()
        );
        if let Some(az) = &step.az {
            let _ = writeln!(text, "   {FAINT}az:{FAINT:#}      {az}");
        }
        if let Some(request) = &step.request {
            let _ = writeln!(
                text,
                "   {FAINT}request:{FAINT:#} {} {} {}",
                request.method, request.url, request.body
            );
        }
        if let Some(url) = &step.url {
            let _ = writeln!(text, "   {FAINT}open:{FAINT:#}    {url}");
        }
        if let Some(message) = &step.message {
            let _ = writeln!(text, "   {FAINT}send them this:{FAINT:#}\n");
            for line in message.lines() {
                let _ = writeln!(text, "   {FAINT}|{FAINT:#} {line}");
            }
            text.push('\n');
        }
    }
    let by_hand = steps.iter().filter(|step| step.status == State::Manual).count();
    let _ = write!(
        text,
        "{} steps can be done by `setup apply`, {by_hand} by others",
        steps.len() - by_hand
    );
    text
}

fn outcome(step: &Step) -> String {
    match &step.error {
        None => format!("done: {}", step.summary),
        Some(why) => format!("refused: {}: {why}", step.summary),
    }
}

fn is_agreed() -> Result<bool, Usage> {
    if !std::io::stdin().is_terminal() {
        return Err(Usage::NobodyToAsk);
    }
    say(&"Do these steps? [y/N]");
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
