//! When a tenant's keys are fetched, and what serves meanwhile.
//!
//! A good fetch replaces the set; a key that it lacks is good for a grace more. Any other fetch leaves the last good set
//! in force and counts for the cool-down. Callers with known keys read a snapshot and never wait. After the advice of the
//! Microsoft identity platform's page on signing key rollover.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;
use tracing::field::Empty;
use url::Url;

use super::fetch::{Fetched, KeyFetcher};
use super::keys::TenantKeys;
use base::clock::SharedClock;
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
    attempt: Mutex<Attempt>,
    // Changes at the end of each fetch.
    outcome: watch::Sender<Outcome>,
    // Callers with unknown keys who wait; shared by all tenants.
    waiting_room: Arc<Semaphore>,
    metrics: KeyMetrics,
}

struct Snapshot {
    keys: Arc<TenantKeys>,
    // Monotonic time.
    fetched_at: Duration,
}

#[derive(Default)]
struct Attempt {
    under_way: bool,
    // Monotonic time at which the cool-down last began.
    cooldown_since: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    finished: u64,
    good: bool,
    // The span of the fetch, if it was recorded.
    fetch: Option<SpanReference>,
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
            attempt: Mutex::default(),
            outcome: watch::Sender::default(),
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
            tried: self.outcome.borrow().finished > 0,
            age,
            usable: age.is_some_and(|age| age <= self.settings.max_age),
            overdue: age.is_none_or(|age| age > self.settings.interval + self.settings.cooldown),
        }
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
        let attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let left = attempt
            .cooldown_since
            .and_then(|since| (since + self.settings.cooldown).checked_sub(self.clock.monotonic()))
            .filter(|_| self.snapshot.load().is_some());
        left.unwrap_or(SOON).max(FIRST_RETRY)
    }

    /// For a caller whose key is unknown: sees to it that a fetch runs unless the cool-down forbids it, and waits
    /// for the one under way, within the bounds.
    pub(super) async fn refresh_for_unknown_key(self: &Arc<Self>) -> Refreshed {
        let mut outcome = self.outcome.subscribe();
        let before = *outcome.borrow_and_update();
        if !self.begin(KeyFetch::UnknownKid) {
            return self.outcome.borrow().refreshed();
        }
        let Ok(_seat) = self.waiting_room.try_acquire() else {
            return Refreshed::Undecided;
        };
        let ended = outcome.wait_for(|outcome| outcome.finished > before.finished);
        match tokio::time::timeout(self.settings.wait, ended).await {
            Ok(Ok(outcome)) => {
                if let Some(fetch) = outcome.fetch {
                    fetch.link(&tracing::Span::current());
                }
                outcome.refreshed()
            }
            Ok(Err(_)) | Err(_) => Refreshed::Undecided,
        }
    }

    /// Whether a fetch is under way after this call. At most one is at any time.
    fn begin(self: &Arc<Self>, cause: KeyFetch) -> bool {
        let mut attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        if attempt.under_way {
            return true;
        }
        if cause == KeyFetch::UnknownKid {
            let now = self.clock.monotonic();
            if attempt
                .cooldown_since
                .is_some_and(|since| now.saturating_sub(since) < self.settings.cooldown)
            {
                return false;
            }
            attempt.cooldown_since = Some(now);
        }
        attempt.under_way = true;
        drop(attempt);
        // A task of its own: the caller who caused it may go away, others wait for it. It stays in that caller's trace.
        let trace = match cause {
            KeyFetch::UnknownKid => Trace::current(),
            KeyFetch::Schedule => Trace::none(),
        };
        let span = trace.follow(|| {
            tracing::info_span!(parent: None, "jwks_fetch", otel.name = "fetch keys", acs_broker.tenant.id = %self.tenant(),
                acs_broker.jwks.cause = cause.into_str(), acs_broker.jwks.keys = Empty, error.type = Empty,
                otel.status_code = Empty)
        });
        let ending = Ending {
            store: Arc::clone(self),
            cause,
            good: false,
            span: SpanReference::from_span(&span),
        };
        self.tasks.spawn(trace.carry(ending.run().instrument(span)));
        true
    }

    /// Keeps the keys fresh until the tasks are stopped: at the interval after a good fetch, after the cool-down
    /// when a fetch failed, and soon while there is nothing to serve.
    pub(super) async fn run(self: Arc<Self>) {
        let mut failures_without_keys = 0;
        loop {
            let mut outcome = self.outcome.subscribe();
            let before = *outcome.borrow_and_update();
            self.begin(KeyFetch::Schedule);
            let Ok(good) = outcome
                .wait_for(|outcome| outcome.finished > before.finished)
                .await
                .map(|outcome| outcome.good)
            else {
                return;
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

impl Outcome {
    fn refreshed(self) -> Refreshed {
        if self.good {
            Refreshed::Good
        } else {
            Refreshed::Undecided
        }
    }
}

/// A fetch under way. Its end is reported even if the fetch is cancelled or panics.
struct Ending {
    store: Arc<TenantKeyStore>,
    cause: KeyFetch,
    good: bool,
    span: Option<SpanReference>,
}

impl Ending {
    async fn run(mut self) {
        let store = Arc::clone(&self.store);
        match store.fetcher.fetch().await {
            Ok(fetched) => {
                store.take(fetched);
                self.good = true;
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
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut attempt = self.store.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        attempt.under_way = false;
        if !self.good {
            attempt.cooldown_since = Some(self.store.clock.monotonic());
        }
        drop(attempt);
        self.store.metrics.fetched(self.cause, self.good);
        self.store.outcome.send_modify(|outcome| {
            outcome.finished += 1;
            outcome.good = self.good;
            outcome.fetch = self.span;
        });
    }
}
