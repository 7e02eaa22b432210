//! Emulator and broker in one process, on ports of their own, with one clock.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::serve::ShutdownSignals;
use acs_token_broker::broker::Broker;
use azure_emulator::scenario::{CONTOSO, FABRIKAM};
use azure_emulator::{Assignment, ControlError, Emulator, Endpoint, Fault, PrincipalType, Scenario, TokenRequest};
use base::clock::{Clock as _, ManualClock, SharedClock};
use config::load::{Environment, load};
use telemetry::metrics::Metrics;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::eventually;
use super::http::{Answer, Call};

pub(crate) const ACS_PATH: &str = "/access/entra/:exchangeAccessToken";
pub(crate) const API_VERSION: &str = "2025-03-02-preview";
/// When every test begins.
const START: &str = "2026-11-24T12:00:00Z";

/// A running broker with its emulated Azure side; dropping it ends both.
pub(crate) struct Stack {
    pub(crate) emulator: Emulator,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) public: SocketAddr,
    pub(crate) management: SocketAddr,
    pub(crate) signals: ShutdownSignals,
    pub(crate) running: JoinHandle<()>,
    folder: TempDir,
    assignments_file: PathBuf,
}

/// What a stack shall be other than by default.
pub(crate) struct Builder {
    authority: Option<String>,
    endpoint: Option<String>,
    overrides: Vec<(String, String)>,
    assignments_file: &'static str,
    assignments: Option<String>,
    no_assignments: bool,
    several_resources: bool,
    ready: bool,
    tenants: Vec<uuid::Uuid>,
    emulator: Option<Emulator>,
    clock: Arc<ManualClock>,
}

impl Stack {
    /// The default: every demo tenant and assignment, diagnostic headers on.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    pub(crate) fn builder() -> Builder {
        Builder {
            authority: None,
            endpoint: None,
            overrides: Vec::new(),
            assignments_file: "assignments.toml",
            assignments: None,
            no_assignments: false,
            several_resources: false,
            ready: true,
            tenants: vec![CONTOSO, FABRIKAM],
            emulator: None,
            clock: clock(),
        }
    }

    pub(crate) fn user<'s>(&'s self, name: &'static str) -> User<'s> {
        User {
            stack: self,
            name,
            request: TokenRequest::default(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public)
    }

    /// `POST /token` with a bearer token and no body.
    pub(crate) async fn post_token(&self, token: &str) -> Answer {
        Call::new("POST", self.url("/token")).bearer(token).send().await
    }

    /// `POST` on ACS's path as the official SDKs do it.
    pub(crate) async fn post_acs_path(&self, token: &str) -> Answer {
        Call::new("POST", self.url(&format!("{ACS_PATH}?api-version={API_VERSION}")))
            .bearer(token)
            .body("application/json", "{}")
            .send()
            .await
    }

    /// `POST /token` with a form.
    pub(crate) async fn post_form(&self, parameters: &[(&str, &str)]) -> Answer {
        Call::new("POST", self.url("/token"))
            .body("application/x-www-form-urlencoded", form(parameters))
            .send()
            .await
    }

    /// `GET` on the management listener.
    pub(crate) async fn probe(&self, path: &str) -> Answer {
        Call::new("GET", format!("http://{}{path}", self.management))
            .send()
            .await
    }

    /// How many exchanges ACS has been asked for.
    pub(crate) fn exchanges(&self) -> usize {
        self.emulator.count(Endpoint::Exchange)
    }

    /// How often the key sets were fetched.
    pub(crate) fn key_fetches(&self) -> usize {
        self.emulator.count(Endpoint::Keys)
    }

    pub(crate) fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.emulator.set_fault(endpoint, fault).unwrap();
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// Replaces the assignments file; the broker sees it by itself, soon.
    pub(crate) fn write_assignments(&self, text: &str) {
        // In one step, as an editor or a volume does: a half-written file is no good set.
        let new = self.folder.path().join("new-assignments");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.assignments_file).unwrap();
    }

    /// The same without one assignment per object id in `without`.
    pub(crate) fn demo_assignments_without(&self, without: &[uuid::Uuid]) -> String {
        let kept = self.emulator.scenario().assignments.iter();
        assignments_toml(kept.filter(|assignment| !without.contains(&assignment.object_id)))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.signals.abort.cancel();
    }
}

impl Builder {
    /// Sets one setting, as an environment variable would.
    pub(crate) fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        let name = key.to_uppercase().replace('.', "__");
        self.overrides.push((format!("ACS_TOKEN_BROKER__{name}"), value.into()));
        self
    }

    /// Sets a variable that is no setting.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.overrides.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends the broker elsewhere for keys.
    pub(crate) fn authority(mut self, origin: &str) -> Self {
        self.authority = Some(origin.to_owned());
        self
    }

    /// Sends the broker elsewhere for exchanges.
    pub(crate) fn endpoint(mut self, origin: &str) -> Self {
        self.endpoint = Some(origin.to_owned());
        self
    }

    /// Takes a running emulator, for those who need to know it before the broker starts.
    pub(crate) fn emulator(mut self, emulator: Emulator, clock: &Arc<ManualClock>) -> Self {
        self.emulator = Some(emulator);
        self.clock = Arc::clone(clock);
        self
    }

    pub(crate) fn tenants(mut self, tenants: &[uuid::Uuid]) -> Self {
        self.tenants = tenants.to_vec();
        self
    }

    /// The assignments, in place of the scenario's.
    pub(crate) fn assignments(mut self, file: &'static str, text: impl Into<String>) -> Self {
        self.assignments_file = file;
        self.assignments = Some(text.into());
        self
    }

    /// Several resources, as an inline TOML list, in place of the one.
    pub(crate) fn resources(mut self, list: &str) -> Self {
        self.several_resources = true;
        self.set("resources", list)
    }

    /// Starts without an assignments file.
    pub(crate) fn without_assignments(mut self) -> Self {
        self.no_assignments = true;
        self.not_awaiting_readiness()
    }

    /// Does not wait until /readyz is 200.
    pub(crate) fn not_awaiting_readiness(mut self) -> Self {
        self.ready = false;
        self
    }

    pub(crate) async fn start(self) -> Stack {
        let shared: SharedClock = Arc::clone(&self.clock) as SharedClock;
        let emulator = match self.emulator {
            Some(emulator) => emulator,
            None => emulator(&self.clock).await,
        };
        let folder = tempfile::tempdir().unwrap();
        let assignments_file = folder.path().join(self.assignments_file);
        if !self.no_assignments {
            let text = self
                .assignments
                .unwrap_or_else(|| assignments_toml(&emulator.scenario().assignments));
            std::fs::write(&assignments_file, text).unwrap();
        }
        let file = folder.path().join("broker.toml");
        let origin = emulator.origin();
        let text = configuration(
            self.authority.as_deref().unwrap_or(&origin),
            self.endpoint.as_deref().unwrap_or(&origin),
            &self.tenants,
            self.assignments_file,
        );
        let text = match text.split_once("[exchange]") {
            Some((text, _)) if self.several_resources => text.to_owned(),
            _ => text,
        };
        std::fs::write(&file, text).unwrap();
        let environment: Environment = self.overrides.into_iter().collect();
        let loaded = load(Some(&file), &environment).unwrap_or_else(|problems| panic!("{problems}"));
        let broker = Broker::build(loaded.config, shared, Metrics::local()).await.unwrap();
        let signals = ShutdownSignals::default();
        let stack = Stack {
            emulator,
            clock: self.clock,
            public: broker.public_address(),
            management: broker.management_address(),
            running: tokio::spawn(broker.run(signals.clone())),
            signals,
            folder,
            assignments_file,
        };
        if self.ready {
            // Keys are fetched in the background: the one thing that a start has to be asked for.
            eventually("ready", async || stack.probe("/readyz").await.status == 200).await;
        }
        stack
    }
}

/// A clock that stands at the start of every test.
pub(crate) fn clock() -> Arc<ManualClock> {
    ManualClock::at(START.parse().unwrap())
}

/// An emulator with the demo scenario.
pub(crate) async fn emulator(clock: &Arc<ManualClock>) -> Emulator {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let clock: SharedClock = Arc::clone(clock) as SharedClock;
    Emulator::start(Scenario::demo(), any_port, None, clock).await.unwrap()
}

/// A demo user, and what the tokens shall say.
pub(crate) struct User<'s> {
    stack: &'s Stack,
    name: &'static str,
    request: TokenRequest,
}

impl User<'_> {
    /// Seconds to the token's end.
    pub(crate) fn lifetime(mut self, seconds: i64) -> Self {
        self.request.lifetime = Some(seconds);
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut TokenRequest)) -> Self {
        change(&mut self.request);
        self
    }

    pub(crate) fn claim(mut self, name: &str, value: serde_json::Value) -> Self {
        self.request.claims.insert(name.to_owned(), value);
        self
    }

    /// A new Entra token.
    pub(crate) fn token(&self) -> String {
        let issued: Result<String, ControlError> = self.stack.emulator.issue_token(self.name, &self.request);
        issued.unwrap()
    }

    /// A new Entra token, posted at once.
    pub(crate) async fn post(&self) -> Answer {
        self.stack.post_token(&self.token()).await
    }
}

/// A form body.
pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish()
}

/// An assignments file in TOML.
pub(crate) fn assignments_toml<'a>(assignments: impl IntoIterator<Item = &'a Assignment>) -> String {
    assignments
        .into_iter()
        .map(|assignment| {
            let kind = match assignment.principal_type {
                PrincipalType::User => "user",
                PrincipalType::Group => "group",
                PrincipalType::Tenant => "tenant",
            };
            let clients: Vec<String> = assignment.client_ids.iter().map(|id| format!("\"{id}\"")).collect();
            format!(
                "[[assignments]]\nobjectId = \"{}\"\ntenantId = \"{}\"\nprincipalType = \"{kind}\"\nclientIds = [{}]\n",
                assignment.object_id,
                assignment.tenant_id,
                clients.join(", ")
            )
        })
        .collect::<Vec<_>>()
        .concat()
}

/// A configuration file with all listeners on ports that the system picks. Users are not limited: a test is a few busy ones.
pub(crate) fn configuration(authority: &str, endpoint: &str, tenants: &[uuid::Uuid], assignments: &str) -> String {
    let tenants = tenants
        .iter()
        .map(|id| format!("[[entra.tenants]]\nid = \"{id}\"\n"))
        .collect::<Vec<_>>()
        .concat();
    format!(
        "[limits]\nper_user = \"off\"\nupstream_per_user = \"off\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\ndiagnostic_headers = true\n\
         [management]\nlisten = \"127.0.0.1:0\"\n\
         [entra]\nauthority = \"{authority}\"\n{tenants}\
         [exchange]\nendpoint = \"{endpoint}\"\n\
         [assignments]\nfile = \"{assignments}\"\nrefresh_interval = \"50ms\"\n"
    )
}
