//! Replicas of a broker, as far as they use the store.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::{Clock as _, ManualClock, SharedClock};
use base::tasks::Tasks;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::{SharedCacheConfig, StoreAuth, StoreKind, StoreServer};
use jiff::Timestamp;
use shared_cache::{EntryId, Observer, Operation, Outcome, Settings, SharedCache, StoredValue, TokenSource};
use tempfile::TempDir;
use url::Host;
use zeroize::Zeroizing;

/// Long enough for a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PREFIX: &str = "acs-token-broker:";

/// A broker's share in the cache.
pub(crate) struct Replica {
    pub(crate) cache: Arc<SharedCache>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) clock: Arc<ManualClock>,
    // Its keys; who gives a file of their own keeps it.
    _folder: Option<TempDir>,
    _tasks: Tasks,
}

/// What was counted.
#[derive(Default)]
pub(crate) struct Counts(Mutex<HashMap<(Operation, Outcome), usize>>);

impl Observer for Counts {
    fn outcome(&self, operation: Operation, outcome: Outcome) {
        *self.0.lock().unwrap().entry((operation, outcome)).or_default() += 1;
    }

    fn took(&self, _operation: Operation, _duration: Duration) {}
}

impl Counts {
    pub(crate) fn of(&self, operation: Operation, outcome: Outcome) -> usize {
        self.0
            .lock()
            .unwrap()
            .get(&(operation, outcome))
            .copied()
            .unwrap_or_default()
    }
}

/// A file of keys, each of 32 times that byte.
pub(crate) fn write_keys(path: &PathBuf, keys: &[(&str, u8)]) {
    let line = |(name, byte): &(&str, u8)| format!("{name} {}\n", STANDARD.encode([*byte; 32]));
    std::fs::write(path, keys.iter().map(line).collect::<String>()).unwrap();
}

/// A store with a generous limit, so that only tests about time depend on it.
pub(crate) fn settings(servers: Vec<StoreServer>) -> SharedCacheConfig {
    SharedCacheConfig {
        servers,
        tls: false,
        kind: StoreKind::Single,
        auth: StoreAuth::Password {
            username: None,
            password: None,
        },
        ca_file: None,
        tls_name: None,
        encryption_keys_file: PathBuf::new(),
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(2),
        prefix: PREFIX.to_owned(),
    }
}

/// What a replica of that store is started with.
pub(crate) fn started(config: SharedCacheConfig, tokens: Option<Arc<dyn TokenSource>>) -> Settings {
    Settings {
        config,
        tokens,
        expiry_margin: Duration::from_secs(300),
        clock_skew: Duration::from_secs(60),
    }
}

/// A server on this machine.
pub(crate) fn local(port: u16) -> StoreServer {
    StoreServer {
        host: Host::Ipv4(Ipv4Addr::LOCALHOST),
        port,
    }
}

impl Replica {
    /// A replica of that server, connected.
    pub(crate) async fn of(server: StoreServer) -> Self {
        Self::with(settings(vec![server])).await.connected().await
    }

    /// A replica with that store, and one key unless it names a file. It has tried to connect.
    pub(crate) async fn with(config: SharedCacheConfig) -> Self {
        Self::with_tokens(config, None).await
    }

    /// The same, with access tokens for the store.
    pub(crate) async fn with_tokens(mut config: SharedCacheConfig, tokens: Option<Arc<dyn TokenSource>>) -> Self {
        let mut folder = None;
        if config.encryption_keys_file.as_os_str().is_empty() {
            let made = tempfile::tempdir().unwrap();
            config.encryption_keys_file = made.path().join("keys");
            write_keys(&config.encryption_keys_file, &[("first", 1)]);
            folder = Some(made);
        }
        let clock = ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap());
        let (counts, tasks) = (Arc::new(Counts::default()), Tasks::default());
        let cache = SharedCache::start(
            started(config, tokens),
            Arc::clone(&clock) as SharedClock,
            Arc::clone(&counts) as Arc<dyn Observer>,
            &tasks,
        );
        let cache = cache.unwrap();
        cache.tried().await;
        Self {
            cache,
            counts,
            clock,
            _folder: folder,
            _tasks: tasks,
        }
    }

    /// The same once it is connected.
    pub(crate) async fn connected(self) -> Self {
        self.until_reachable().await;
        self
    }

    pub(crate) async fn until_reachable(&self) {
        eventually("reachable", async || self.cache.status().is_reachable()).await;
    }

    pub(crate) async fn until_away(&self) {
        eventually("away", async || !self.cache.status().is_reachable()).await;
    }

    /// A value of so many seconds from now, exchanged so many seconds ago.
    pub(crate) fn value(&self, payload: &str, ends_in: i64, exchanged_before: i64) -> StoredValue {
        let now = self.clock.now().as_second();
        StoredValue {
            payload: Zeroizing::new(payload.as_bytes().to_vec()),
            expires_on: Timestamp::from_second(now + ends_in).unwrap(),
            exchanged_at: Timestamp::from_second(now - exchanged_before).unwrap(),
        }
    }
}

/// The entry of a user.
pub(crate) fn entry(user: &str) -> EntryId {
    EntryId::new(&[("tenant", b"contoso"), ("user", user.as_bytes())])
}

/// Waits until something is so, which is only a matter of time.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = tokio::time::Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "not {what} in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
