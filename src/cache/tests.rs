//! The cache with a scripted exchange and a clock that moves by hand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use jiff::Timestamp;
use moka::ops::compute::Op;

use super::decision::Life;
use super::store::Store;
use super::*;
use base::clock::{Clock as _, ManualClock};
use base::flight::NoOutcome;
use base::secret::BearerToken;
use config::RenewalConfig;

const MINUTE: u64 = 60;
/// What ACS gives where the presented token does not bound it.
const UNBOUND_LIFE: Duration = Duration::from_secs(60 * MINUTE);

#[derive(Debug)]
pub(super) struct Granted {
    pub(super) expires_on: Timestamp,
    pub(super) serial: usize,
}

impl Token for Granted {
    fn expires_on(&self) -> Timestamp {
        self.expires_on
    }

    fn bytes(&self) -> usize {
        1000
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Refused,
    Forbidden,
    Ended,
    Away,
    Lost,
}

impl From<NoOutcome> for Trouble {
    fn from(_: NoOutcome) -> Self {
        Self::Lost
    }
}

impl Failure for Trouble {
    fn is_skipped(&self) -> bool {
        false
    }

    fn refusal_scope(&self) -> Option<RefusalScope> {
        match self {
            Self::Refused => Some(RefusalScope::Token),
            Self::Forbidden => Some(RefusalScope::User),
            Self::Ended => Some(RefusalScope::Session),
            Self::Away | Self::Lost => None,
        }
    }
}

impl Weigh for &'static str {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// A cache in front of an ACS that gives its token the end of the Entra token, as the real one does.
struct Bench {
    cache: Arc<TokenCache<&'static str, Granted, Trouble>>,
    clock: Arc<ManualClock>,
    acs: Arc<Acs>,
}

#[derive(Default)]
struct Acs {
    calls: AtomicUsize,
    trouble: Mutex<Option<Trouble>>,
    // Where set, exchanges wait here.
    gate: Mutex<Option<Arc<Notify>>>,
    landed: Notify,
    // How much longer than the Entra token its tokens live; nothing at the real one.
    longer: Mutex<Duration>,
}

pub(super) fn config() -> CacheConfig {
    CacheConfig {
        max_entries: 1000,
        max_bytes: 10_000_000,
        renewal: RenewalConfig {
            expiry_margin: Duration::from_secs(30),
            min_remaining: Duration::from_secs(10 * MINUTE),
            refresh_ahead: Duration::from_secs(20 * MINUTE),
            refresh_jitter: Duration::ZERO,
            min_gain: Duration::from_secs(2 * MINUTE),
            renewal_backoff: Duration::from_secs(30),
        },
    }
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        Self {
            cache: Arc::new(TokenCache::new(&config(), Arc::clone(&clock) as SharedClock)),
            clock,
            acs: Arc::default(),
        }
    }

    /// An Entra token with so many minutes to live from now.
    fn token(&self, name: &str, minutes: u64) -> Lookup {
        Lookup {
            digest: TokenDigest::new(&BearerToken::new(name)),
            token_expires_on: Some(self.clock.now() + Duration::from_secs(minutes * MINUTE)),
            max_age: None,
        }
    }

    fn get(
        &self,
        key: &'static str,
        lookup: Lookup,
    ) -> impl Future<Output = Result<(Outcome, usize), Trouble>> + Send + 'static {
        let (cache, acs, clock) = (Arc::clone(&self.cache), Arc::clone(&self.acs), Arc::clone(&self.clock));
        async move {
            let exchange = move |_, _, _| {
                let (acs, clock) = (Arc::clone(&acs), Arc::clone(&clock));
                async move {
                    let serial = acs.calls.fetch_add(1, Ordering::SeqCst) + 1;
                    let trouble = *acs.trouble.lock().unwrap();
                    let gate = acs.gate.lock().unwrap().clone();
                    if let Some(gate) = gate {
                        gate.notified().await;
                    }
                    acs.landed.notify_one();
                    match trouble {
                        Some(trouble) => Err(trouble),
                        None => Ok(Exchanged::Token(Granted {
                            expires_on: lookup.token_expires_on.unwrap_or_else(|| clock.now() + UNBOUND_LIFE)
                                + *acs.longer.lock().unwrap(),
                            serial,
                        })),
                    }
                }
            };
            cache
                .get(key, &lookup, None, exchange, Instant::now)
                .await
                .map(|answer| (answer.outcome, answer.token.serial))
        }
    }

    fn advance(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(minutes * MINUTE));
    }

    fn fail(&self, trouble: Option<Trouble>) {
        *self.acs.trouble.lock().unwrap() = trouble;
    }

    fn calls(&self) -> usize {
        self.acs.calls.load(Ordering::SeqCst)
    }
}

use Outcome::{Hit, Miss, Shared};

#[tokio::test]
async fn a_token_is_served_again_and_keys_share_nothing() {
    let bench = Bench::new();
    let token = bench.token("a", 60);
    assert_eq!(bench.get("k", token).await, Ok((Miss, 1)));
    assert_eq!(bench.get("k", token).await, Ok((Hit, 1)));
    assert_eq!(bench.get("k", bench.token("b", 61)).await, Ok((Hit, 1)));
    assert_eq!(bench.get("other", token).await, Ok((Miss, 2)));
}

#[tokio::test]
async fn nothing_is_served_near_its_end() {
    let bench = Bench::new();
    bench.get("k", bench.token("a", 60)).await.unwrap();
    bench.clock.advance(Duration::from_secs(60 * MINUTE - 29));
    assert_eq!(bench.get("k", bench.token("b", 60)).await, Ok((Miss, 2)));
}

#[tokio::test]
async fn a_token_shorter_than_the_margin_is_handed_over_and_not_kept() {
    let bench = Bench::new();
    let mut token = bench.token("a", 0);
    token.token_expires_on = Some(bench.clock.now() + Duration::from_secs(20));
    assert_eq!(bench.get("k", token).await, Ok((Miss, 1)));
    assert_eq!(bench.get("k", token).await, Ok((Miss, 2)));
}

#[tokio::test]
async fn a_shorter_token_gets_an_exchange_of_its_own_that_replaces_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.get("k", bench.token("long", 60)).await, Ok((Miss, 1)));
    let short = bench.token("short", 30);
    assert_eq!(bench.get("k", short).await, Ok((Miss, 2)));
    assert_eq!(
        bench.get("k", short).await,
        Ok((Hit, 2)),
        "remembered for that very token"
    );
    assert_eq!(bench.get("k", bench.token("short too", 30)).await, Ok((Miss, 3)));
    assert_eq!(bench.get("k", bench.token("long", 60)).await, Ok((Hit, 1)));
}

#[tokio::test]
async fn a_token_that_outlives_its_entra_token_is_kept_for_that_one() {
    let bench = Bench::new();
    *bench.acs.longer.lock().unwrap() = Duration::from_secs(24 * 60 * MINUTE);
    let token = bench.token("a", 60);
    assert_eq!(bench.get("k", token).await, Ok((Miss, 1)));
    assert_eq!(bench.get("k", token).await, Ok((Hit, 1)));
    let alone = Lookup {
        max_age: Some(Duration::from_secs(10 * MINUTE)),
        ..token
    };
    assert_eq!(bench.get("k", alone).await, Ok((Hit, 1)));
    assert_eq!(bench.get("k", bench.token("b", 60)).await, Ok((Miss, 2)));
    bench.advance(10);
    assert_eq!(bench.get("k", alone).await, Ok((Miss, 3)), "confirmed after a while");
    assert_eq!(bench.get("k", alone).await, Ok((Hit, 3)));
    assert_eq!(bench.get("k", bench.token("long", 2 * 24 * 60)).await, Ok((Miss, 4)));
    assert_eq!(bench.get("k", token).await, Ok((Hit, 3)));
}

#[tokio::test]
async fn a_refusal_of_a_session_ends_what_is_kept_for_its_token_alone() {
    let bench = Bench::new();
    *bench.acs.longer.lock().unwrap() = Duration::from_secs(60 * MINUTE);
    let token = bench.token("a", 60);
    assert_eq!(bench.get("k", token).await, Ok((Miss, 1)), "kept for this token alone");
    *bench.acs.longer.lock().unwrap() = Duration::ZERO;
    assert_eq!(
        bench.get("k", bench.token("b", 25)).await,
        Ok((Miss, 2)),
        "kept for all"
    );
    bench.advance(16);
    bench.fail(Some(Trouble::Ended));
    assert_eq!(
        bench.get("k", token).await,
        Err(Trouble::Ended),
        "a renewal of what all have"
    );
    bench.fail(None);
    bench.clock.advance(refusals::REMEMBER_FOR);
    assert_eq!(bench.get("k", token).await, Ok((Miss, 4)));
}

#[tokio::test]
async fn a_renewal_before_the_answer_is_a_miss_and_a_failed_one_a_hit_with_a_pause() {
    let bench = Bench::new();
    bench.get("k", bench.token("a", 60)).await.unwrap();
    bench.advance(51);
    let new = bench.token("b", 60);
    bench.fail(Some(Trouble::Away));
    assert_eq!(bench.get("k", new).await, Ok((Hit, 1)));
    assert_eq!(bench.calls(), 2);
    bench.fail(None);
    assert_eq!(
        bench.get("k", new).await,
        Ok((Hit, 1)),
        "no renewal within the back-off"
    );
    assert_eq!(bench.calls(), 2);
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!(bench.get("k", new).await, Ok((Miss, 3)));
    assert_eq!(bench.get("k", new).await, Ok((Hit, 3)));
}

#[tokio::test]
async fn a_refused_renewal_keeps_the_entry() {
    let bench = Bench::new();
    bench.get("k", bench.token("a", 60)).await.unwrap();
    bench.advance(51);
    bench.fail(Some(Trouble::Forbidden));
    assert_eq!(bench.get("k", bench.token("b", 60)).await, Ok((Hit, 1)));
    assert_eq!(bench.get("k", bench.token("b", 60)).await, Ok((Hit, 1)));
}

#[tokio::test]
async fn a_403_from_acs_ends_the_entry_where_acs_alone_permits_the_caller() {
    let alone = |lookup| Lookup {
        max_age: Some(Duration::from_secs(3600)),
        ..lookup
    };
    // In a renewal before the answer ...
    let bench = Bench::new();
    bench.get("k", alone(bench.token("a", 60))).await.unwrap();
    bench.advance(51);
    bench.fail(Some(Trouble::Forbidden));
    let renewing = alone(bench.token("b", 60));
    assert_eq!(bench.get("k", renewing).await, Err(Trouble::Forbidden));
    bench.fail(None);
    bench.clock.advance(refusals::REMEMBER_FOR);
    assert_eq!(bench.get("k", renewing).await, Ok((Miss, 3)));
    // ... and in an exchange of a shorter token's own.
    bench.fail(Some(Trouble::Forbidden));
    assert_eq!(
        bench.get("k", alone(bench.token("short", 30))).await,
        Err(Trouble::Forbidden)
    );
    bench.fail(None);
    assert_eq!(bench.get("k", renewing).await, Ok((Miss, 5)));
    // Trouble that is no refusal ends nothing.
    bench.clock.advance(refusals::REMEMBER_FOR);
    bench.fail(Some(Trouble::Away));
    assert_eq!(
        bench.get("k", alone(bench.token("short", 30))).await,
        Err(Trouble::Away)
    );
    assert_eq!(bench.get("k", renewing).await, Ok((Hit, 5)));
}

#[tokio::test]
async fn without_gain_nothing_is_renewed() {
    let bench = Bench::new();
    let token = bench.token("a", 60);
    bench.get("k", token).await.unwrap();
    bench.advance(55);
    assert_eq!(bench.get("k", token).await, Ok((Hit, 1)));
    assert_eq!(bench.get("k", bench.token("b", 6)).await, Ok((Hit, 1)));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_renewal_ahead_happens_behind_the_answer() {
    let bench = Bench::new();
    bench.get("k", bench.token("a", 60)).await.unwrap();
    bench.acs.landed.notified().await;
    bench.advance(45);
    let new = bench.token("b", 60);
    assert_eq!(bench.get("k", new).await, Ok((Hit, 1)));
    bench.acs.landed.notified().await;
    // The flight lands once its outcome is stored; joining it is the event to wait for.
    while bench.get("k", new).await != Ok((Hit, 2)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn an_entry_that_acs_alone_permitted_is_revalidated() {
    let bench = Bench::new();
    let group_member = Lookup {
        max_age: Some(Duration::from_secs(10 * MINUTE)),
        ..bench.token("a", 60)
    };
    assert_eq!(bench.get("k", group_member).await, Ok((Miss, 1)));
    bench.advance(9);
    assert_eq!(bench.get("k", group_member).await, Ok((Hit, 1)));
    bench.advance(1);
    assert_eq!(bench.get("k", group_member).await.unwrap().0, Miss);
    assert_eq!(bench.calls(), 2);
    assert_eq!(
        bench.get("k", group_member).await,
        Ok((Hit, 2)),
        "as fresh as what ACS gave, though it ends no later"
    );
    // A user with an assignment of their own does not ask ACS again.
    bench.advance(11);
    assert_eq!(bench.get("k", bench.token("a", 39)).await.unwrap().0, Hit);
    // Trouble is reported as such, and a refusal ends it for all.
    bench.fail(Some(Trouble::Away));
    assert_eq!(bench.get("k", group_member).await, Err(Trouble::Away));
    assert_eq!(bench.get("k", bench.token("a", 39)).await.unwrap().0, Hit);
    bench.fail(Some(Trouble::Forbidden));
    assert_eq!(bench.get("k", group_member).await, Err(Trouble::Forbidden));
    bench.fail(None);
    bench.clock.advance(refusals::REMEMBER_FOR);
    assert_eq!(bench.get("k", group_member).await.unwrap().0, Miss);
}

#[tokio::test]
async fn failures_that_are_no_refusals_are_not_remembered() {
    let bench = Bench::new();
    let token = bench.token("a", 60);
    for trouble in [Trouble::Away, Trouble::Lost, Trouble::Away] {
        bench.fail(Some(trouble));
        assert_eq!(bench.get("k", token).await, Err(trouble));
    }
    bench.fail(None);
    assert_eq!(bench.get("k", token).await, Ok((Miss, 4)));
}

#[tokio::test]
async fn a_refusal_is_remembered_for_its_token_for_a_while() {
    for refusal in [Trouble::Refused, Trouble::Forbidden, Trouble::Ended] {
        let bench = Bench::new();
        let token = bench.token("a", 60);
        bench.fail(Some(refusal));
        for _ in 0..100 {
            assert_eq!(bench.get("k", token).await, Err(refusal));
        }
        assert_eq!(bench.calls(), 1);
        // Whatever is granted meanwhile, others ask at once: another key, another token of the same user.
        bench.fail(None);
        assert_eq!(bench.get("other", token).await, Ok((Miss, 2)));
        bench.clock.advance(Duration::from_millis(14_999));
        assert_eq!(bench.get("k", token).await, Err(refusal));
        bench.clock.advance(Duration::from_millis(1));
        assert_eq!(bench.get("k", token).await, Ok((Miss, 3)));
    }
}

#[tokio::test]
async fn another_token_of_the_user_is_not_affected_and_serves_both() {
    let bench = Bench::new();
    bench.fail(Some(Trouble::Forbidden));
    let (refused, other) = (bench.token("a", 60), bench.token("b", 60));
    assert_eq!(bench.get("k", refused).await, Err(Trouble::Forbidden));
    bench.fail(None);
    assert_eq!(bench.get("k", other).await, Ok((Miss, 2)));
    // What came after the refusal is as good for this token as it was before refusals were remembered.
    assert_eq!(bench.get("k", refused).await, Ok((Hit, 2)));
}

#[tokio::test]
async fn a_refused_token_renews_nothing_while_that_is_remembered() {
    let bench = Bench::new();
    // An exchange of a short token's own is refused.
    bench.get("k", bench.token("long", 60)).await.unwrap();
    let short = bench.token("short", 30);
    bench.fail(Some(Trouble::Refused));
    assert_eq!(bench.get("k", short).await, Err(Trouble::Refused));
    assert_eq!(bench.get("k", short).await, Err(Trouble::Refused));
    assert_eq!(bench.calls(), 2);
    // A refused renewal leaves what is there, and is not tried again with that token.
    bench.advance(51);
    let new = bench.token("new", 60);
    assert_eq!(bench.get("k", new).await, Ok((Hit, 1)));
    assert_eq!(bench.get("k", new).await, Ok((Hit, 1)));
    assert_eq!(bench.calls(), 3);
}

#[tokio::test]
async fn callers_who_wait_for_a_refusal_make_one_call() {
    let bench = Bench::new();
    let gate = Arc::new(Notify::new());
    *bench.acs.gate.lock().unwrap() = Some(Arc::clone(&gate));
    bench.fail(Some(Trouble::Refused));
    let callers = start(&bench, vec![bench.token("a", 60); 20]).await;
    gate.notify_one();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Err(Trouble::Refused));
    }
    assert_eq!(bench.calls(), 1);
}

#[test]
fn the_refusals_that_are_remembered_are_bounded() {
    let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let refusals = refusals::Refusals::<&'static str, Trouble>::new(clock);
    let digest = |n: u32| TokenDigest::new(&BearerToken::new(n.to_string()));
    for n in 0..12_000 {
        refusals.remember(&"k", digest(n), &Trouble::Refused);
    }
    assert!(refusals.settled_len() <= 10_000);
    assert_eq!(refusals.get(&"k", digest(11_999)), Some(Trouble::Refused));
    assert_eq!(refusals.get(&"k", digest(0)), None, "the oldest is forgotten first");
}

/// Starts callers one by one, each far enough to wait at the gate or in the flight.
async fn start(bench: &Bench, lookups: Vec<Lookup>) -> Vec<tokio::task::JoinHandle<Result<(Outcome, usize), Trouble>>> {
    let mut callers = Vec::new();
    for lookup in lookups {
        callers.push(tokio::spawn(bench.get("k", lookup)));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    callers
}

#[tokio::test]
async fn callers_share_one_exchange_even_if_the_leader_leaves() {
    let bench = Bench::new();
    let gate = Arc::new(Notify::new());
    *bench.acs.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let token = bench.token("a", 60);
    let mut callers = start(&bench, vec![token; 20]).await;
    callers.remove(0).abort();
    gate.notify_one();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok((Shared, 1)));
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_waiter_with_another_token_makes_one_exchange_after_a_refusal() {
    let bench = Bench::new();
    let gate = Arc::new(Notify::new());
    *bench.acs.gate.lock().unwrap() = Some(Arc::clone(&gate));
    bench.fail(Some(Trouble::Refused));
    let callers = start(
        &bench,
        vec![bench.token("a", 60), bench.token("a", 60), bench.token("b", 60)],
    )
    .await;
    bench.fail(None);
    *bench.acs.gate.lock().unwrap() = None;
    gate.notify_one();
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap());
    }
    assert_eq!(outcomes, [Err(Trouble::Refused), Err(Trouble::Refused), Ok((Miss, 2))]);
    assert_eq!(bench.get("k", bench.token("c", 60)).await, Ok((Hit, 2)));
}

#[tokio::test]
async fn a_waiter_with_a_shorter_token_does_not_get_the_longer_one() {
    let bench = Bench::new();
    let gate = Arc::new(Notify::new());
    *bench.acs.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let callers = start(&bench, vec![bench.token("long", 60), bench.token("short", 30)]).await;
    *bench.acs.gate.lock().unwrap() = None;
    gate.notify_one();
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap().unwrap());
    }
    assert_eq!(outcomes, [(Miss, 1), (Miss, 2)]);
}

#[tokio::test]
async fn a_waiter_with_a_much_longer_token_does_not_get_the_shorter_one() {
    let bench = Bench::new();
    let gate = Arc::new(Notify::new());
    *bench.acs.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let callers = start(&bench, vec![bench.token("short", 5), bench.token("long", 60)]).await;
    *bench.acs.gate.lock().unwrap() = None;
    gate.notify_one();
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap().unwrap());
    }
    assert_eq!(outcomes, [(Miss, 1), (Miss, 2)]);
    assert_eq!(bench.get("k", bench.token("long", 60)).await, Ok((Hit, 2)));
}

#[tokio::test]
async fn an_unbounded_token_is_served_and_renewed_by_the_same_rule() {
    let bench = Bench::new();
    let unbound = |name| Lookup {
        token_expires_on: None,
        ..bench.token(name, 0)
    };
    assert_eq!(bench.get("k", unbound("a")).await, Ok((Miss, 1)));
    assert_eq!(bench.get("k", unbound("b")).await, Ok((Hit, 1)));
    bench.advance(51);
    assert_eq!(bench.get("k", unbound("b")).await, Ok((Miss, 2)));
    assert_eq!(bench.get("k", unbound("a")).await, Ok((Hit, 2)));
}

#[tokio::test]
async fn a_session_refusal_ends_the_entry() {
    for minutes in [51, 45] {
        let bench = Bench::new();
        let lookup = Lookup {
            token_expires_on: None,
            ..bench.token("a", 0)
        };
        assert_eq!(bench.get("k", lookup).await, Ok((Miss, 1)));
        bench.advance(minutes);
        bench.fail(Some(Trouble::Away));
        assert_eq!(bench.get("k", lookup).await, Ok((Hit, 1)), "a failed renewal");
        // Ahead of the answer, or behind it: then the next caller knows.
        bench.clock.advance(Duration::from_secs(31));
        bench.fail(Some(Trouble::Ended));
        let landed = bench.acs.landed.notified();
        let _ = bench.get("k", lookup).await;
        landed.await;
        while bench.get("k", lookup).await != Err(Trouble::Ended) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_waiter_takes_a_token_of_unbounded_lifetime_however_short_it_is() {
    let bench = Bench::new();
    let clock = Arc::clone(&bench.clock);
    let calls = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Notify::new());
    let (counted, gated) = (Arc::clone(&calls), Arc::clone(&gate));
    let exchange = move |_, _, _| {
        let (clock, counted, gated) = (Arc::clone(&clock), Arc::clone(&counted), Arc::clone(&gated));
        async move {
            let serial = counted.fetch_add(1, Ordering::SeqCst);
            gated.notified().await;
            Ok(Exchanged::Token(Granted {
                expires_on: clock.now() + Duration::from_secs(5 * MINUTE),
                serial,
            }))
        }
    };
    let callers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let lookup = Lookup {
                token_expires_on: None,
                ..bench.token(name, 0)
            };
            let (cache, exchange) = (Arc::clone(&bench.cache), exchange.clone());
            tokio::spawn(async move {
                cache
                    .get("k", &lookup, None, exchange, Instant::now)
                    .await
                    .map(|answer| answer.outcome)
            })
        })
        .collect();
    while calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    gate.notify_one();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Ok(Miss | Shared)));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_exchange_that_panics_fails_for_all_and_leaves_nothing() {
    let bench = Bench::new();
    let lookup = bench.token("a", 60);
    let panics = |_, _, _| async { panic!("on purpose") };
    let outcome = bench.cache.get("k", &lookup, None, panics, Instant::now).await;
    assert!(matches!(outcome, Err(Trouble::Lost)));
    assert_eq!(bench.get("k", lookup).await, Ok((Miss, 1)));
}

#[tokio::test]
async fn the_bound_in_entries_holds() {
    let mut config = config();
    config.max_entries = 10;
    let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let store: Store<String, Granted> = Store::new(&config, Arc::clone(&clock) as SharedClock);
    for serial in 0..100 {
        let token = Arc::new(Granted {
            expires_on: clock.now() + Duration::from_secs(3600),
            serial,
        });
        let life = Life {
            expires_on: token.expires_on,
            exchanged_at: jiff::SignedDuration::ZERO,
            refresh_ahead: Duration::ZERO,
            renewal_barred_until: None,
        };
        let key = CacheKey {
            shared: serial.to_string(),
            own: None,
        };
        store.change(key, |_| Op::Put(Arc::new(Entry { token, life }))).await;
    }
    assert!(store.settled_len().await <= 10);
}

impl Weigh for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}
