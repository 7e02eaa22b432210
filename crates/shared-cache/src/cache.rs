//! Values and leases in the store, each named and sealed by the keys.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use rustls::ClientConfig;
use tokio::sync::Notify;

use crate::chores::{self, Chore, Chores};
use crate::entry::{EntryId, StoredValue};
use crate::failure::Failure;
use crate::keys::{EncryptionKeys, EntryName, KeyFile, Unopened};
use crate::lease::{Lease, Leased, others};
use crate::link::Dialer;
use crate::observer::{Observer, Operation, Outcome};
use crate::script;
use crate::settings::Settings;
use crate::store::{Asker, Away, Fault, Store};
use crate::supervisor::supervise;
use crate::window::SharedWindow;
use base::clock::SharedClock;
use base::tasks::Tasks;
use certificates::TrustError;
use config::SharedCacheConfig;

/// How often the file of keys is looked at.
const KEY_POLL: Duration = Duration::from_secs(5);
/// The longest sealed value. What is longer is nobody's of ours, and is not fetched whole.
const MAX_VALUE: usize = 1024 * 1024;
/// How often a value is compared and set, at most: another replica that writes at the same time writes one as good.
const ATTEMPTS: usize = 4;

/// A cache that replicas share. Cheap to ask while the store is away.
pub struct SharedCache {
    store: Arc<Store>,
    keys: Arc<KeyFile>,
    chores: Chores,
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A value that opened and is not over.
    Value(StoredValue),
    /// None.
    Absent,
    /// The store said nothing.
    Away,
}

/// Whether the store is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Why not, if it is not.
    pub failure: Option<Failure>,
    /// Whether it is asked now. For a second after an operation took too long it is not, without being away.
    pub is_asked: bool,
    /// The names of the keys in use, the one that is written with first. Without keys nothing is asked.
    pub keys: Vec<String>,
}

impl Status {
    /// Whether operations are made now.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.is_asked && !self.keys.is_empty()
    }
}

/// TLS as the store wants it, if it does.
fn client_config(config: &SharedCacheConfig) -> Result<Option<ClientConfig>, TrustError> {
    let tls = config
        .tls
        .then(|| certificates::client_config(config.ca_file.as_deref()));
    tls.transpose()
}

impl SharedCache {
    /// Whether [`start`](Self::start) would fail, of which nothing is done.
    pub fn check(config: &SharedCacheConfig) -> Result<(), TrustError> {
        client_config(config).map(drop)
    }

    /// Starts to connect, in the background.
    pub fn start(
        settings: Settings,
        clock: SharedClock,
        observer: Arc<dyn Observer>,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, TrustError> {
        let config = &settings.config;
        let tls = client_config(config)?;
        let changed = Arc::new(Notify::new());
        let dialer = Dialer {
            tls: tls.map(Arc::new),
            tls_name: config.tls_name.clone(),
            limit: config.connect_timeout,
            tasks: tasks.clone(),
            changed: Arc::clone(&changed),
        };
        let keys = Arc::new(KeyFile::new(config.encryption_keys_file.clone()));
        let store = Arc::new(Store::new(settings, clock, dialer, observer, Arc::clone(&changed)));
        let (chores, waiting) = Chores::new();
        tasks.spawn(chores::work(Arc::downgrade(&store), waiting));
        let (weak_store, weak_keys) = (Arc::downgrade(&store), Arc::downgrade(&keys));
        let first_look = Arc::clone(&keys);
        tasks.spawn(async move {
            // With keys from the first answer on. A file that hangs keeps no connection from being made.
            let look = tokio::task::spawn_blocking(move || first_look.look());
            let _ = tokio::time::timeout(KEY_POLL, look).await;
            supervise(weak_store, changed).await;
        });
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(KEY_POLL).await;
                let Some(keys) = weak_keys.upgrade() else { return };
                let _ = tokio::task::spawn_blocking(move || keys.look()).await;
            }
        });
        Ok(Arc::new(Self { store, keys, chores }))
    }

    /// Waits until connecting has been tried once.
    pub async fn tried(&self) {
        // The sender lives in the store.
        let _ = self.store.rounds.subscribe().wait_for(|rounds| *rounds > 0).await;
    }

    /// Looks at the file of keys now, as is done every few seconds.
    pub async fn look_at_keys(&self) {
        let keys = Arc::clone(&self.keys);
        let _ = tokio::task::spawn_blocking(move || keys.look()).await;
    }

    /// Whether the store is used, and why not.
    #[must_use]
    pub fn status(&self) -> Status {
        let keys = self.keys.current();
        let names = keys.iter().flat_map(|keys| keys.names()).map(str::to_owned);
        Status {
            failure: self.store.failure(),
            is_asked: self.store.is_reachable(),
            keys: names.collect(),
        }
    }

    /// Looks an entry up, under the names that all keys give it, in one round trip.
    pub async fn get(&self, id: &EntryId) -> Found {
        let Some(keys) = self.keys(Operation::Get) else {
            return Found::Away;
        };
        let names = keys.entry_names(id);
        let found = self.store.operate(Operation::Get, self.read(&names)).await;
        let Ok(found) = found else { return Found::Away };
        let (best, rejected) = self.best(&keys, &names, &found);
        let outcome = match (&best, rejected) {
            (Some(_), _) => Outcome::Hit,
            (None, true) => Outcome::Rejected,
            (None, false) => Outcome::Miss,
        };
        self.store.observer.outcome(Operation::Get, outcome);
        best.map_or(Found::Absent, Found::Value)
    }

    /// Keeps a value, unless there is one that must stay: it takes the place of one that ends earlier or, after a revalidation, was
    /// exchanged earlier.
    pub async fn put(&self, id: &EntryId, value: &StoredValue, revalidated: bool) {
        let Some(life) = value.lifetime(self.store.clock.now(), self.store.expiry_margin) else {
            return;
        };
        let Some(keys) = self.keys(Operation::Put) else { return };
        let names = keys.entry_names(id);
        let work = self.write(&keys, &names, value, life, revalidated);
        if let Ok(true) = self.store.operate(Operation::Put, work).await {
            self.store.observer.outcome(Operation::Put, Outcome::Stored);
        }
    }

    /// Forgets an entry, under every key's name; later, if the store is away.
    pub async fn delete(&self, id: &EntryId) {
        let Some(keys) = self.keys(Operation::Delete) else {
            return;
        };
        let names = keys.entry_names(id);
        let mut undone = Undone {
            chores: &self.chores,
            values: names.iter().map(|name| self.value_key(name)).collect(),
        };
        let deletions = undone.values.iter().map(|key| async move {
            let command = redis::cmd("DEL").arg(key).take();
            self.store.ask::<i64>(Asker::Request, key, &command).await
        });
        if self
            .store
            .operate(Operation::Delete, try_join_all(deletions))
            .await
            .is_ok()
        {
            undone.values.clear();
        }
    }

    /// Takes the lease on the exchange of an entry.
    pub async fn lease(&self, id: &EntryId, length: Duration) -> Leased {
        let Some(keys) = self.keys(Operation::Lease) else {
            return Leased::Away;
        };
        let Some(name) = keys.entry_names(id).into_iter().next() else {
            return Leased::Away;
        };
        // Made before it is known to be ours: if the answer does not arrive, or nobody waits for it any longer, it is released.
        let lease = Lease::new(&self.chores, format!("{}:lease", self.value_key(&name)));
        let milliseconds = length.as_millis().max(1).to_string();
        let (key, arguments) = ([lease.key()], [lease.owner().as_bytes(), milliseconds.as_bytes()]);
        let work = self.store.run::<i64>(Asker::Request, &script::LEASE, &key, &arguments);
        match self.store.operate(Operation::Lease, work).await {
            Ok(left) => match others(left, length) {
                Some(remaining) => {
                    lease.forget();
                    Leased::Taken { remaining }
                }
                None => Leased::Held(lease),
            },
            Err(Away::NotAsked) => {
                lease.forget();
                Leased::Away
            }
            Err(Away::Unanswered) => Leased::Away,
        }
    }

    /// Waits until leases and places that were given back are, at most for `limit`: before the broker ends.
    pub async fn finish(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.chores.done()).await;
    }

    /// The budget of an endpoint.
    #[must_use]
    pub fn budget(&self, endpoint: &str) -> SharedWindow {
        SharedWindow::new(Arc::clone(&self.store), self.chores.clone(), endpoint)
    }

    /// The keys. Without any, the operation counts as one for which the store is away.
    fn keys(&self, operation: Operation) -> Option<Arc<EncryptionKeys>> {
        let keys = self.keys.current();
        if keys.is_none() {
            self.store.observer.outcome(operation, Outcome::Skipped);
        }
        keys
    }

    /// The hash tag is what lease and value have in common.
    fn value_key(&self, name: &EntryName) -> String {
        format!("{}{{{}}}", self.store.settings.prefix, name.text())
    }

    /// What stands under each name, cut where it is too long. Another type of value is as one that does not open.
    async fn read(&self, names: &[EntryName]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        let reads = names.iter().map(|name| async move {
            let key = self.value_key(name);
            let command = redis::cmd("GETRANGE").arg(&key).arg(0).arg(MAX_VALUE).take();
            match self.store.ask::<Vec<u8>>(Asker::Request, &key, &command).await {
                Err(Fault::Answer(error)) if error.code() == Some("WRONGTYPE") => Ok(Some(Vec::new())),
                // An empty one is as none.
                answer => answer.map(|found| Some(found).filter(|found| !found.is_empty())),
            }
        });
        // One server of a cluster that is away does not hide what another has.
        let mut answers = join_all(reads).await;
        if answers.iter().any(|answer| matches!(answer, Ok(Some(_)))) {
            return Ok(answers.into_iter().map(Result::unwrap_or_default).collect());
        }
        match answers.iter().position(Result::is_err) {
            Some(failed) => answers.swap_remove(failed).map(|_| Vec::new()),
            None => Ok(vec![None; names.len()]),
        }
    }

    /// The value that was exchanged last, of those that may be used; and whether any did not open.
    fn best(
        &self,
        keys: &EncryptionKeys,
        names: &[EntryName],
        found: &[Option<Vec<u8>>],
    ) -> (Option<StoredValue>, bool) {
        let mut rejected = false;
        let mut best: Option<StoredValue> = None;
        for (name, sealed) in names.iter().zip(found) {
            let Some(sealed) = sealed else { continue };
            match keys.open(name, sealed) {
                Ok(value) => {
                    let value = self.usable(value);
                    if let Some(value) = value
                        && best.as_ref().is_none_or(|best| value.exchanged_at > best.exchanged_at)
                    {
                        best = Some(value);
                    }
                }
                Err(Unopened) => rejected = true,
            }
        }
        (best, rejected)
    }

    fn usable(&self, value: StoredValue) -> Option<StoredValue> {
        value.usable(self.store.clock.now(), self.store.clock_skew)
    }

    /// Writes under the first name, by comparing and setting. Whether it was written.
    async fn write(
        &self,
        keys: &EncryptionKeys,
        names: &[EntryName],
        value: &StoredValue,
        life: Duration,
        revalidated: bool,
    ) -> Result<bool, Fault> {
        let Some((first, others)) = names.split_first() else {
            return Ok(false);
        };
        // While keys are rotated: one under an older key may be the one that stays.
        if !others.is_empty() {
            let found = self.read(others).await?;
            let (held, _) = self.best(keys, others, &found);
            if held.is_some_and(|held| !value.replaces(&held, revalidated)) {
                return Ok(false);
            }
        }
        let Some(sealed) = keys.seal(first, value) else {
            return Ok(false);
        };
        if sealed.len() > MAX_VALUE {
            return Ok(false);
        }
        let key = self.value_key(first);
        let (life, longest) = (life.as_millis().to_string(), MAX_VALUE.to_string());
        let mut held = Vec::new();
        for _ in 0..ATTEMPTS {
            let arguments = [held.as_slice(), sealed.as_slice(), life.as_bytes(), longest.as_bytes()];
            let other: Option<Vec<u8>> = self
                .store
                .run(Asker::Request, &script::PUT, &[&key], &arguments)
                .await?;
            let Some(other) = other else { return Ok(true) };
            let stays = keys.open(first, &other).ok().and_then(|other| self.usable(other));
            if stays.is_some_and(|other| !value.replaces(&other, revalidated)) {
                return Ok(false);
            }
            held = other;
        }
        Ok(false)
    }
}

/// Deletions that are made later unless they were made at once.
struct Undone<'c> {
    chores: &'c Chores,
    values: Vec<String>,
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        if !self.values.is_empty() {
            self.chores.add(Chore::Delete {
                values: std::mem::take(&mut self.values),
            });
        }
    }
}

impl fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCache").field("status", &self.status()).finish()
    }
}
