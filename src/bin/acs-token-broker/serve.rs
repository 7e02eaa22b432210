//! `serve`: configuration, telemetry, broker, signals; in that order.

use std::path::Path;
use std::time::Duration;

use ::serve::{Capacity, Clamped, OpenFiles, ShutdownSignals, TooFewFiles, Wanted, on_hangup, signals};
use acs_token_broker::broker::{Broker, StartError};
use base::build_info;
use base::clock::{SharedClock, SystemClock};
use config::Config;
use config::load::{Environment, Loaded, load, load_log_level};
use telemetry::metrics::Metrics;
use telemetry::{self, LogLevel, TelemetryGuard, TelemetryOptions};

use crate::{Exit, complain};

/// How long queued spans and the last metrics may take to be sent at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// The same where it was not asked to end, or to end at once.
const SHORT_FLUSH_LIMIT: Duration = Duration::from_millis(500);

pub(crate) fn run(file: Option<&Path>, environment: &Environment) -> Exit {
    let loaded = match load(file, environment) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(&format_args!("the configuration has problems\n{problems}"));
            return Exit::Configuration;
        }
    };
    let clock = SystemClock::shared();
    let (level_file, level_environment) = (file.map(Path::to_owned), environment.clone());
    in_runtime(
        &loaded,
        environment,
        &clock,
        Broker::wanted_files(&loaded.config),
        async |config, clock, metrics, level: LogLevel| {
            let broker = Broker::build(config, clock, metrics)
                .await?
                .with_log_level(level.clone());
            on_hangup(move || reload_level(&level, level_file.as_deref(), &level_environment))?;
            let signals = signals()?;
            tracing::info!(
                public = %broker.public_address(),
                management = %broker.management_address(),
                version = build_info::VERSION,
                commit = build_info::COMMIT,
                "listening"
            );
            broker.run(signals.clone()).await;
            Ok(signals)
        },
    )
}

/// Takes `telemetry.log_level` from where it was taken at start. One that is no filter changes nothing.
fn reload_level(level: &LogLevel, file: Option<&Path>, environment: &Environment) {
    match load_log_level(file, environment) {
        Ok(text) => {
            if let Err(error) = level.set(&text, "the log level was read again") {
                tracing::error!(%error, "the log level stays");
            }
        }
        Err(problems) => tracing::error!(error = %problems, "the log level stays"),
    }
}

/// Runs `work` with telemetry set up around it, and turns its outcome into an exit code.
///
/// `files` is what may be open at once. If the limit on open files does not reach, fewer connections are served.
pub(crate) fn in_runtime<W>(
    loaded: &Loaded,
    environment: &Environment,
    clock: &SharedClock,
    files: Wanted,
    work: W,
) -> Exit
where
    W: AsyncFnOnce(Config, SharedClock, Metrics, LogLevel) -> anyhow::Result<ShutdownSignals>,
{
    let mut config = loaded.config.clone();
    let clamped = match clamp(&mut config, OpenFiles::raise(), files) {
        Ok(clamped) => clamped,
        Err(error) => {
            complain(&error);
            return Exit::Configuration;
        }
    };
    let guard = match start_telemetry(&config, environment, clock) {
        Ok(guard) => guard,
        Err(error) => {
            complain(&error);
            return Exit::Configuration;
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(clamped) = clamped {
        tracing::warn!("{}", clamp_warning(&clamped, loaded.config.server.max_connections));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return Exit::Failure;
        }
    };
    let work = work(config, clock.clone(), guard.metrics(), guard.log_level());
    let outcome = runtime.block_on(work);
    let exit = report(&outcome);
    let exit = match outcome {
        Ok(signals) if exit == Exit::Done => runtime.block_on(flush(guard, &signals)),
        _ => {
            guard.shutdown(SHORT_FLUSH_LIMIT);
            exit
        }
    };
    // Nothing that still blocks a thread may hold up the end.
    runtime.shutdown_background();
    exit
}

/// Lets `server.max_connections` be what the open files allow. Gives what was done if that is less than was set.
fn clamp(config: &mut Config, limit: OpenFiles, files: Wanted) -> Result<Option<Clamped>, TooFewFiles> {
    match limit.capacity(files)? {
        Capacity::Enough => Ok(None),
        Capacity::Reduced(clamped) => {
            config.server.max_connections = clamped.connections;
            Ok(Some(clamped))
        }
    }
}

/// What an operator needs to know of fewer connections than `set`.
pub(crate) fn clamp_warning(clamped: &Clamped, set: usize) -> String {
    format!(
        "server.max_connections: {} instead of {set}, as the limit on open files (RLIMIT_NOFILE, `ulimit -n`) is {}; the \
         rest is kept for calls to Azure, the management listener and files; with a limit of {} all fit",
        clamped.connections, clamped.limit, clamped.enough
    )
}

/// Reports how it ended, and gives the exit code for that.
fn report(outcome: &anyhow::Result<ShutdownSignals>) -> Exit {
    match outcome {
        Ok(signals) if signals.abort.is_cancelled() => {
            tracing::warn!("ended at once by a second signal");
            Exit::Failure
        }
        Ok(_) => {
            tracing::info!("stopped");
            Exit::Done
        }
        Err(error) => {
            let start = error.downcast_ref::<StartError>();
            // A start error names its cause itself; of others the chain is shown.
            let message = start.map_or_else(|| format!("{error:#}"), ToString::to_string);
            tracing::error!("{message}");
            complain(&message);
            match start {
                Some(
                    StartError::Tls(_)
                    | StartError::Upstream(_)
                    | StartError::Credential { .. }
                    | StartError::AccessKey { .. }
                    | StartError::StoreTls(_)
                    | StartError::UserHashKey(_),
                ) => Exit::Configuration,
                Some(StartError::Bind { .. }) | None => Exit::Failure,
            }
        }
    }
}

/// Sends and writes what is left. A second signal ends this too, at once.
async fn flush(guard: TelemetryGuard, signals: &ShutdownSignals) -> Exit {
    let (done, over) = tokio::sync::oneshot::channel();
    // Flushing blocks its thread, which is left behind after a second signal.
    let flushing = std::thread::Builder::new().name("flush".to_owned()).spawn(move || {
        guard.shutdown(FLUSH_LIMIT);
        let _ = done.send(());
    });
    if let Err(error) = flushing {
        complain(&error);
        return Exit::Failure;
    }
    tokio::select! {
        _ = over => Exit::Done,
        () = signals.abort.cancelled() => Exit::Failure,
    }
}

fn telemetry_options(config: &Config, clock: &SharedClock) -> TelemetryOptions {
    TelemetryOptions {
        log_format: config.telemetry.log_format,
        log_level: config.telemetry.log_level.clone(),
        trust_incoming_sampling: config.telemetry.trust_incoming_sampling,
        slow_request: config.telemetry.slow_request,
        clock: clock.clone(),
    }
}

fn start_telemetry(config: &Config, environment: &Environment, clock: &SharedClock) -> anyhow::Result<TelemetryGuard> {
    let lookup = |name: &str| environment.get(name).map(str::to_owned);
    Ok(telemetry::init(&telemetry_options(config, clock), &lookup)?)
}
