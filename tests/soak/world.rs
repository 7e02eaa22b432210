//! What the soak runs: an emulated Azure side, a broker with one resource of each mode and a second one in passthrough
//! mode, and one clock for both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use acs_token_broker::broker::Broker;
use azure_emulator::scenario::{
    CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_API_URI, CONTOSO_APP, Coverage, Tenant, User, UserKind,
};
use azure_emulator::{Assignment, Emulator, PrincipalType, Scenario};
use base::clock::{Clock as _, ManualClock, SharedClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::load::{Environment, load};
use serde_json::Value;
use serve::ShutdownSignals;
use telemetry::metrics::Metrics;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::annex::Annex;

/// When the soak begins, by its own clock.
const START: &str = "2026-11-24T12:00:00Z";
/// Users in each tenant. The first two of each show when a changed assignments file is in force.
pub(crate) const USERS: usize = 60;
/// The users who show that.
pub(crate) const CANARIES: usize = 2;

/// The resource that serves a tenant, and so the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// Passthrough.
    Calling,
    /// Passthrough, another ACS resource.
    Annex,
    /// On behalf of the user.
    Behalf,
    /// An identity of the broker's own making.
    Identity,
    /// Teams users.
    Teams,
}

impl Resource {
    pub(crate) const ALL: [Self; 5] = [Self::Calling, Self::Annex, Self::Behalf, Self::Identity, Self::Teams];

    pub(crate) fn tenant(self) -> Uuid {
        Uuid::from_u128(0x50a1_0000_0000_4000_8000_0000_0000_0000 + self as u128)
    }

    /// The name of its mode in the configuration.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            Self::Calling | Self::Annex => "passthrough",
            Self::Behalf => "on_behalf_of",
            Self::Identity => "identity",
            Self::Teams => "teams_user",
        }
    }
}

/// A simulated user.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) object_id: Uuid,
    pub(crate) resource: Resource,
    /// Whether an assignment in the broker's file covers them.
    pub(crate) assigned: bool,
}

/// A broker from its start to its end.
pub(crate) struct Life {
    pub(crate) public: SocketAddr,
    pub(crate) management: SocketAddr,
    signals: ShutdownSignals,
    running: JoinHandle<()>,
}

/// Everything that runs.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) emulator: Emulator,
    pub(crate) annex: Annex,
    pub(crate) people: Vec<Person>,
    pub(crate) life: Life,
    folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let clock = ManualClock::at(START.parse().unwrap());
        let people = people();
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let emulator = Emulator::start(scenario(&people), any_port, None, shared)
            .await
            .unwrap();
        let annex = Annex::start().await;
        let folder = tempfile::tempdir().unwrap();
        write_assignments(&folder, &people);
        std::fs::write(folder.path().join("client-secret"), CONTOSO_API_SECRET).unwrap();
        std::fs::write(folder.path().join("access-key"), emulator.expected_access_key()).unwrap();
        let text = configuration(&emulator, &annex);
        std::fs::write(folder.path().join("broker.toml"), text).unwrap();
        let life = Life::begin(folder.path().join("broker.toml"), &clock).await;
        Self {
            clock,
            emulator,
            annex,
            people,
            life,
            folder,
        }
    }

    /// Seconds since 1970, by the soak's clock.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// Asks the broker to end; what it has under way is finished.
    pub(crate) fn drain(&self) {
        self.life.signals.draining.cancel();
    }

    /// Another broker in place of the one that was asked to end.
    pub(crate) async fn succeed(&mut self) {
        let next = Life::begin(self.folder.path().join("broker.toml"), &self.clock).await;
        let ended = std::mem::replace(&mut self.life, next);
        ended.running.await.unwrap();
    }

    /// Writes who is assigned, as an editor does; the broker sees it by itself.
    pub(crate) fn write_assignments(&self) {
        write_assignments(&self.folder, &self.people);
    }

    pub(crate) fn write_secret(&self, secret: &str) {
        std::fs::write(self.folder.path().join("client-secret"), secret).unwrap();
    }
}

impl Life {
    async fn begin(file: PathBuf, clock: &Arc<ManualClock>) -> Self {
        let environment: Environment = std::iter::empty::<(String, String)>().collect();
        let loaded = load(Some(&file), &environment).unwrap_or_else(|problems| panic!("{problems}"));
        let shared: SharedClock = Arc::clone(clock) as SharedClock;
        let broker = Broker::build(loaded.config, shared, Metrics::local()).await.unwrap();
        let signals = ShutdownSignals::default();
        Self {
            public: broker.public_address(),
            management: broker.management_address(),
            running: tokio::spawn(broker.run(signals.clone())),
            signals,
        }
    }
}

fn people() -> Vec<Person> {
    let of = |resource: Resource| {
        (0..USERS).map(move |number| Person {
            name: format!(
                "{}-{number}",
                resource.mode().replace('_', "-") + &format!("{}", resource as usize)
            ),
            object_id: Uuid::from_u128(resource.tenant().as_u128() + 0x1_0000 + number as u128),
            resource,
            // One canary in, one out; of the others most are in.
            assigned: number != 1 && number % 7 != 6,
        })
    };
    Resource::ALL.into_iter().flat_map(of).collect()
}

/// ACS lets whole tenants in: who is refused is the broker's decision.
fn scenario(people: &[Person]) -> Scenario {
    let mut scenario = Scenario::demo();
    for resource in Resource::ALL {
        let (id, name) = (resource.tenant(), format!("Tenant {}", resource as usize));
        scenario.tenants.push(Tenant {
            id,
            domain: format!("tenant-{}.example", resource as usize),
            name,
            premium: true,
        });
        scenario.api_app.consented_by.push(id);
        scenario.assignments.push(Assignment {
            object_id: id,
            tenant_id: id,
            principal_type: PrincipalType::Tenant,
            client_ids: vec![CONTOSO_APP, CONTOSO_API],
        });
    }
    scenario.users.extend(people.iter().map(|person| User {
        name: person.name.clone(),
        display_name: person.name.clone(),
        tenant_id: person.resource.tenant(),
        object_id: person.object_id,
        kind: UserKind::Person,
        groups: Vec::new(),
        administrator: false,
        step_up: None,
        coverage: Coverage::Tenant,
    }));
    scenario
}

fn write_assignments(folder: &TempDir, people: &[Person]) {
    for resource in Resource::ALL {
        let of = people
            .iter()
            .filter(|person| person.resource == resource && person.assigned);
        let text: String = of
            .map(|person| {
                format!(
                    "[[assignments]]\nobjectId = \"{}\"\ntenantId = \"{}\"\nprincipalType = \"user\"\nclientIds = [\"{CONTOSO_APP}\"]\n",
                    person.object_id,
                    resource.tenant()
                )
            })
            .collect::<Vec<_>>()
            .concat();
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, folder.path().join(format!("{}.toml", resource as usize))).unwrap();
    }
}

/// Time limits are real time, so they are wide: a slow machine is no fault. The budget is wide too; tests/storm.sh tries it.
fn configuration(emulator: &Emulator, annex: &Annex) -> String {
    let origin = emulator.origin();
    let tenants: String = Resource::ALL
        .map(|resource| format!("[[entra.tenants]]\nid = \"{}\"\n", resource.tenant()))
        .concat();
    let resources: String = Resource::ALL
        .map(|resource| {
            let (name, mode, tenant) = (resource as usize, resource.mode(), resource.tenant());
            let endpoint = if resource == Resource::Annex {
                annex.origin()
            } else {
                origin.clone()
            };
            let own = match resource {
                Resource::Calling | Resource::Annex => String::new(),
                Resource::Behalf => format!(
                    "[resources.exchange.on_behalf_of]\nclient_id = \"{CONTOSO_API}\"\ncredential = \"secret\"\n\
                     client_secret_file = \"client-secret\"\n"
                ),
                Resource::Identity => {
                    "[resources.exchange.identity]\naccess_key_file = \"access-key\"\nscopes = [\"chat\", \"voip\"]\n"
                        .to_owned()
                }
                Resource::Teams => "[resources.exchange.teams_user]\naccess_key_file = \"access-key\"\n".to_owned(),
            };
            format!(
                "[[resources]]\nname = \"r{name}\"\ntenants = [\"{tenant}\"]\nunknown_groups = \"refuse\"\n\
                 [resources.assignments]\nfile = \"{name}.toml\"\nrefresh_interval = \"50ms\"\n\
                 [resources.exchange]\nendpoint = \"{endpoint}\"\nmode = \"{mode}\"\ntimeout = \"20s\"\n\
                 upstream_exchanges = \"1000000/30s\"\n{own}"
            )
        })
        .concat();
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ndiagnostic_headers = true\nrequest_timeout = \"40s\"\n\
         [management]\nlisten = \"127.0.0.1:0\"\n\
         [entra]\nauthority = \"{origin}\"\njwks_wait = \"20s\"\n\
         audiences = [\"2a04943b-b6a7-4f65-8786-2bb6131b59f6\", \"{CONTOSO_API}\", \"{CONTOSO_API_URI}\", \
         \"1fd5118e-2576-4263-8130-9503064c837a\"]\n\
         required_scopes = [\"VoIP\", \"VoIP.Join\", \"access\", \"Teams.ManageCalls\", \"Teams.ManageChats\"]\n{tenants}\
         [limits]\nper_user = \"off\"\nupstream_per_user = \"off\"\n{resources}"
    )
}

/// A token's claims, unverified.
pub(crate) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Looks again and again until it holds, for what happens in the background; half a minute at most.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
