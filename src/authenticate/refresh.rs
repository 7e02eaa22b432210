//! When a tenant's keys are fetched, and what serves meanwhile.
//!
//! A good fetch replaces the set; a key that it lacks is good for a grace more. Any other fetch leaves the last good set
//! in force and counts for the cool-down. Callers with known keys read a snapshot and never wait. After the advice of the
//! Microsoft identity platform's page on signing key rollover.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use tracing::field::Empty;
use url::Url;

use super::fetch::{Fetched, KeyFetcher};
use super::keys::TenantKeys;
use base::clock::SharedClock;
use base::flight::{Flights, Waiter};
use base::ids::TenantId;
use base::tasks::Tasks;
use base::untrusted::Untrusted;
use telemetry::metrics::KeyMetrics;
use telemetry::metrics::labels::KeyFetch;
use telemetry::trace::{self, SpanReference, Trace};

/// First pause after a failed fetch while there are no keys at all; doubled up to the cool-down.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The wait that callers are asked for while a fetch is tried every few seconds.
const SOON: Duration = Duration::from_secs(5);

/// How keys are refreshed: the `jwks_*` settings of `[entra]`.
#[derive(Debug, Clone, Copy)]
pub struct RefreshSettings {
    /// Pause between two background fetches.
    pub interval: Duration,
    /// Shortest time between two fetches that an unknown `kid` causes.
    pub cooldown: Duration,
    /// How long a caller waits for the fetch under way.
    pub wait: Duration,
    /// How long the last good keys serve.
    pub max_age: Duration,
    /// How long a key of the last good set that the next good fetch lacks is still good, from that fetch on.
    pub withdrawal_grace: Duration,
}

/// The keys of one tenant and the state of their refresh.
pub(super) struct TenantKeyStore {
    fetcher: KeyFetcher,
    settings: RefreshSettings,
    clock: SharedClock,
    tasks: Tasks,
    snapshot: ArcSwapOption<Snapshot>,
    // At most one fetch.
    flights: Flights<(), (), Fetch>,
    attempts: Mutex<Attempts>,
    // Callers with unknown keys who wait; shared by all tenants.
    waiting_room: Arc<Semaphore>,
    metrics: KeyMetrics,
}

struct Snapshot {
    keys: Arc<TenantKeys>,
    // Monotonic time.
    fetched_at: Duration,
}

/// What the fetches before left behind.
#[derive(Default)]
struct Attempts {
    // How the last one ended, if any has.
    last: Option<Refreshed>,
    // Monotonic time at which the cool-down last began.
    cooldown_since: Option<Duration>,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy)]
struct Fetch {
    refreshed: Refreshed,
    // Its span, if that was recorded.
    span: Option<SpanReference>,
}

/// What a caller with an unknown key learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refreshed {
    /// The last fetch was good: what is not among the keys now does not exist.
    Good,
    /// It failed, was not over in time, or nobody could wait for it.
    Undecided,
}

/// What readiness and operators want to know of a tenant's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The tenant.
    pub tenant: TenantId,
    /// Whether any fetch has ended, well or not.
    pub tried: bool,
    /// Age of the last good fetch, if there was one.
    pub age: Option<Duration>,
    /// Whether the keys are young enough to serve.
    pub usable: bool,
    /// Whether a background fetch is overdue: the keys serve, but grow old.
    pub overdue: bool,
}

impl TenantKeyStore {
    pub(super) fn new(
        fetcher: KeyFetcher,
        settings: RefreshSettings,
        clock: SharedClock,
        tasks: Tasks,
        waiting_room: Arc<Semaphore>,
        metrics: KeyMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            fetcher,
            settings,
            clock,
            tasks,
            snapshot: ArcSwapOption::empty(),
            flights: Flights::default(),
            attempts: Mutex::default(),
            waiting_room,
            metrics,
        })
    }

    /// The last good keys, if they are young enough.
    pub(super) fn current(&self) -> Option<Arc<TenantKeys>> {
        let snapshot = self.snapshot.load();
        let snapshot = snapshot.as_ref()?;
        (self.age(snapshot) <= self.settings.max_age).then(|| Arc::clone(&snapshot.keys))
    }

    /// Where the tenant's tokens are asked for, as of the last good fetch, however old: nothing is verified with it.
    pub(super) fn token_endpoint(&self) -> Option<Url> {
        self.snapshot.load().as_ref()?.keys.token_endpoint().cloned()
    }

    pub(super) fn status(&self) -> KeyStatus {
        let age = self.snapshot.load().as_ref().map(|snapshot| self.age(snapshot));
        KeyStatus {
            tenant: self.tenant(),
            tried: self.attempts().last.is_some(),
            age,
            usable: age.is_some_and(|age| age <= self.settings.max_age),
            overdue: age.is_none_or(|age| age > self.settings.interval + self.settings.cooldown),
        }
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tenant(&self) -> TenantId {
        self.fetcher.tenant.id
    }

    /// Puts `fetched` in force, with those keys of the set before that are still good.
    fn take(&self, fetched: Fetched) {
        let now = self.clock.monotonic();
        let before = self.snapshot.load();
        let before = before.as_ref().map(|snapshot| &*snapshot.keys);
        let count = fetched.keys.len();
        let keys = fetched.succeeding(before, now, self.settings.withdrawal_grace);
        tracing::Span::current().record("acs_broker.jwks.keys", i64::try_from(count).unwrap_or(i64::MAX));
        tracing::info!(
            acs_broker.tenant.id = %self.tenant(),
            acs_broker.jwks.keys = count,
            "fetched signing keys"
        );
        for (kid, left) in keys.withdrawn(now) {
            tracing::info!(
                acs_broker.tenant.id = %self.tenant(),
                acs_broker.key.id = %Untrusted::new(kid),
                good_for_s = left.as_secs(),
                "a signing key is not published any more"
            );
        }
        self.snapshot.store(Some(Arc::new(Snapshot {
            keys: Arc::new(keys),
            fetched_at: now,
        })));
    }

    fn age(&self, snapshot: &Snapshot) -> Duration {
        self.clock.monotonic().saturating_sub(snapshot.fetched_at)
    }

    /// How long until the next fetch can have ended: what is left of the cool-down, or soon if there is none, or if
    /// nothing serves and fetches are tried again all the time.
    pub(super) fn retry_after(&self) -> Duration {
        let cooldown_since = self.attempts().cooldown_since;
        let left = cooldown_since
            .and_then(|since| (since + self.settings.cooldown).checked_sub(self.clock.monotonic()))
            .filter(|_| self.snapshot.load().is_some());
        left.unwrap_or(SOON).max(FIRST_RETRY)
    }

    /// For a caller whose key is unknown: sees to it that a fetch runs unless the cool-down forbids it, and waits
    /// for the one under way, within the bounds.
    pub(super) async fn refresh_for_unknown_key(self: &Arc<Self>) -> Refreshed {
        let fetch = match self.begin(KeyFetch::UnknownKid) {
            Ok(fetch) => fetch,
            Err(last) => return last,
        };
        let Ok(_seat) = self.waiting_room.try_acquire() else {
            return Refreshed::Undecided;
        };
        let Ok(Ok(fetch)) = tokio::time::timeout(self.settings.wait, fetch.outcome()).await else {
            return Refreshed::Undecided;
        };
        if let Some(span) = fetch.span {
            span.link(&tracing::Span::current());
        }
        fetch.refreshed
    }

    /// The fetch under way, or a new one. Within the cool-down an unknown key begins none: the error is how the last ended.
    fn begin(self: &Arc<Self>, cause: KeyFetch) -> Result<Waiter<(), Fetch>, Refreshed> {
        // Held until the fetch has begun, so that only one caller begins it.
        let mut attempts = self.attempts();
        if let Some(fetch) = self.flights.join_existing(&()) {
            return Ok(fetch);
        }
        if cause == KeyFetch::UnknownKid {
            let now = self.clock.monotonic();
            if attempts
                .cooldown_since
                .is_some_and(|since| now.saturating_sub(since) < self.settings.cooldown)
            {
                return Err(attempts.last.unwrap_or(Refreshed::Undecided));
            }
            attempts.cooldown_since = Some(now);
        }
        Ok(self.flights.join((), (), || Arc::clone(self).fetch(cause)))
    }

    /// Fetches the keys. Stays in the trace of the caller who caused it.
    fn fetch(self: Arc<Self>, cause: KeyFetch) -> impl Future<Output = Fetch> + Send + 'static {
        let trace = match cause {
            KeyFetch::UnknownKid => Trace::current(),
            KeyFetch::Schedule => Trace::none(),
        };
        let span = trace.follow(|| {
            tracing::info_span!(parent: None, "jwks_fetch", otel.name = "fetch keys", acs_broker.tenant.id = %self.tenant(),
                acs_broker.jwks.cause = cause.into_str(), acs_broker.jwks.keys = Empty, error.type = Empty,
                otel.status_code = Empty)
        });
        let reference = SpanReference::from_span(&span);
        let tasks = self.tasks.clone();
        let fetch = trace.carry(Attempt::run(self, cause).instrument(span));
        async move {
            let refreshed = tasks.track(fetch).await.unwrap_or(Refreshed::Undecided);
            Fetch {
                refreshed,
                span: reference,
            }
        }
    }

    /// Keeps the keys fresh until the tasks are stopped: at the interval after a good fetch, after the cool-down
    /// when a fetch failed, and soon while there is nothing to serve.
    pub(super) async fn run(self: Arc<Self>) {
        let mut failures_without_keys = 0;
        loop {
            let good = match self.begin(KeyFetch::Schedule) {
                Ok(fetch) => fetch
                    .outcome()
                    .await
                    .is_ok_and(|fetch| fetch.refreshed == Refreshed::Good),
                Err(last) => last == Refreshed::Good,
            };
            let pause = if good {
                failures_without_keys = 0;
                self.settings.interval
            } else if self.current().is_some() {
                self.settings.cooldown
            } else {
                failures_without_keys += 1;
                let doubled = FIRST_RETRY * 2u32.saturating_pow(failures_without_keys - 1);
                doubled
                    .min(self.settings.cooldown)
                    .max(FIRST_RETRY.min(self.settings.cooldown))
            };
            // Replicas that started together do not stay together.
            let early = if good { fastrand::f64() * 0.1 } else { 0.0 };
            tokio::time::sleep(pause.mul_f64(1.0 - early)).await;
        }
    }
}

/// A fetch under way. Its end is recorded even if it is cancelled or panics.
struct Attempt {
    store: Arc<TenantKeyStore>,
    cause: KeyFetch,
    refreshed: Refreshed,
}

impl Attempt {
    // The attempt begins at the first poll: a task that is never run must not take the lock that its spawner holds.
    async fn run(store: Arc<TenantKeyStore>, cause: KeyFetch) -> Refreshed {
        let mut attempt = Self {
            store,
            cause,
            refreshed: Refreshed::Undecided,
        };
        let store = &attempt.store;
        match store.fetcher.fetch().await {
            Ok(fetched) => {
                store.take(fetched);
                attempt.refreshed = Refreshed::Good;
            }
            Err(error) => {
                trace::record_error(&tracing::Span::current(), error.name(), || error.to_string());
                tracing::error!(
                    acs_broker.tenant.id = %store.tenant(),
                    error = %error,
                    last_good_keys_serve = store.current().is_some(),
                    "could not fetch signing keys"
                );
            }
        }
        attempt.refreshed
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut attempts = self.store.attempts();
        attempts.last = Some(self.refreshed);
        if self.refreshed != Refreshed::Good {
            attempts.cooldown_since = Some(self.store.clock.monotonic());
        }
        drop(attempts);
        self.store
            .metrics
            .fetched(self.cause, self.refreshed == Refreshed::Good);
    }
}
