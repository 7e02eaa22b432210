//! Everything that `dev` runs, put together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::serve::{ReloadingCertificate, ShutdownSignals, on_hangup, signals};
use acs_token_broker::broker::Broker;
use azure_emulator::scenario::CONTOSO_API_SECRET;
use azure_emulator::{Emulator, EmulatorError, EmulatorOptions, MovableClock, PlaygroundMode, Scenario};
use base::clock::{Clock as _, SharedClock};
use clap::ValueEnum as _;
use config::Config;
use config::load::{Environment, Loaded, inspect};
use tokio::sync::mpsc;

use super::certificate::DevCertificate;
use super::configuration::{ACCESS_KEY_FILE, ASSIGNMENT_FILE, CLIENT_SECRET_FILE, assignments, configuration};
use super::guide::Guide;
use super::modes::OtherModes;
use super::{DevArguments, Mode, environment};
use crate::{Exit, complain, say, serve};

pub(super) enum Prepared {
    Ready(Box<Stack>),
    /// Of the environment, one a line.
    Problems(String),
    /// An argument that cannot be used.
    Usage(String),
}

/// Everything that `dev` runs, but for the broker.
pub(super) struct Stack {
    emulator: Emulator,
    // The emulator's tasks live on it.
    emulator_runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    certificate: Option<DevCertificate>,
    clock: Arc<MovableClock>,
    mode: Mode,
    origins: Vec<String>,
    open: bool,
    loaded: Loaded,
    others: BTreeMap<String, Config>,
}

impl Stack {
    /// Starts the emulator and writes the configuration that points to it. What the environment says of the
    /// broker's settings holds here too, unless it leads elsewhere.
    pub(super) fn prepare(
        arguments: &DevArguments,
        environment: &Environment,
        clock: SharedClock,
    ) -> anyhow::Result<Prepared> {
        let folder = tempfile::Builder::new()
            .prefix("acs-token-broker-dev-")
            // A user who can write here decides who is let in.
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()?;
        let clock = Arc::new(MovableClock::over(clock));
        let certificate = certificate(arguments, folder.path(), clock.now().as_second())?;
        let tls = match &certificate {
            Some(files) => Some(ReloadingCertificate::load(&files.certificate, &files.private_key)?.server_config()),
            None => None,
        };
        let emulator_runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let scenario = Scenario::demo().undo(arguments.undo.iter().copied());
        let options = EmulatorOptions {
            listen: arguments.emulator_listen,
            tls,
            clock: Arc::clone(&clock),
            origins: arguments.origin.clone(),
        };
        let started = emulator_runtime.block_on(Emulator::start_with(scenario, options));
        let emulator = match started {
            Err(error @ EmulatorError::Origin(_)) => return Ok(Prepared::Usage(format!("--origin: {error}"))),
            started => started?,
        };
        let assignment_file = folder.path().join(ASSIGNMENT_FILE);
        std::fs::write(&assignment_file, assignments(&emulator.scenario().assignments))?;
        emulator.on_assignments_changed(move |list| {
            if let Err(error) = std::fs::write(&assignment_file, assignments(&list)) {
                tracing::error!(%error, "the assignment file was not written");
            }
        });
        let secrets = [
            (CLIENT_SECRET_FILE, CONTOSO_API_SECRET.to_owned()),
            (ACCESS_KEY_FILE, emulator.expected_access_key()),
        ];
        for (name, secret) in secrets {
            std::fs::write(folder.path().join(name), secret)?;
        }
        let load = |mode: Mode, name: &str| -> anyhow::Result<Result<Loaded, String>> {
            let file = folder.path().join(name);
            std::fs::write(&file, configuration(&emulator, certificate.as_ref(), mode))?;
            let obeyed = obeyed(&file, environment, &emulator.origin());
            Ok(obeyed.map(|mut loaded| {
                // An application under development, and its tests, are one busy user at one address.
                loaded.config.limits = loaded.config.limits.without_callers();
                loaded
            }))
        };
        let mut loaded = match load(arguments.mode, "broker.toml")? {
            Ok(loaded) => loaded,
            Err(problems) => return Ok(Prepared::Problems(problems)),
        };
        loaded.config.server.listen = arguments.listen;
        loaded.config.management.listen = arguments.management_listen;
        let mut others = BTreeMap::new();
        for mode in Mode::value_variants().iter().filter(|mode| **mode != arguments.mode) {
            // A mode that the environment's settings do not fit is not offered.
            if let Ok(other) = load(*mode, &format!("broker-{}.toml", mode.name()))? {
                others.insert(mode.name(), other.config);
            }
        }
        Ok(Prepared::Ready(Box::new(Self {
            emulator,
            emulator_runtime,
            folder,
            certificate,
            clock,
            mode: arguments.mode,
            origins: arguments.origin.clone(),
            open: arguments.open,
            loaded,
            others,
        })))
    }

    pub(super) fn run(mut self: Box<Self>, environment: &Environment) -> Exit {
        // What is running is printed first. Until then only what is wrong is logged, unless another level is set.
        let log_level = self.loaded.config.telemetry.log_level.clone();
        if log_level == "info" {
            "warn".clone_into(&mut self.loaded.config.telemetry.log_level);
        }
        let mut files = Broker::wanted_files(&self.loaded.config);
        // The emulator is in this process: a call to it has both its ends here.
        files.upstream *= 2;
        let clock: SharedClock = self.clock.clone();
        let exit = serve::in_runtime(
            &self.loaded,
            environment,
            &clock,
            files,
            async |config: Config, clock, metrics, level| {
                let broker = Broker::build(config, Arc::clone(&clock), metrics)
                    .await?
                    .with_log_level(level.clone())
                    .for_development(self.origins.clone());
                let signals: ShutdownSignals = signals()?;
                // A terminal that is closed: the folder with its secrets must not stay.
                let draining = signals.draining.clone();
                on_hangup(move || draining.cancel())?;
                self.announce(broker.public_address(), broker.management_address(), &clock, &signals);
                level.begin(&log_level)?;
                broker.run(signals.clone()).await;
                Ok(signals)
            },
        );
        self.emulator_runtime.block_on(self.emulator.stop());
        exit
    }

    /// Lets the playground know the brokers, and prints what is running.
    fn announce(&self, public: SocketAddr, management: SocketAddr, clock: &SharedClock, signals: &ShutdownSignals) {
        let (broker, emulator) = match self.emulator.tls_origin() {
            Some(emulator) => (format!("https://localhost:{}", public.port()), emulator),
            None => (format!("http://{public}"), self.emulator.origin()),
        };
        let broker = broker + &self.loaded.config.server.base_path;
        let offered = std::iter::once(self.mode.name()).chain(self.others.keys().cloned());
        let modes = offered.filter_map(|name| {
            let known = (name == self.mode.name()).then(|| broker.clone());
            PlaygroundMode::named(&name, known)
        });
        let (starter, requests) = mpsc::channel(1);
        self.emulator.set_playground(modes.collect(), starter);
        let others = OtherModes {
            configs: self.others.clone(),
            clock: Arc::clone(clock),
            origins: self.origins.clone(),
            signals: signals.clone(),
        };
        tokio::spawn(others.serve(requests));
        let guide = Guide {
            mode: self.mode,
            broker: &broker,
            management,
            emulator: &emulator,
            ca: self.certificate.as_ref().and_then(|files| files.ca.as_deref()),
            folder: self.folder.path(),
        };
        say(&guide.text());
        if self.open
            && let Err(error) = open::that_detached(format!("{emulator}/"))
        {
            complain(&format_args!("no browser could be opened: {error}"));
        }
    }
}

/// The certificate for https, if it is wanted.
fn certificate(arguments: &DevArguments, folder: &Path, now: i64) -> anyhow::Result<Option<DevCertificate>> {
    if let (Some(certificate), Some(private_key)) = (&arguments.tls_certificate, &arguments.tls_private_key) {
        return Ok(Some(DevCertificate {
            ca: None,
            certificate: absolute(certificate)?,
            private_key: absolute(private_key)?,
        }));
    }
    Ok(match (&arguments.ca_dir, arguments.tls) {
        (Some(folder), _) => Some(DevCertificate::keep(&absolute(folder)?, now)?),
        (None, true) => Some(DevCertificate::make(folder, now)?),
        (None, false) => None,
    })
}

/// Paths in the configuration are relative to its own folder.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}

/// The configuration with what `dev` obeys of the environment over it; or every problem, one a line.
fn obeyed(file: &Path, environment: &Environment, origin: &str) -> Result<Loaded, String> {
    let inspected = inspect(Some(file), environment);
    let mut problems: Vec<String> = inspected.problems.0.iter().map(ToString::to_string).collect();
    problems.extend(environment::problems(environment, origin));
    match inspected.config {
        Some(config) if problems.is_empty() => {
            let elsewhere = environment::upstreams_elsewhere(&config, origin);
            if elsewhere.is_empty() {
                let warnings = inspected.warnings;
                return Ok(Loaded { config, warnings });
            }
            Err(elsewhere.join("\n"))
        }
        _ => Err(problems.join("\n")),
    }
}
