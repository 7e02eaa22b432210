//! The Azure side, emulated: Entra ID, Communication Services, Microsoft Graph and managed identities on one loopback
//! address.
//!
//! Front-end teams develop against it, and tests run against it. It behaves as Azure does, error bodies
//! included, and verifies what Azure verifies. It shares no type and no routine with the broker but the clock: both
//! read the contract for themselves, so that a misreading shows.
//!
//! Files name each other in one direction: what all need (`scenario`, `site`, `settings`, `request`, `jwt`, `endpoint`) ←
//! `entra` ← `acs`, `graph`, `managed_identity` ← `control` ← `world`, which puts them together, ← `router` and this file.
//! Each service has a state that its handlers take; no handler sees another service's but the controls, which take the
//! parts that they change.
//!
//! What a tenant's directory has of apps is Entra's (`entra::directory`): Entra decides by it, Graph lists and changes it, ACS
//! asks it which groups it learns of.
//!
//! `/` is the playground; `/{tenant}/…` and `/devicelogin` are Entra, `/access/…` and `/identities…` are ACS, `/v1.0/…` is
//! Graph, `/metadata/identity/…` and
//! `/_emulator/msi/…` are managed identities, all else under `/_emulator/…` are the controls.

mod acs;
mod callers;
mod clock;
mod control;
mod distort;
mod endpoint;
mod entra;
mod error;
mod faults;
mod federated;
mod graph;
mod journal;
mod jwt;
mod lock;
mod managed_identity;
mod options;
mod playground;
mod registered;
mod request;
mod router;
pub mod scenario;
mod server;
mod settings;
mod site;
#[cfg(test)]
mod tests;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::lock::lock;
use self::world::World;
use base::clock::SharedClock;

pub use self::clock::{InvalidAdvance, MovableClock};
pub use self::endpoint::Endpoint;
pub use self::entra::apis::TokenVersion;
pub use self::entra::certificate::InvalidCertificate;
pub use self::entra::issue::{GroupsClaim, KeyOwner, TokenRequest};
pub use self::error::{ControlError, EmulatorError};
pub use self::faults::{Fault, InvalidFault};
pub use self::federated::FederatedTokenRequest;
pub use self::journal::CallRecord;
pub use self::jwt::CryptoFailed;
pub use self::options::EmulatorOptions;
pub use self::playground::{PlaygroundMode, StartBroker};
pub use self::scenario::{Assignment, PrincipalType, Scenario, Step, TeamsAssignment, TeamsPrincipalType};
pub use self::settings::{InvalidSettings, Settings};

/// A running emulator; dropping it stops it.
#[derive(Debug)]
pub struct Emulator {
    world: World,
    address: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Emulator {
    /// Starts the emulator on a loopback address; port 0 takes a free one. With `tls`, the same port answers both
    /// http and https. [`Self::start_with`] takes more.
    pub async fn start(
        scenario: Scenario,
        listen: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        clock: SharedClock,
    ) -> Result<Self, EmulatorError> {
        let options = EmulatorOptions::new(listen, clock);
        Self::start_with(scenario, EmulatorOptions { tls, ..options }).await
    }

    /// Starts the emulator.
    pub async fn start_with(scenario: Scenario, options: EmulatorOptions) -> Result<Self, EmulatorError> {
        let listen = options.listen;
        if !listen.ip().is_loopback() {
            return Err(EmulatorError::NotLoopback(listen));
        }
        let failed = |source| EmulatorError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Making keys is work for a processor, not for the thread that drives the others.
        let tls = options.tls.clone();
        let made = tokio::task::spawn_blocking(move || World::new(scenario, address, &options));
        let world = made.await.map_err(|_| EmulatorError::Stopped)??;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let router = router::router(&world);
        tasks.spawn(server::serve(listener, tls, router, stop.clone(), tasks.clone()));
        tasks.close();
        Ok(Self {
            world,
            address,
            tasks,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Stops listening, cuts the open connections, and returns when all has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`: the authority of every tenant and the endpoint of the ACS resource.
    #[must_use]
    pub fn origin(&self) -> String {
        self.world.site.origin.clone()
    }

    /// `https://localhost:PORT`, if it was started with TLS. Discovery documents fetched there point there too. Issuers
    /// are there then, wherever the documents are fetched.
    #[must_use]
    pub fn tls_origin(&self) -> Option<String> {
        self.world.site.tls_origin.clone()
    }

    /// Says which modes the playground offers, and who starts the broker of one. Only the first call counts.
    pub fn set_playground(&self, modes: Vec<PlaygroundMode>, starter: mpsc::Sender<StartBroker>) {
        self.world.playground.set_modes(modes, starter);
    }

    /// Calls `listener` with all assignments whenever a control has changed them. Only the first listener counts.
    pub fn on_assignments_changed(&self, listener: impl Fn(Vec<Assignment>) + Send + Sync + 'static) {
        self.world.listener.set(Box::new(listener));
    }

    /// The scenario it plays.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.world.scenario
    }

    /// The emulator's clock, which [`MovableClock::advance`] moves on.
    #[must_use]
    pub fn clock(&self) -> Arc<MovableClock> {
        Arc::clone(&self.world.site.clock)
    }

    /// Issues an Entra access token for a demo user.
    pub fn issue_token(&self, user: &str, overrides: &TokenRequest) -> Result<String, ControlError> {
        let unknown = || ControlError::UnknownUser(user.to_owned());
        let user = self.world.scenario.user(user).ok_or_else(unknown)?;
        let issued = entra::issue::issue(&self.world.entra, user, overrides)?;
        Ok(issued.ok_or(ControlError::NoAppKey)?.access_token)
    }

    /// Signs any header and payload with a tenant's current key, for tests of attacks. The tenant is an id, a
    /// domain or a name, as in all that follows.
    pub fn sign(&self, tenant: &str, header: &Value, claims: &Value) -> Result<String, ControlError> {
        Ok(self.current_key(tenant)?.sign(header, claims)?)
    }

    /// The public half of a tenant's current key, as PEM.
    pub fn public_key_pem(&self, tenant: &str) -> Result<String, ControlError> {
        Ok(self.current_key(tenant)?.public_pem()?)
    }

    /// The key set that a tenant's v2 discovery document points to.
    pub fn jwks(&self, tenant: &str) -> Result<Value, ControlError> {
        let tenant = self.tenant_id(tenant)?;
        let issuer = entra::issuer::v2_issuer(self.world.site.issuer_origin(), tenant);
        Ok(self.world.entra.keys.jwks(tenant, None, Some(&issuer)))
    }

    /// The id of a tenant's current key.
    pub fn current_kid(&self, tenant: &str) -> Result<String, ControlError> {
        Ok(self.current_key(tenant)?.kid.clone())
    }

    /// Makes new keys for one tenant or all, which sign from now on; the old ones stay published. Gives the new ids.
    pub fn rotate_keys(&self, tenant: Option<&str>) -> Result<Vec<String>, ControlError> {
        let mut kids = Vec::new();
        for tenant in self.tenant_ids(tenant)? {
            kids.extend(self.world.entra.keys.rotate(tenant)?);
        }
        Ok(kids)
    }

    /// Takes every key but the current one out of the published sets of one tenant or all.
    pub fn withdraw_old_keys(&self, tenant: Option<&str>) -> Result<(), ControlError> {
        for tenant in self.tenant_ids(tenant)? {
            self.world.entra.keys.withdraw_old(tenant);
        }
        Ok(())
    }

    /// The calls seen, oldest first, without the controls.
    #[must_use]
    pub fn journal(&self) -> Vec<CallRecord> {
        self.world.journal.calls()
    }

    /// How many calls an endpoint has seen, answered or not.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.world.journal.count(endpoint)
    }

    /// Forgets the calls seen, and their counts.
    pub fn clear_journal(&self) {
        self.world.journal.clear();
    }

    /// Replaces the fault of one endpoint.
    pub fn set_fault(&self, endpoint: Endpoint, fault: Fault) -> Result<(), InvalidFault> {
        self.world.faults.set(endpoint, fault)
    }

    /// Switches all faults off.
    pub fn clear_faults(&self) {
        self.world.faults.clear(None);
    }

    /// The resource's Entra assignments.
    #[must_use]
    pub fn assignments(&self) -> Vec<Assignment> {
        lock(&self.world.acs.assignments).values().cloned().collect()
    }

    /// Replaces the resource's Entra assignments. Of two with one object id the later stays.
    pub fn set_assignments(&self, assignments: impl IntoIterator<Item = Assignment>) {
        let assignments = assignments
            .into_iter()
            .map(|assignment| (assignment.object_id, assignment))
            .collect();
        *lock(&self.world.acs.assignments) = assignments;
    }

    /// The resource's access key, in base64 as ACS shows it.
    #[must_use]
    pub fn expected_access_key(&self) -> String {
        self.world.acs.access_key_text()
    }

    /// The resource's connection string, with the plain http endpoint.
    #[must_use]
    pub fn connection_string(&self) -> String {
        format!(
            "endpoint={}/;accesskey={}",
            self.world.site.origin,
            self.expected_access_key()
        )
    }

    fn tenant_id(&self, tenant: &str) -> Result<Uuid, ControlError> {
        self.world
            .scenario
            .tenant(tenant)
            .map(|tenant| tenant.id)
            .ok_or_else(|| ControlError::UnknownTenant(tenant.to_owned()))
    }

    fn tenant_ids(&self, tenant: Option<&str>) -> Result<Vec<Uuid>, ControlError> {
        match tenant {
            Some(tenant) => Ok(vec![self.tenant_id(tenant)?]),
            None => Ok(self.world.scenario.tenants.iter().map(|tenant| tenant.id).collect()),
        }
    }

    fn current_key(&self, tenant: &str) -> Result<Arc<jwt::SigningKey>, ControlError> {
        let id = self.tenant_id(tenant)?;
        self.world
            .entra
            .keys
            .current(id)
            .ok_or_else(|| ControlError::UnknownTenant(tenant.to_owned()))
    }
}
