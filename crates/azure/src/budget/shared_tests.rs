//! Budgets of several replicas over one store, which is a window here, as a budget by itself is.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::BoxFuture;

use super::*;
use base::clock::{Clock as _, ManualClock};

/// The store: the rule is that of `window`.
#[derive(Debug)]
struct Store {
    window: Mutex<Window>,
    paused_until: Mutex<Duration>,
    away: AtomicBool,
    told: AtomicU32,
    clock: Arc<ManualClock>,
}

#[derive(Debug)]
struct Connection(Arc<Store>);

#[derive(Debug)]
struct StorePlace(Arc<Store>);

impl SharedPlace for StorePlace {
    fn end(self: Box<Self>) {
        self.0.window.lock().unwrap().end(self.0.clock.monotonic());
    }

    fn give_back(self: Box<Self>) {
        self.0.window.lock().unwrap().give_back();
    }
}

impl SharedBudget for Connection {
    fn take(&self, share: Option<f64>, ahead: usize) -> BoxFuture<'_, SharedTurn> {
        Box::pin(async move {
            let store = &self.0;
            tokio::task::yield_now().await;
            if store.away.load(Ordering::SeqCst) {
                return SharedTurn::Away;
            }
            let now = store.clock.monotonic();
            let paused_until = *store.paused_until.lock().unwrap();
            if paused_until > now {
                return SharedTurn::Paused(paused_until.saturating_sub(now));
            }
            let mut window = store.window.lock().unwrap();
            let has_room = window.free(now) > 0 && share.is_none_or(|share| window.is_below(share, now));
            if has_room && ahead == 0 {
                window.take();
                return SharedTurn::Place(Box::new(StorePlace(Arc::clone(store))));
            }
            SharedTurn::Full(
                window
                    .turn(now, ahead)
                    .map_or(LONGEST_WAIT, |turn| turn.saturating_sub(now)),
            )
        })
    }

    fn pause(&self, length: Duration, is_new: bool) {
        let now = self.0.clock.monotonic();
        let mut paused_until = self.0.paused_until.lock().unwrap();
        if is_new && *paused_until <= now {
            self.0.window.lock().unwrap().halve(now, now + length);
        }
        *paused_until = (*paused_until).max(now + length);
    }

    fn count(&self, requests: u32) {
        self.0.told.fetch_add(requests, Ordering::SeqCst);
        let now = self.0.clock.monotonic();
        let mut window = self.0.window.lock().unwrap();
        for _ in 0..requests {
            window.take();
            window.end(now);
        }
    }

    fn last_known(&self) -> Option<SharedStatus> {
        None
    }

    fn look(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Replica {
    budget: Arc<Budget>,
    pause: Arc<Pause>,
}

/// So many replicas, a budget of `count` in 30 s, of which each has its part where the store is away.
fn replicas(replicas: u32, count: u32) -> (Vec<Replica>, Arc<Store>, Arc<ManualClock>) {
    let clock = ManualClock::at("2026-11-30T12:00:00Z".parse().unwrap());
    let rate = Rate {
        count,
        window: Duration::from_secs(30),
    };
    let store = Arc::new(Store {
        window: Mutex::new(Window::new(rate)),
        paused_until: Mutex::default(),
        away: AtomicBool::new(false),
        told: AtomicU32::new(0),
        clock: Arc::clone(&clock),
    });
    let replica = |_| {
        let shared = || Arc::clone(&clock) as SharedClock;
        let pause = Arc::new(Pause::new(shared()));
        let settings = BudgetSettings {
            rate: rate.shared_by(replicas),
            queue: 100,
            renewal_share: 0.5,
        };
        let connection = Arc::new(Connection(Arc::clone(&store)));
        Replica {
            budget: Budget::shared(settings, connection, Arc::clone(&pause), shared()),
            pause,
        }
    };
    ((0..replicas).map(replica).collect(), store, clock)
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

async fn now(replica: &Replica) -> Option<Place> {
    match replica.budget.turn(in_seconds(1)).await {
        Ok(Turn::Now(place)) => Some(place),
        Ok(Turn::Later(_)) => panic!("it would be too late"),
        Err(_) => None,
    }
}

async fn send(replica: &Replica) -> bool {
    let place = now(replica).await;
    place.map(|mut place| place.set_sent(true)).is_some()
}

async fn later(replica: &Replica) -> oneshot::Receiver<Result<Place, Withheld>> {
    match replica.budget.turn(in_seconds(120)).await {
        Ok(Turn::Later(turn)) => turn,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_take_from_one_budget() {
    let (replicas, _, clock) = replicas(3, 6);
    // Not each its part, but whoever comes.
    for sent in 0..6 {
        assert!(send(&replicas[usize::from(sent == 5)]).await, "{sent}");
    }
    for replica in &replicas {
        assert!(!send(replica).await && replica.budget.place().await.is_none());
    }
    clock.advance(Duration::from_secs(30));
    for _ in 0..3 {
        assert!(replicas[2].budget.place_for_renewal().await.is_some_and(|mut place| {
            place.set_sent(true);
            true
        }));
    }
    assert!(
        replicas[0].budget.place_for_renewal().await.is_none(),
        "half of it is for others"
    );
    assert!(send(&replicas[0]).await);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_order_from_what_others_free() {
    let (replicas, _, clock) = replicas(2, 1);
    let held = now(&replicas[0]).await.unwrap();
    let mut first = later(&replicas[1]).await;
    let mut second = later(&replicas[1]).await;
    assert!(replicas[1].budget.place().await.is_none());
    // Given back unsent, at the other replica.
    drop(held);
    let place = (&mut first).await.unwrap().unwrap();
    assert!(second.try_recv().is_err());
    let mut place = place;
    place.set_sent(true);
    drop(place);
    clock.advance(Duration::from_secs(30));
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn each_has_its_part_while_the_store_is_away_and_tells_of_it_later() {
    let (replicas, store, clock) = replicas(2, 5);
    store.away.store(true, Ordering::SeqCst);
    for replica in &replicas {
        assert!(send(replica).await && send(replica).await && !send(replica).await);
    }
    clock.advance(Duration::from_secs(10));
    store.away.store(false, Ordering::SeqCst);
    // The store has not heard of the four yet; from the first answer on it counts those of each replica.
    assert!(replicas[0].budget.place().await.is_some());
    assert!(replicas[1].budget.place().await.is_some());
    assert_eq!(store.told.load(Ordering::SeqCst), 4);
    assert!(send(&replicas[0]).await);
    assert!(!send(&replicas[0]).await && !send(&replicas[1]).await);
    // One of one's own counts here too, once the store is gone again.
    store.away.store(true, Ordering::SeqCst);
    assert!(!send(&replicas[0]).await);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_one_answers_those_who_wait_at_another() {
    let (replicas, _, clock) = replicas(2, 10);
    for _ in 0..10 {
        assert!(send(&replicas[0]).await);
    }
    let waiting = later(&replicas[1]).await;
    let (is_new, until) = replicas[0].pause.extend(Duration::from_secs(40));
    replicas[0].budget.pause(is_new, until);
    let refused = waiting.await.unwrap();
    assert!(matches!(refused, Err(Withheld::Paused(_))), "{refused:?}");
    assert!(
        replicas[1].pause.remaining().is_some(),
        "the next is not even asked for"
    );
    assert!(matches!(
        replicas[1].budget.turn(in_seconds(60)).await,
        Err(NoPlace::Withheld(Withheld::Paused(_)))
    ));
    clock.advance(Duration::from_secs(41));
    let mut served = 0;
    while send(&replicas[served % 2]).await {
        served += 1;
    }
    assert_eq!(served, 5, "halved once, for all");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_leaves_nobody_waiting() {
    let (replicas, store, clock) = replicas(2, 2);
    assert!(send(&replicas[0]).await && send(&replicas[0]).await);
    let waiting = later(&replicas[1]).await;
    store.away.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    assert!(waiting.await.unwrap().is_ok(), "this replica has sent nothing yet");
}
