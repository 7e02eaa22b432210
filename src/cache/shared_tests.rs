//! Several caches, as of several replicas, over one store: what the store promises, by a model of it in memory.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::shared::{Kept, Lease, Leased, SharedEntry, SharedTier, Turn};
use super::tests::{Granted, Trouble, config};
use super::*;
use base::clock::{Clock as _, ManualClock};
use base::secret::BearerToken;

const MINUTE: u64 = 60;
const LEASE: Duration = Duration::from_secs(5);

/// The store, for tokens of any kind.
pub(super) struct Store<T> {
    values: Mutex<HashMap<&'static str, (Arc<T>, Timestamp)>>,
    leases: Mutex<HashMap<&'static str, (usize, tokio::time::Instant)>>,
    owners: AtomicUsize,
    away: AtomicBool,
    // Deletions are lost.
    deaf: AtomicBool,
    looks: AtomicUsize,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            values: Mutex::default(),
            leases: Mutex::default(),
            owners: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            looks: AtomicUsize::new(0),
        }
    }
}

pub(super) struct Tier<T>(pub(super) Arc<Store<T>>);

struct Key<T> {
    store: Arc<Store<T>>,
    key: &'static str,
}

struct HeldLease<T> {
    store: Arc<Store<T>>,
    key: &'static str,
    owner: usize,
}

impl<T: Token> Lease for HeldLease<T> {}

impl<T> Drop for HeldLease<T> {
    fn drop(&mut self) {
        let mut leases = self.store.leases.lock().unwrap();
        if leases.get(self.key).is_some_and(|(owner, _)| *owner == self.owner) {
            leases.remove(self.key);
        }
    }
}

impl<T: Token> SharedTier<&'static str, T> for Tier<T> {
    fn entry(&self, key: &&'static str) -> Arc<dyn SharedEntry<T>> {
        Arc::new(Key {
            store: Arc::clone(&self.0),
            key,
        })
    }
}

impl<T> Key<T> {
    async fn is_away(&self) -> bool {
        tokio::task::yield_now().await;
        self.store.away.load(Ordering::SeqCst)
    }
}

impl<T: Token> SharedEntry<T> for Key<T> {
    fn get(&self) -> BoxFuture<'_, Option<Kept<T>>> {
        Box::pin(async move {
            self.store.looks.fetch_add(1, Ordering::SeqCst);
            if self.is_away().await {
                return None;
            }
            let values = self.store.values.lock().unwrap();
            let (token, exchanged_at) = values.get(self.key)?;
            Some(Kept {
                token: Arc::clone(token),
                exchanged_at: *exchanged_at,
            })
        })
    }

    fn put<'a>(&'a self, kept: &'a Kept<T>, revalidated: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.is_away().await {
                return;
            }
            let mut values = self.store.values.lock().unwrap();
            let replaces = values.get(self.key).is_none_or(|(held, exchanged_at)| {
                kept.token.expires_on() > held.expires_on() || (revalidated && kept.exchanged_at > *exchanged_at)
            });
            if replaces {
                values.insert(self.key, (Arc::clone(&kept.token), kept.exchanged_at));
            }
        })
    }

    fn delete(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.is_away().await && !self.store.deaf.load(Ordering::SeqCst) {
                self.store.values.lock().unwrap().remove(self.key);
            }
        })
    }

    fn lease(&self) -> BoxFuture<'_, Leased> {
        Box::pin(async move {
            if self.is_away().await {
                return Leased::Away;
            }
            let now = tokio::time::Instant::now();
            let mut leases = self.store.leases.lock().unwrap();
            if let Some((_, until)) = leases.get(self.key).filter(|(_, until)| *until > now) {
                return Leased::Taken(until.saturating_duration_since(now));
            }
            let owner = self.store.owners.fetch_add(1, Ordering::SeqCst);
            leases.insert(self.key, (owner, now + LEASE));
            Leased::Held {
                lease: Box::new(HeldLease {
                    store: Arc::clone(&self.store),
                    key: self.key,
                    owner,
                }),
                length: LEASE,
            }
        })
    }
}

/// ACS, for all replicas.
#[derive(Default)]
struct Acs {
    calls: AtomicUsize,
    trouble: Mutex<Option<Trouble>>,
    gate: Mutex<Option<Arc<Notify>>>,
    // Exchanges that never end: their replica died.
    dies: AtomicBool,
}

struct Replica {
    cache: Arc<TokenCache<&'static str, Granted, Trouble>>,
    tier: Arc<dyn SharedTier<&'static str, Granted>>,
}

struct Bench {
    replicas: Vec<Replica>,
    store: Arc<Store<Granted>>,
    acs: Arc<Acs>,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new(replicas: usize) -> Self {
        let mut bench = Self {
            replicas: Vec::new(),
            store: Arc::default(),
            acs: Arc::default(),
            clock: ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap()),
        };
        (0..replicas).for_each(|_| bench.start_replica());
        bench
    }

    /// A replica with an empty memory.
    fn start_replica(&mut self) {
        self.replicas.push(Replica {
            cache: Arc::new(TokenCache::new(&config(), Arc::clone(&self.clock) as SharedClock)),
            tier: Arc::new(Tier(Arc::clone(&self.store))),
        });
    }

    fn token(&self, name: &str, minutes: u64) -> Lookup {
        Lookup {
            digest: TokenDigest::new(&BearerToken::new(name)),
            token_expires_on: Some(self.clock.now() + Duration::from_secs(minutes * MINUTE)),
            max_age: None,
        }
    }

    /// A caller's request at a replica: how it was answered, from where, and by which exchange.
    fn get(
        &self,
        replica: usize,
        key: &'static str,
        lookup: Lookup,
    ) -> impl Future<Output = Result<(Outcome, Option<Source>, usize), Trouble>> + Send + 'static {
        let (cache, tier) = (
            Arc::clone(&self.replicas[replica].cache),
            Arc::clone(&self.replicas[replica].tier),
        );
        let acs = Arc::clone(&self.acs);
        async move {
            let exchange = move |mode, ticket: Ticket, claim: Claim| {
                let acs = Arc::clone(&acs);
                async move {
                    loop {
                        match claim.take().await {
                            Turn::Own => break,
                            Turn::Found => return Ok(Exchanged::Elsewhere),
                            Turn::Others(_) if mode == RunMode::BackgroundRenewal => return Err(Trouble::Away),
                            Turn::Others(remaining) => {
                                if ticket.wait_for(claim.wait(remaining)).await.ok_or(Trouble::Lost)? {
                                    return Ok(Exchanged::Elsewhere);
                                }
                            }
                        }
                    }
                    let serial = acs.calls.fetch_add(1, Ordering::SeqCst) + 1;
                    if acs.dies.swap(false, Ordering::SeqCst) {
                        std::future::pending::<()>().await;
                    }
                    let gate = acs.gate.lock().unwrap().clone();
                    if let Some(gate) = gate {
                        gate.notified().await;
                    }
                    if let Some(trouble) = *acs.trouble.lock().unwrap() {
                        return Err(trouble);
                    }
                    Ok(Exchanged::Token(Granted {
                        expires_on: lookup.token_expires_on.unwrap(),
                        serial,
                    }))
                }
            };
            let answer = cache.get(key, &lookup, Some(&tier), exchange, Instant::now).await?;
            Ok((answer.outcome, answer.source, answer.token.serial))
        }
    }

    fn calls(&self) -> usize {
        self.acs.calls.load(Ordering::SeqCst)
    }

    fn fail(&self, trouble: Option<Trouble>) {
        *self.acs.trouble.lock().unwrap() = trouble;
    }

    fn advance(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(minutes * MINUTE));
    }
}

use Outcome::{Hit, Miss, Shared};
use Source::{Memory, Store as FromStore};

#[tokio::test(start_paused = true)]
async fn a_token_is_exchanged_once_for_all_replicas_and_restarts() {
    let mut bench = Bench::new(2);
    let token = bench.token("a", 60);
    assert_eq!(bench.get(0, "k", token).await, Ok((Miss, None, 1)));
    assert_eq!(bench.get(0, "k", token).await, Ok((Hit, Some(Memory), 1)));
    let looks = bench.store.looks.load(Ordering::SeqCst);
    assert_eq!(bench.get(1, "k", token).await, Ok((Hit, Some(FromStore), 1)));
    assert_eq!(bench.get(1, "k", token).await, Ok((Hit, Some(Memory), 1)));
    assert_eq!(
        bench.store.looks.load(Ordering::SeqCst),
        looks + 1,
        "memory comes first"
    );
    bench.start_replica();
    assert_eq!(
        bench.get(2, "k", bench.token("b", 61)).await,
        Ok((Hit, Some(FromStore), 1))
    );
    assert_eq!(bench.get(1, "other", token).await, Ok((Miss, None, 2)));
}

#[tokio::test(start_paused = true)]
async fn replicas_that_ask_at_once_make_one_exchange() {
    let bench = Bench::new(3);
    let gate = Arc::new(Notify::new());
    *bench.acs.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let token = bench.token("a", 60);
    let callers: Vec<_> = (0..12)
        .map(|caller| tokio::spawn(bench.get(caller % 3, "k", token)))
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.calls(), 1);
    gate.notify_one();
    let mut outcomes = Vec::new();
    for caller in callers {
        let (outcome, source, serial) = caller.await.unwrap().unwrap();
        assert_eq!(serial, 1);
        outcomes.push((outcome, source));
    }
    assert_eq!(bench.calls(), 1);
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!(count((Miss, None)), 1);
    assert_eq!(count((Shared, None)), 3, "at the replica that exchanged");
    assert_eq!(count((Shared, Some(FromStore))), 8, "at the others, who waited for it");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_dies_costs_others_no_more_than_its_lease() {
    let bench = Bench::new(2);
    bench.acs.dies.store(true, Ordering::SeqCst);
    let token = bench.token("a", 60);
    let dead = tokio::spawn(bench.get(0, "k", token));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(bench.get(1, "k", token).await, Ok((Miss, None, 2)));
    let waited = began.elapsed();
    assert!(
        waited <= LEASE && waited + Duration::from_secs(1) >= LEASE,
        "{waited:?}"
    );
    dead.abort();
}

#[tokio::test(start_paused = true)]
async fn who_waits_tries_once_the_holder_has_failed() {
    let bench = Bench::new(2);
    let gate = Arc::new(Notify::new());
    *bench.acs.gate.lock().unwrap() = Some(Arc::clone(&gate));
    bench.fail(Some(Trouble::Refused));
    let first = tokio::spawn(bench.get(0, "k", bench.token("refused", 60)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = tokio::spawn(bench.get(1, "k", bench.token("good", 60)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.notify_one();
    assert_eq!(first.await.unwrap(), Err(Trouble::Refused));
    bench.fail(None);
    *bench.acs.gate.lock().unwrap() = None;
    let began = tokio::time::Instant::now();
    assert_eq!(second.await.unwrap(), Ok((Miss, None, 2)));
    assert!(began.elapsed() < Duration::from_secs(1), "not the whole lease");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_is_judged_by_the_rule_of_what_memory_has() {
    let bench = Bench::new(3);
    bench.get(0, "k", bench.token("long", 60)).await.unwrap();
    // More than ACS would give for this token.
    assert_eq!(bench.get(1, "k", bench.token("short", 30)).await, Ok((Miss, None, 2)));
    assert_eq!(
        bench.get(1, "k", bench.token("short", 30)).await,
        Ok((Hit, Some(Memory), 2))
    );
    // That exchange is nobody else's.
    assert_eq!(
        bench.get(2, "k", bench.token("long too", 60)).await,
        Ok((Hit, Some(FromStore), 1))
    );
    assert_eq!(bench.get(2, "k", bench.token("short", 30)).await, Ok((Miss, None, 3)));
    // Too near its end.
    bench.clock.advance(Duration::from_secs(59 * MINUTE + 45));
    assert_eq!(bench.get(1, "k", bench.token("new", 60)).await, Ok((Miss, None, 4)));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_as_old_at_a_replica_that_has_just_begun() {
    let mut bench = Bench::new(1);
    let alone = |lookup| Lookup {
        max_age: Some(Duration::from_secs(10 * MINUTE)),
        ..lookup
    };
    bench.get(0, "k", alone(bench.token("a", 60))).await.unwrap();
    bench.advance(9);
    bench.start_replica();
    let token = alone(bench.token("b", 60));
    assert_eq!(bench.get(1, "k", token).await, Ok((Hit, Some(FromStore), 1)));
    bench.advance(1);
    assert_eq!(
        bench.get(1, "k", token).await,
        Ok((Miss, None, 2)),
        "confirmed after ten minutes"
    );
    // The confirmation counts for all.
    assert_eq!(bench.get(0, "k", token).await, Ok((Hit, Some(FromStore), 2)));
    bench.start_replica();
    assert_eq!(bench.get(2, "k", token).await, Ok((Hit, Some(FromStore), 2)));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_of_one_is_every_ones() {
    let bench = Bench::new(2);
    bench.get(0, "k", bench.token("a", 60)).await.unwrap();
    assert_eq!(
        bench.get(1, "k", bench.token("a", 60)).await,
        Ok((Hit, Some(FromStore), 1))
    );
    bench.advance(51);
    let new = bench.token("b", 60);
    assert_eq!(bench.get(0, "k", new).await, Ok((Miss, None, 2)));
    assert_eq!(bench.get(1, "k", new).await, Ok((Hit, Some(FromStore), 2)));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_refusal_ends_is_gone_for_replicas_that_have_not_seen_it() {
    for deaf in [false, true] {
        let mut bench = Bench::new(1);
        let token = bench.token("a", 60);
        bench.get(0, "k", token).await.unwrap();
        bench.advance(51);
        bench.fail(Some(Trouble::Ended));
        bench.store.deaf.store(deaf, Ordering::SeqCst);
        let renewing = bench.token("b", 60);
        assert_eq!(bench.get(0, "k", renewing).await, Err(Trouble::Ended));
        bench.fail(None);
        // Even where it could not be deleted, it does not come back here.
        assert_eq!(
            bench.get(0, "k", bench.token("a", 9)).await,
            Ok((Miss, None, 3)),
            "{deaf}"
        );
        bench.start_replica();
        if !deaf {
            assert_eq!(
                bench.get(1, "k", bench.token("a", 9)).await,
                Ok((Hit, Some(FromStore), 3)),
                "what came after the refusal"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_replica_goes_on_by_itself() {
    let bench = Bench::new(2);
    bench.store.away.store(true, Ordering::SeqCst);
    let token = bench.token("a", 60);
    assert_eq!(bench.get(0, "k", token).await, Ok((Miss, None, 1)));
    assert_eq!(bench.get(1, "k", token).await, Ok((Miss, None, 2)));
    assert_eq!(bench.get(1, "k", token).await, Ok((Hit, Some(Memory), 2)));
    bench.store.away.store(false, Ordering::SeqCst);
    assert_eq!(bench.get(1, "k", token).await, Ok((Hit, Some(Memory), 2)));
    assert_eq!(bench.calls(), 2);
}
