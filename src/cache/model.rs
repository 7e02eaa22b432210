//! The cache under random interleavings, against what each caller may get at all, one after the other: a token of their key that has
//! not ended, that lives no longer than what ACS would give them, and that no refusal has ended.
//!
//! The same for several caches over one store, as of several replicas: what one may serve does not change, and no two exchange for
//! one key at once.
//!
//! moka's and tokio's own synchronization keeps loom and shuttle out. So a seed decides how often each caller and each exchange
//! yields on tokio's runtime of one thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::shared::Turn;
use super::shared_tests::{Store, Tier};
use super::*;
use base::clock::{Clock as _, ManualClock};
use base::flight::NoOutcome;
use base::secret::BearerToken;
use config::RenewalConfig;

const MINUTE: u64 = 60;
const MARGIN: Duration = Duration::from_secs(30);
const MIN_GAIN: Duration = Duration::from_secs(2 * MINUTE);
const KEYS: [&str; 2] = ["one", "two"];

/// One exchange at ACS: for whom, from when until when in the order of all events, and what came of it.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    key: &'static str,
    replica: usize,
    is_shared: bool,
    digest: TokenDigest,
    began: usize,
    ended: Option<usize>,
    ended_at: Duration,
    outcome: Result<Timestamp, Trouble>,
}

/// A token with the number of its exchange.
struct Granted {
    number: usize,
    expires_on: Timestamp,
}

impl Token for Granted {
    fn expires_on(&self) -> Timestamp {
        self.expires_on
    }

    fn bytes(&self) -> usize {
        100
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Token,
    User,
    Session,
    Away,
    Lost,
}

impl From<NoOutcome> for Trouble {
    fn from(_: NoOutcome) -> Self {
        Self::Lost
    }
}

impl Failure for Trouble {
    fn refusal_scope(&self) -> Option<RefusalScope> {
        match self {
            Self::Token => Some(RefusalScope::Token),
            Self::User => Some(RefusalScope::User),
            Self::Session => Some(RefusalScope::Session),
            Self::Away | Self::Lost => None,
        }
    }

    fn is_skipped(&self) -> bool {
        false
    }
}

/// ACS and what happened, in one order.
struct World {
    caches: Vec<TokenCache<&'static str, Granted, Trouble>>,
    // Where there are several.
    tier: Option<Arc<dyn SharedTier<&'static str, Granted>>>,
    clock: Arc<ManualClock>,
    events: Mutex<Events>,
}

#[derive(Default)]
struct Events {
    exchanges: Vec<Exchange>,
    // So many so far: beginnings and ends of calls and exchanges.
    count: usize,
}

impl Events {
    fn next(&mut self) -> usize {
        self.count += 1;
        self.count
    }
}

async fn yield_at_random(random: &mut fastrand::Rng, most: usize) {
    for _ in 0..random.usize(..=most) {
        tokio::task::yield_now().await;
    }
}

impl World {
    async fn exchange(
        &self,
        (replica, key): (usize, &'static str),
        lookup: Lookup,
        claim: Claim,
        mut random: fastrand::Rng,
    ) -> Result<Exchanged<Granted>, Trouble> {
        loop {
            match claim.take().await {
                Turn::Own => break,
                Turn::Found => return Ok(Exchanged::Elsewhere),
                Turn::Others(remaining) => {
                    if claim.wait(remaining).await {
                        return Ok(Exchanged::Elsewhere);
                    }
                }
            }
        }
        let is_shared = claim.is_shared();
        let number = {
            let mut events = self.events.lock().unwrap();
            let mut under_way = events.exchanges.iter().filter(|other| other.ended.is_none());
            assert!(
                !is_shared || !under_way.any(|other| other.is_shared && other.key == key),
                "two replicas exchange for one key at once"
            );
            let own = |other: &&Exchange| (other.replica, other.key, other.digest) == (replica, key, lookup.digest);
            let now = self.clock.monotonic();
            // One for all callers of the key, and one of its own.
            let under_way = events
                .exchanges
                .iter()
                .filter(own)
                .filter(|other| other.ended.is_none());
            assert!(under_way.count() < 2, "three exchanges of one token at once");
            for other in events.exchanges.iter().filter(own) {
                let is_refusal = other.outcome.is_err_and(|trouble| trouble.refusal_scope().is_some());
                let is_remembered = is_refusal && now.saturating_sub(other.ended_at) < refusals::REMEMBER_FOR;
                assert!(
                    !is_remembered,
                    "a token is exchanged again that was refused a moment ago"
                );
            }
            let began = events.next();
            events.exchanges.push(Exchange {
                key,
                replica,
                is_shared,
                digest: lookup.digest,
                began,
                ended: None,
                ended_at: now,
                outcome: Err(Trouble::Lost),
            });
            events.exchanges.len() - 1
        };
        yield_at_random(&mut random, 6).await;
        let longer = Duration::from_secs(if random.u8(0..10) == 0 { 3600 } else { 0 });
        let whole = self.clock.now() + Duration::from_secs(60 * MINUTE);
        let outcome = match random.u8(0..20) {
            0 => Err(Trouble::Token),
            1 => Err(Trouble::User),
            2 => Err(Trouble::Session),
            3 => Err(Trouble::Away),
            _ => Ok(lookup.token_expires_on.unwrap_or(whole) + longer),
        };
        let mut events = self.events.lock().unwrap();
        let ended = events.next();
        let exchange = &mut events.exchanges[number];
        (exchange.ended, exchange.ended_at, exchange.outcome) = (Some(ended), self.clock.monotonic(), outcome);
        outcome.map(|expires_on| Exchanged::Token(Granted { number, expires_on }))
    }

    /// One call, and whether what came of it may be.
    async fn call(self: &Arc<Self>, key: &'static str, lookup: Lookup, mut random: fastrand::Rng) {
        let replica = random.usize(..self.caches.len());
        let began = self.events.lock().unwrap().next();
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let world = Arc::clone(self);
        let seed = random.u64(..);
        let exchange = move |_, _, claim| {
            let (world, random) = (Arc::clone(&world), fastrand::Rng::with_seed(seed));
            async move { world.exchange((replica, key), lookup, claim, random).await }
        };
        let cache = &self.caches[replica];
        let outcome = cache
            .get(key, &lookup, self.tier.as_ref(), exchange, Instant::now)
            .await;
        let events = self.events.lock().unwrap();
        let of_key = || events.exchanges.iter().filter(|exchange| exchange.key == key);
        let answer = match outcome {
            Ok(answer) => answer,
            Err(trouble) => {
                let theirs =
                    |exchange: &Exchange| exchange.digest == lookup.digest || trouble.refusal_scope().is_none();
                let mut same = of_key().filter(|exchange| exchange.outcome == Err(trouble));
                assert!(same.any(theirs), "{trouble:?} is nobody's answer to this token");
                return;
            }
        };
        let token = events.exchanges[answer.token.number];
        assert_eq!(token.key, key, "the token of another key");
        assert_eq!(token.outcome, Ok(answer.token.expires_on));
        let is_own = token.digest == lookup.digest;
        let most = lookup.token_expires_on.map(|end| end + MIN_GAIN);
        assert!(
            is_own || most.is_none_or(|most| answer.token.expires_on <= most),
            "more than ACS would give"
        );
        if answer.source.is_none() {
            return;
        }
        assert!(answer.token.expires_on.duration_since(now).unsigned_abs() >= MARGIN && answer.token.expires_on > now);
        let confirmed = of_key()
            .filter(|exchange| exchange.outcome.is_ok())
            .map(|exchange| exchange.ended_at)
            .max();
        let is_young = |max_age| confirmed.is_some_and(|confirmed| monotonic.saturating_sub(confirmed) < max_age);
        assert!(lookup.max_age.is_none_or(is_young), "ACS did not confirm it for long");
        let ends = |exchange: &&Exchange| exchange.outcome == Err(Trouble::Session) && exchange.replica == replica;
        for refusal in of_key().filter(ends) {
            let is_known = refusal.ended.is_some_and(|ended| ended + SETTLED < began);
            let is_of_before = token.ended.is_some_and(|ended| ended < refusal.began);
            let is_shared = !is_own || lookup.digest == refusal.digest;
            // An exchange of another replica since then says that it is good, and may have kept it since it ends later.
            let confirms =
                |other: &Exchange| other.outcome.is_ok() && other.replica != replica && other.ended > refusal.ended;
            let is_confirmed = of_key().any(confirms);
            assert!(
                is_confirmed || !(is_known && is_of_before && is_shared),
                "a refusal ended this token"
            );
        }
    }
}

/// So many events later the flight of a refusal has applied it.
const SETTLED: usize = 20;

fn lookups(clock: &ManualClock, random: &mut fastrand::Rng) -> Lookup {
    // Few tokens, so that they meet; each has its own end and its own rule.
    let number = random.u64(0..4) + 4 * (clock.monotonic().as_secs() / (30 * MINUTE));
    let minutes = 35 + number * 7 % 60 + 30 * (clock.monotonic().as_secs() / (30 * MINUTE));
    let start: Timestamp = START.parse().unwrap();
    Lookup {
        digest: TokenDigest::new(&BearerToken::new(number.to_string())),
        token_expires_on: (!number.is_multiple_of(5)).then(|| start + Duration::from_secs(minutes * MINUTE)),
        max_age: number.is_multiple_of(3).then(|| Duration::from_secs(10 * MINUTE)),
    }
}

const START: &str = "2026-11-24T12:00:00Z";

async fn scenario(seed: u64, replicas: usize) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let clock = ManualClock::at(START.parse().unwrap());
    let config = CacheConfig {
        max_entries: 100,
        max_bytes: 1_000_000,
        renewal: RenewalConfig {
            expiry_margin: MARGIN,
            min_remaining: Duration::from_secs(10 * MINUTE),
            refresh_ahead: Duration::from_secs(20 * MINUTE),
            refresh_jitter: Duration::from_secs(MINUTE),
            min_gain: MIN_GAIN,
            renewal_backoff: Duration::from_secs(30),
        },
    };
    let cache = || TokenCache::new(&config, Arc::clone(&clock) as SharedClock);
    let store = Arc::new(Store::default());
    let world = Arc::new(World {
        caches: (0..replicas).map(|_| cache()).collect(),
        tier: (replicas > 1).then(|| Arc::new(Tier(store)) as _),
        clock: Arc::clone(&clock),
        events: Mutex::default(),
    });
    let ended = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (world, mut random) = (Arc::clone(&world), random.fork());
            tokio::spawn(async move {
                for _ in 0..40 {
                    let key = KEYS[random.usize(..KEYS.len())];
                    let lookup = lookups(&world.clock, &mut random);
                    let call = world.call(key, lookup, random.fork());
                    // Some leave before they are answered.
                    let leaves = random.u8(0..8) == 0;
                    tokio::select! {
                        () = call => {}
                        () = yield_at_random(&mut random, 6), if leaves => {}
                    }
                    yield_at_random(&mut random, 4).await;
                }
            })
        })
        .collect();
    let time = tokio::spawn({
        let (ended, mut random) = (Arc::clone(&ended), random.fork());
        async move {
            while !ended.load(Ordering::SeqCst) {
                clock.advance(Duration::from_secs(random.u64(0..120)));
                // For those who wait for another replica; a lease is longer than any exchange here.
                tokio::time::advance(Duration::from_millis(random.u64(0..10))).await;
                yield_at_random(&mut random, 8).await;
            }
        }
    });
    for caller in callers {
        assert!(caller.await.is_ok(), "a promise is broken with the seed {seed}");
    }
    ended.store(true, Ordering::SeqCst);
    time.await.unwrap();
    let events = world.events.lock().unwrap();
    (8 * 40, events.exchanges.len())
}

#[tokio::test(start_paused = true)]
async fn random_interleavings_give_nobody_more_than_they_may_have() {
    let (mut calls, mut exchanges) = (0, 0);
    for seed in 0..100 {
        let (called, made) = scenario(seed, 1).await;
        calls += called;
        exchanges += made;
    }
    assert!(
        exchanges > 500 && exchanges < calls,
        "{exchanges} exchanges in {calls} calls"
    );
}

#[tokio::test(start_paused = true)]
async fn replicas_with_one_store_give_nobody_more_and_take_turns() {
    let (mut calls, mut exchanges) = (0, 0);
    for seed in 0..100 {
        let (called, made) = scenario(seed, 3).await;
        calls += called;
        exchanges += made;
    }
    assert!(
        exchanges > 500 && exchanges < calls,
        "{exchanges} exchanges in {calls} calls"
    );
}
