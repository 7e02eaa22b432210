//! `doctor`: names the missing step, who must act, and the exact fix.

mod given;
pub(crate) mod table;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use acs_token_broker::doctor::check::{Check, Report};
use acs_token_broker::doctor::look::{self, GraphAccess, Looker};
use acs_token_broker::doctor::rules;
use base::clock::{SharedClock, SystemClock};
use base::ids::TenantId;
use base::secret::BearerToken;
use clap::Args;
use config::Config;
use config::load::{Environment, inspect};

pub(crate) use self::given::{Source, Usage, graph_access};
use crate::output::{OutputFormat, usage_error};
use crate::{ConfigArgument, Exit, check_config, complain, say};

#[derive(Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
    /// Look at this tenant alone; can be repeated. All that are listed without it.
    #[arg(long = "tenant", value_name = "ID")]
    tenants: Vec<TenantId>,
    /// Also look at every gate of the Entra access token in this file, or on standard input (-).
    #[arg(long, value_name = "FILE|-")]
    token_file: Option<PathBuf>,
    /// Ask Microsoft Graph with the administrator's token in this file, or on standard input (-), in place of [graph].
    #[arg(long, value_name = "FILE|-")]
    graph_token_file: Option<PathBuf>,
    /// Exchange the token at ACS too, as the broker would; what comes back is dropped.
    #[arg(long, requires = "token_file")]
    exchange: bool,
    /// How results are written to standard output. With json it is one JSON value.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    output: OutputFormat,
    /// Ask nothing of the network.
    #[arg(long)]
    offline: bool,
}

pub(crate) fn run(arguments: &DoctorArguments, environment: &Environment) -> Exit {
    match examine(arguments, environment) {
        Ok(checks) => {
            let report = Report::new(checks);
            match arguments.output {
                OutputFormat::Json => say(&json(&report)),
                OutputFormat::Table => table::print(&report),
            }
            if report.failed == 0 { Exit::Done } else { Exit::Failure }
        }
        Err(usage) => usage.report(arguments.output),
    }
}

/// A report is made of texts and numbers, which are always JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn examine(arguments: &DoctorArguments, environment: &Environment) -> Result<Vec<Check>, Usage> {
    let sources = [&arguments.token_file, &arguments.graph_token_file].map(|file| file.as_deref().map(Source::new));
    if sources.iter().flatten().filter(|source| source.is_stdin()).count() > 1 {
        return Err(Usage::TwoOnStdin);
    }
    let [token, graph_token] = sources;
    let token = token.map(|source| source.read("--token-file")).transpose()?;
    let given = graph_token.map(graph_access).transpose()?;
    let found = configuration(&arguments.config, environment);
    let mut checks = vec![rules::config::valid(&found.problems, &found.warnings)];
    let Some(config) = &found.config else {
        return Ok(checks);
    };
    checks.push(rules::config::plain_http(config));
    let only = wanted(&arguments.tenants, config, given.as_ref())?;
    let clock = SystemClock::shared();
    let runtime = crate::runtime().map_err(Usage::Runtime)?;
    match Looker::new(config, SharedClock::clone(&clock), only.clone()) {
        Ok(looker) => {
            let azure = Azure {
                config,
                looker,
                given,
                only,
                token,
                arguments,
                now: clock.now(),
            };
            checks.extend(runtime.block_on(azure.look()));
        }
        Err(error) => {
            let problems: Vec<String> = found.problems.iter().cloned().chain([error.to_string()]).collect();
            checks[0] = rules::config::valid(&problems, &found.warnings);
        }
    }
    Ok(checks)
}

/// A configuration that can be looked at, if it is one, and what is wrong with it or with the files that it names.
pub(crate) struct Configuration {
    pub(crate) config: Option<Config>,
    pub(crate) problems: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

pub(crate) fn configuration(argument: &ConfigArgument, environment: &Environment) -> Configuration {
    let inspected = inspect(argument.file(environment).as_deref(), environment);
    let mut problems: Vec<String> = inspected.problems.0.iter().map(ToString::to_string).collect();
    let mut warnings = inspected.warnings;
    // With problems, defaults stand in for settings: nothing may be asked by them.
    let config = inspected.config.filter(|_| problems.is_empty());
    if let Some(config) = &config {
        let further = check_config::files(config);
        problems.extend(further.problems);
        warnings.extend(further.warnings);
    }
    Configuration {
        config,
        problems,
        warnings,
    }
}

/// The tenants that are named, if the configuration or the administrator's token knows them.
pub(crate) fn wanted(
    named: &[TenantId],
    config: &Config,
    given: Option<&GraphAccess>,
) -> Result<BTreeSet<TenantId>, Usage> {
    let is_known = |tenant: &TenantId| {
        config.entra.tenants.iter().any(|listed| listed.id == *tenant)
            || matches!(given, Some(GraphAccess::Given(of, _)) if of == tenant)
    };
    match named.iter().find(|tenant| !is_known(tenant)) {
        Some(tenant) => Err(Usage::NoSuchTenant(*tenant)),
        None => Ok(named.iter().copied().collect()),
    }
}

struct Azure<'a> {
    config: &'a Config,
    looker: Looker<'a>,
    given: Option<GraphAccess>,
    only: BTreeSet<TenantId>,
    token: Option<BearerToken>,
    arguments: &'a DoctorArguments,
    now: jiff::Timestamp,
}

impl Azure<'_> {
    async fn look(self) -> Vec<Check> {
        let exchange = self.arguments.exchange;
        if self.arguments.offline {
            let mut checks = look::offline(self.config, &self.only);
            if let Some(token) = &self.token {
                checks.extend(self.looker.token(token, None, exchange).await);
            }
            return checks;
        }
        let access = access(&self.looker, self.given);
        let progress = progress(self.arguments.output);
        let seen = self.looker.look(&access, &progress).await;
        let mut checks = seen.checks(self.config, self.now);
        if let Some(token) = &self.token {
            let azure = Some((&seen.tenants[..], &seen.resources[..]));
            checks.extend(self.looker.token(token, azure, exchange).await);
        }
        end_progress(self.arguments.output);
        checks
    }
}

/// The administrator's token, or else the app of `[graph]`. One that cannot be made is found by `config.valid`.
pub(crate) fn access(looker: &Looker<'_>, given: Option<GraphAccess>) -> GraphAccess {
    given.unwrap_or_else(|| looker.graph_app().unwrap_or(GraphAccess::Absent))
}

/// A line on a terminal that says how far it is. In a pipe, and beside JSON, there is none.
pub(crate) fn progress(output: OutputFormat) -> impl Fn(usize, usize) + Send + Sync {
    let shown = shows_progress(output);
    move |done, of| {
        if shown {
            let _ = write!(std::io::stderr().lock(), "\rlooking … {done} of {of}");
        }
    }
}

pub(crate) fn end_progress(output: OutputFormat) {
    if shows_progress(output) {
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K");
    }
}

fn shows_progress(output: OutputFormat) -> bool {
    output == OutputFormat::Table && std::io::stderr().is_terminal()
}

impl Usage {
    /// Says what is wrong with the command line.
    pub(crate) fn report(&self, output: OutputFormat) -> Exit {
        complain(self);
        if output == OutputFormat::Json {
            say(&usage_error(&self.to_string()));
        }
        Exit::Configuration
    }
}
