//! The command line: reads arguments, wires, and turns outcomes into exit codes.

mod assignments;
mod check_config;
#[cfg(feature = "emulator")]
mod dev;
mod doctor;
mod healthcheck;
mod output;
mod serve;
mod setup;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::build_info;
use clap::{Args, Parser, Subcommand};
use config::invisible;
use config::load::Environment;

/// The same on every target. musl's own allocator takes one lock for all threads, and glibc's one for all whose memory is
/// freed by another thread than the one that asked for it. Without huge pages (`no_thp`): of 2 MiB a few bytes in use keep all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exchanges Microsoft Entra ID access tokens for Azure Communication Services access tokens.
#[derive(Parser)]
#[command(version = version(), about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ConfigArgument,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker (the default command).
    Serve(ConfigArgument),
    /// Run the broker with an embedded emulator of Entra and ACS on loopback; nothing else is needed.
    #[cfg(feature = "emulator")]
    Dev(dev::DevArguments),
    /// Check the configuration and report every problem, by key.
    CheckConfig(ConfigArgument),
    /// Ask a running broker's /readyz.
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Administer the assignments at ACS.
    Assignments(assignments::AssignmentsArguments),
    /// Administer the Teams Phone assignments at ACS.
    TeamsAssignments(assignments::teams::TeamsAssignmentsArguments),
    /// Check every step that an administrator has to have done, and say who must do what about each that is missing.
    Doctor(doctor::DoctorArguments),
    /// Do the steps that are missing, as far as Microsoft Graph and ACS let one.
    Setup(setup::SetupArguments),
}

impl Command {
    /// Whether tokens and keys that it holds are worth something. Those of `dev` are the emulator's, and developers look
    /// into it.
    fn has_secrets(&self) -> bool {
        match self {
            #[cfg(feature = "emulator")]
            Self::Dev(_) => false,
            _ => true,
        }
    }
}

#[derive(Args)]
struct ConfigArgument {
    /// The configuration file; also from `ACS_TOKEN_BROKER_CONFIG`. Without one the environment alone must do.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    fn file(&self, environment: &Environment) -> Option<PathBuf> {
        self.config
            .as_deref()
            .map(plain_path)
            .or_else(|| environment.get("ACS_TOKEN_BROKER_CONFIG").map(PathBuf::from))
    }
}

/// A path as a script gave it, without what nobody sees around it: a script from Windows ends its lines in CR.
fn plain_path(path: &Path) -> PathBuf {
    path.to_str()
        .map_or_else(|| path.to_owned(), |text| invisible::bare(text).into())
}

/// What `--version` says after the name.
fn version() -> String {
    format!("{} (commit {})", build_info::VERSION, build_info::COMMIT)
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// As asked.
    Done,
    /// Bad configuration or usage.
    Configuration,
    /// Anything else.
    Failure,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Configuration => Self::from(2),
            Exit::Failure => Self::from(1),
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error).into(),
    };
    // Fails only if another provider was installed, which nothing here does.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    hide_panic_payloads();
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    if command.has_secrets()
        && let Err(error) = ::serve::forbid_dumps()
    {
        complain(&format_args!("the process's memory can be dumped: {error}"));
    }
    let environment = Environment::process();
    let exit = match command {
        Command::Serve(argument) => serve::run(argument.file(&environment).as_deref(), &environment),
        #[cfg(feature = "emulator")]
        Command::Dev(arguments) => dev::run(&arguments, &environment),
        Command::CheckConfig(argument) => check_config::run(argument.file(&environment).as_deref(), &environment),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments, &environment),
        Command::Assignments(arguments) => assignments::run(&arguments, &environment),
        Command::TeamsAssignments(arguments) => assignments::teams::run(&arguments, &environment),
        Command::Doctor(arguments) => doctor::run(&arguments, &environment),
        Command::Setup(arguments) => setup::run(&arguments, &environment),
    };
    exit.into()
}

/// Bad usage, or `--help` and `--version`. Who asked for JSON on standard output gets one JSON value there all the same.
fn misused(error: &clap::Error) -> Exit {
    let exit = if error.use_stderr() {
        Exit::Configuration
    } else {
        Exit::Done
    };
    let wants_json = exit != Exit::Done && output::wants_json(std::env::args_os());
    if wants_json {
        let message = error.render().to_string();
        say(&output::usage_error(message.trim_end()));
    }
    // Nothing can be done where nobody listens.
    let _ = error.print();
    exit
}

/// Where a command runs that asks a few questions and ends.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A panic's message can quote what it failed on, a token for one. Only its place is shown.
fn hide_panic_payloads() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(place, "panic");
        // Also where no subscriber is set up yet.
        complain(&format_args!("panic at {place}"));
    }));
}

/// Writes what went wrong to standard error.
fn complain(message: &dyn std::fmt::Display) {
    // Unlike `eprintln`, which would panic: nothing can be done where nobody listens.
    let _ = writeln!(std::io::stderr().lock(), "acs-token-broker: {message}");
}

/// Writes a result to standard output.
fn say(message: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{message}");
}

/// The same with styles, which are left out in a pipe, with `NO_COLOR`, and on a terminal that has none.
fn say_in_colours(message: &dyn std::fmt::Display) {
    let _ = writeln!(anstream::stdout().lock(), "{message}");
}
