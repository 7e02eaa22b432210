//! `dev`: the broker with an embedded emulator of Entra and ACS, on loopback, ready to try.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use ::serve::{ReloadingCertificate, ShutdownSignals, on_hangup, signals};
use acs_token_broker::broker::Broker;
use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI};
use azure_emulator::{Emulator, PrincipalType, Scenario};
use base::clock::{SharedClock, SystemClock};
use clap::{Args, ValueEnum};
use config::Config;
use config::load::{Environment, Loaded, inspect};

use crate::dev_certificate::DevCertificate;
use crate::{Exit, complain, dev_environment, say, serve};

#[derive(Args)]
pub(crate) struct DevArguments {
    /// Address of the broker; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the management listener.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    management_listen: SocketAddr,
    /// Address of the emulator; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    emulator_listen: SocketAddr,
    /// How the broker gets ACS tokens. In all but the first, front ends ask Entra for a token for the broker's own API.
    #[arg(long, value_enum, default_value_t = Mode::Passthrough)]
    mode: Mode,
    /// Serve https with a throw-away certificate, as the JavaScript SDK wants it.
    #[arg(long)]
    tls: bool,
}

/// `exchange.mode`, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Mode {
    /// The user's token, for ACS, goes to ACS as it is.
    Passthrough,
    /// Entra trades it for one for ACS.
    OnBehalfOf,
    /// The broker's access key gets a token for an identity that stands for the user; Chat too.
    Identity,
}

pub(crate) fn run(arguments: &DevArguments, environment: &Environment) -> Exit {
    for (name, address) in [
        ("--listen", arguments.listen),
        ("--management-listen", arguments.management_listen),
        ("--emulator-listen", arguments.emulator_listen),
    ] {
        if !address.ip().is_loopback() {
            complain(&format_args!(
                "{name} must be a loopback address: the emulator hands tokens to anyone"
            ));
            return Exit::Configuration;
        }
    }
    let clock = SystemClock::shared();
    match Stack::prepare(arguments, environment, &clock) {
        Ok(Prepared::Ready(stack)) => stack.run(environment, &clock),
        Ok(Prepared::Problems(problems)) => {
            complain(&format_args!("the environment has problems\n{problems}"));
            Exit::Configuration
        }
        Err(error) => {
            complain(&format_args!("{error:#}"));
            Exit::Failure
        }
    }
}

/// The configuration with what `dev` obeys of the environment over it; or every problem, one a line.
fn obeyed(file: &Path, environment: &Environment, origin: &str) -> Result<Loaded, String> {
    let inspected = inspect(Some(file), environment);
    let mut problems: Vec<String> = inspected.problems.0.iter().map(ToString::to_string).collect();
    problems.extend(dev_environment::problems(environment, origin));
    match inspected.config {
        Some(config) if problems.is_empty() => {
            let elsewhere = dev_environment::upstreams_elsewhere(&config, origin);
            if elsewhere.is_empty() {
                let warnings = inspected.warnings;
                return Ok(Loaded { config, warnings });
            }
            Err(elsewhere.join("\n"))
        }
        _ => Err(problems.join("\n")),
    }
}

enum Prepared {
    Ready(Box<Stack>),
    Problems(String),
}

/// Everything that `dev` runs, but for the broker.
struct Stack {
    emulator: Emulator,
    // The emulator's tasks live on it.
    emulator_runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    certificate: Option<DevCertificate>,
    mode: Mode,
    loaded: Loaded,
}

impl Stack {
    /// Starts the emulator and writes the configuration that points to it. What the environment says of the
    /// broker's settings holds here too, unless it leads elsewhere.
    fn prepare(arguments: &DevArguments, environment: &Environment, clock: &SharedClock) -> anyhow::Result<Prepared> {
        let folder = tempfile::Builder::new()
            .prefix("acs-token-broker-dev-")
            // A user who can write here decides who is let in.
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()?;
        let certificate = arguments.tls.then(|| DevCertificate::make(folder.path())).transpose()?;
        let tls = match &certificate {
            Some(files) => Some(ReloadingCertificate::load(&files.certificate, &files.private_key)?.server_config()),
            None => None,
        };
        let emulator_runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let start = Emulator::start(Scenario::demo(), arguments.emulator_listen, tls, Arc::clone(clock));
        let emulator = emulator_runtime.block_on(start)?;
        std::fs::write(folder.path().join("assignments.toml"), assignments(emulator.scenario()))?;
        let file = folder.path().join("broker.toml");
        let secrets = [
            (CLIENT_SECRET_FILE, CONTOSO_API_SECRET.to_owned()),
            (ACCESS_KEY_FILE, emulator.expected_access_key()),
        ];
        for (name, secret) in secrets {
            std::fs::write(folder.path().join(name), secret)?;
        }
        std::fs::write(&file, configuration(&emulator, certificate.as_ref(), arguments.mode))?;
        let mut loaded = match obeyed(&file, environment, &emulator.origin()) {
            Ok(loaded) => loaded,
            Err(problems) => return Ok(Prepared::Problems(problems)),
        };
        loaded.config.server.listen = arguments.listen;
        loaded.config.management.listen = arguments.management_listen;
        Ok(Prepared::Ready(Box::new(Self {
            emulator,
            emulator_runtime,
            folder,
            certificate,
            mode: arguments.mode,
            loaded,
        })))
    }

    fn run(self: Box<Self>, environment: &Environment, clock: &SharedClock) -> Exit {
        let mut files = Broker::wanted_files(&self.loaded.config);
        // The emulator is in this process: a call to it has both its ends here.
        files.upstream *= 2;
        let exit = serve::in_runtime(
            &self.loaded,
            environment,
            clock,
            files,
            async |config: Config, clock, metrics, level| {
                let broker = Broker::build(config, clock, metrics)
                    .await?
                    .with_log_level(level)
                    .for_loopback_only();
                let signals: ShutdownSignals = signals()?;
                // A terminal that is closed: the folder with its secrets must not stay.
                let draining = signals.draining.clone();
                on_hangup(move || draining.cancel())?;
                say(&self.guide(broker.public_address(), broker.management_address()));
                broker.run(signals.clone()).await;
                Ok(signals)
            },
        );
        self.emulator_runtime.block_on(self.emulator.stop());
        exit
    }

    /// What is running, and what to type.
    fn guide(&self, public: SocketAddr, management: SocketAddr) -> String {
        let (broker, emulator, trust) = match (&self.certificate, self.emulator.tls_origin()) {
            (Some(files), Some(emulator)) => (
                format!("https://localhost:{}", public.port()),
                emulator,
                format!(" --cacert {}", files.ca.display()),
            ),
            _ => (format!("http://{public}"), self.emulator.origin(), String::new()),
        };
        // In the other modes the user signs in to the broker's own API.
        let body = match self.mode {
            Mode::Passthrough => "",
            Mode::OnBehalfOf | Mode::Identity => " -H 'Content-Type: application/json' -d '{\"audience\":\"api\"}'",
        };
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "broker       {broker}");
        let _ = writeln!(text, "management   http://{management}");
        let _ = writeln!(
            text,
            "emulator     {emulator}   (Entra and ACS; users: {emulator}/_emulator/users)"
        );
        let _ = writeln!(
            text,
            "assignments  {}   (edit it: it is read again)",
            self.shown("assignments.toml")
        );
        if let Some(files) = &self.certificate {
            let _ = writeln!(text, "CA file      {}", files.ca.display());
        }
        let _ = writeln!(text, "configured   {}", self.shown("broker.toml"));
        let _ = writeln!(text, "\nTry it:");
        let _ = writeln!(text, "  # adele of Fabrikam, covered by a group, signs in ...");
        let _ = writeln!(
            text,
            "  TOKEN=$(curl -s{trust} -X POST {emulator}/_emulator/users/adele/token{body} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
        );
        let _ = writeln!(text, "  # ... and gets a token for Azure Communication Services");
        let _ = writeln!(
            text,
            "  curl -i{trust} -X POST {broker}/token -H \"Authorization: Bearer $TOKEN\""
        );
        let _ = writeln!(text, "  # once more: `x-cache: hit`");
        let _ = writeln!(
            text,
            "  curl -i{trust} -X POST {broker}/token -H \"Authorization: Bearer $TOKEN\""
        );
        let _ = writeln!(text, "  # megan of Fabrikam is not assigned: 403");
        let _ = writeln!(
            text,
            "  TOKEN=$(curl -s{trust} -X POST {emulator}/_emulator/users/megan/token{body} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
        );
        let _ = writeln!(
            text,
            "  curl -i{trust} -X POST {broker}/token -H \"Authorization: Bearer $TOKEN\""
        );
        let _ = writeln!(text, "\nStop with Ctrl-C.");
        text
    }

    fn shown(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

const CLIENT_SECRET_FILE: &str = "client-secret";
const ACCESS_KEY_FILE: &str = "access-key";

/// What a mode needs beside the addresses, all of it known to the emulator.
fn mode_settings(mode: Mode, origin: &str) -> (String, String) {
    let own_api = format!("audiences = [\"{CONTOSO_API}\", \"{CONTOSO_API_URI}\"]\nrequired_scopes = [\"access\"]\n");
    let app = format!(
        "client_id = \"{CONTOSO_API}\"\ncredential = \"secret\"\nclient_secret_file = \"{CLIENT_SECRET_FILE}\"\n"
    );
    let graph = format!("[graph]\nendpoint = \"{origin}\"\n{app}");
    let assignments = format!(
        "[assignments]\nunknown_groups = \"graph\"\n[assignments.acs]\naccess_key_file = \"{ACCESS_KEY_FILE}\"\n"
    );
    match mode {
        Mode::Passthrough => (
            String::new(),
            format!("[assignments.acs]\naccess_key_file = \"{ACCESS_KEY_FILE}\"\n"),
        ),
        Mode::OnBehalfOf => (
            own_api,
            format!("mode = \"on_behalf_of\"\n[exchange.on_behalf_of]\n{app}{graph}{assignments}"),
        ),
        Mode::Identity => (
            own_api,
            format!(
                "mode = \"identity\"\n[exchange.identity]\naccess_key_file = \"{ACCESS_KEY_FILE}\"\nscopes = [\"chat\", \"voip\"]\n\
                 {graph}{assignments}"
            ),
        ),
    }
}

fn configuration(emulator: &Emulator, certificate: Option<&DevCertificate>, mode: Mode) -> String {
    let origin = emulator.origin();
    let quoted = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
    let tls = certificate.map_or_else(String::new, |files| {
        format!(
            "tls = {{ certificate_file = {}, private_key_file = {} }}\n",
            quoted(&files.certificate),
            quoted(&files.private_key)
        )
    });
    let mut tenants = String::new();
    for tenant in &emulator.scenario().tenants {
        let _ = write!(
            tenants,
            "[[entra.tenants]]\nid = \"{}\"\nname = \"{}\"\n",
            tenant.id, tenant.name
        );
    }
    let (entra, exchange) = mode_settings(mode, &origin);
    format!(
        "[server]\ndiagnostic_headers = true\n{tls}\
         [server.cors]\nallowed_origins = [\"http://localhost:3000\", \"http://localhost:5173\"]\n\
         [entra]\nauthority = \"{origin}\"\n{entra}{tenants}\
         [exchange]\nendpoint = \"{origin}\"\n{exchange}\
         [telemetry]\nlog_format = \"pretty\"\n"
    )
}

/// The scenario's assignments as the broker's file, those that ACS knows too.
fn assignments(scenario: &Scenario) -> String {
    let mut text = String::from(
        "# Who may have tokens here. The emulated ACS has assignments of its own, the same at the start.\n",
    );
    for assignment in &scenario.assignments {
        let principal_type = match assignment.principal_type {
            PrincipalType::User => "user",
            PrincipalType::Group => "group",
            PrincipalType::Tenant => "tenant",
        };
        let clients: Vec<String> = assignment.client_ids.iter().map(|id| format!("\"{id}\"")).collect();
        let _ = write!(
            text,
            "\n[[assignments]]\nobjectId = \"{}\"\ntenantId = \"{}\"\nprincipalType = \"{principal_type}\"\nclientIds = [{}]\n",
            assignment.object_id,
            assignment.tenant_id,
            clients.join(", ")
        );
    }
    text
}
