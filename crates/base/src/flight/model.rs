//! Flights under random interleavings of callers who come, wait and leave, and of work that ends, waits or panics.
//!
//! Neither loom nor shuttle can run them: the outcome goes through tokio's `watch`, whose closing is what a flight is
//! given up by. So each caller and each piece of work yields a random number of times between its steps, on tokio's runtime
//! of one thread, where a seed decides all; and on one of several threads, where joining meets giving up at any instruction.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const KEYS: usize = 3;
const CALLERS: usize = 40;

/// What a flight ends with: its number, and whether it was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    flight: usize,
    given_up: bool,
}

#[derive(Default)]
struct Seen {
    // How many pieces of work are under way that were not given up, by key.
    working: [AtomicUsize; KEYS],
    begun: AtomicUsize,
    ended: AtomicUsize,
    given_up: AtomicUsize,
    panicked: Mutex<HashSet<usize>>,
    waited: AtomicUsize,
    shared: AtomicUsize,
}

/// Counts a piece of work as long as it lasts.
struct Work(Arc<Seen>, usize);

impl Work {
    fn begin(seen: &Arc<Seen>, key: usize) -> Self {
        let others = seen.working[key].fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "two pieces of work for one key");
        Self(Arc::clone(seen), key)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.working[self.1].fetch_sub(1, Ordering::SeqCst);
    }
}

async fn yield_at_random(random: &mut fastrand::Rng, most: usize) {
    for _ in 0..random.usize(..=most) {
        tokio::task::yield_now().await;
    }
}

async fn work(seen: Arc<Seen>, key: usize, flight: usize, ticket: Ticket, mut random: fastrand::Rng) -> Outcome {
    let mut own = Work::begin(&seen, key);
    yield_at_random(&mut random, 4).await;
    if random.u8(0..6) == 0 {
        seen.panicked.lock().unwrap().insert(flight);
        // Counted out first: the key is free when the panic has passed through.
        drop(own);
        panic!("on purpose");
    }
    for _ in 0..random.u8(0..3) {
        // While it waits it may be given up, and another flight work.
        drop(own);
        let mut waits = random.fork();
        if ticket.wait_for(yield_at_random(&mut waits, 12)).await.is_none() {
            seen.given_up.fetch_add(1, Ordering::SeqCst);
            return Outcome { flight, given_up: true };
        }
        own = Work::begin(&seen, key);
        yield_at_random(&mut random, 2).await;
    }
    drop(own);
    seen.ended.fetch_add(1, Ordering::SeqCst);
    Outcome {
        flight,
        given_up: false,
    }
}

/// One caller: comes, and waits for the outcome or leaves before it.
async fn caller(flights: Arc<Flights<usize, usize, Outcome>>, seen: Arc<Seen>, mut random: fastrand::Rng) {
    yield_at_random(&mut random, 30).await;
    let key = random.usize(..KEYS);
    let flight = Arc::new(Mutex::new(None));
    let (own, of_work) = (Arc::clone(&flight), random.fork());
    let waiter = flights.join_with(key, key, |ticket| {
        let number = seen.begun.fetch_add(1, Ordering::SeqCst);
        *own.lock().unwrap() = Some(number);
        work(Arc::clone(&seen), key, number, ticket, of_work)
    });
    let led = *flight.lock().unwrap();
    assert_eq!(waiter.leader, key, "the flight of another key");
    assert_eq!(waiter.is_leader, led.is_some(), "who runs the work is the leader");
    let waits = AtomicUsize::new(0);
    let outcome = waiter.outcome_or_wait(|| {
        waits.fetch_add(1, Ordering::SeqCst);
        Instant::now()
    });
    let leaves = random.bool();
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        () = yield_at_random(&mut random, 10), if leaves => return,
    };
    assert!(waits.load(Ordering::SeqCst) <= 1);
    seen.waited.fetch_add(waits.load(Ordering::SeqCst), Ordering::SeqCst);
    let Ok(outcome) = outcome else {
        let panicked = seen.panicked.lock().unwrap();
        let is_known = led.map_or(!panicked.is_empty(), |led| panicked.contains(&led));
        assert!(is_known, "an outcome is lost without a panic");
        return;
    };
    assert!(!outcome.given_up, "a flight is given up while somebody waits for it");
    assert!(
        led.is_none_or(|led| led == outcome.flight),
        "the outcome of another flight"
    );
    if led.is_none() {
        seen.shared.fetch_add(1, Ordering::SeqCst);
    }
}

async fn scenario(number: usize, all: &Seen) {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let (flights, seen) = (Arc::new(Flights::default()), Arc::new(Seen::default()));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(caller(Arc::clone(&flights), Arc::clone(&seen), random.fork())))
        .collect();
    for caller in callers {
        assert!(caller.await.is_ok(), "a promise is broken with the seed {number}");
    }
    let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    // Flights whose callers have all left end by themselves.
    let panicked = || seen.panicked.lock().unwrap().len();
    while count(&seen.begun) > count(&seen.ended) + count(&seen.given_up) + panicked()
        || (0..KEYS).any(|key| flights.join_existing(&key).is_some())
    {
        tokio::task::yield_now().await;
    }
    all.panicked.lock().unwrap().extend(
        seen.panicked
            .lock()
            .unwrap()
            .iter()
            .map(|flight| flight + 1000 * number),
    );
    for (sum, own) in [
        (&all.ended, &seen.ended),
        (&all.given_up, &seen.given_up),
        (&all.waited, &seen.waited),
        (&all.shared, &seen.shared),
    ] {
        sum.fetch_add(count(own), Ordering::SeqCst);
    }
}

/// That the scenarios together had everything in them.
fn everything_happened(all: &Seen) {
    for (what, count) in [
        ("ended", &all.ended),
        ("given up", &all.given_up),
        ("waited", &all.waited),
        ("shared", &all.shared),
    ] {
        let count = count.load(Ordering::SeqCst);
        assert!(count > 100, "{what}: only {count}");
    }
    assert!(all.panicked.lock().unwrap().len() > 100);
}

#[tokio::test]
async fn random_interleavings_keep_one_outcome_for_all() {
    let all = Seen::default();
    for seed in 0..200 {
        scenario(seed, &all).await;
    }
    everything_happened(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_keep_one_outcome_for_all() {
    let all = Seen::default();
    for seed in 0..200 {
        scenario(seed, &all).await;
    }
    everything_happened(&all);
}
