//! The budget that replicas share, in real time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::Rate;
use shared_cache::{Ask, SharedWindow, Taken};
use tokio::time::Instant;

use crate::server::Server;
use crate::support::{Replica, eventually};

const ENDPOINT: &str = "https://contoso.communication.azure.com";

pub(crate) fn ask(count: u32) -> Ask {
    Ask {
        rate: Rate {
            count,
            window: Duration::from_secs(30),
        },
        share: None,
        longest: Duration::from_secs(30),
        ahead: 0,
    }
}

async fn used(budget: &SharedWindow) -> u64 {
    budget.status(ask(10).rate).await.unwrap().used
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn places_are_taken_ended_and_given_back_for_all() {
    let server = Server::start().await;
    let (one, other) = (Replica::of(server.node()).await, Replica::of(server.node()).await);
    let (one, other) = (one.cache.budget(ENDPOINT), other.cache.budget(ENDPOINT));
    let Taken::Place(first) = one.take(&ask(2)).await else {
        panic!("no place")
    };
    let Taken::Place(second) = other.take(&ask(2)).await else {
        panic!("no place")
    };
    let Taken::Full { next_free_in } = one.take(&ask(2)).await else {
        panic!("three places")
    };
    // Were both to end now.
    assert!(
        next_free_in > Duration::from_secs(29) && next_free_in <= Duration::from_secs(30),
        "{next_free_in:?}"
    );
    second.give_back();
    eventually("given back", async || used(&one).await == 1).await;
    let Taken::Place(again) = one.take(&ask(2)).await else {
        panic!("no place")
    };
    first.end();
    drop(again);
    // They have ended, and count for a window more.
    assert!(matches!(other.take(&ask(2)).await, Taken::Full { .. }));
    assert_eq!(used(&other).await, 2);
    let known = other.last_known().unwrap();
    assert!(
        (known.limit - 10.0).abs() < 1e-6 && known.paused_for.is_none(),
        "{known:?}"
    );
    // Another endpoint has its own; no name of either stands in the store.
    let another = Replica::of(server.node()).await;
    let another = another.cache.budget("https://fabrikam.communication.azure.com");
    assert!(matches!(another.take(&ask(1)).await, Taken::Place(_)));
    assert!(
        !server
            .keys()
            .await
            .iter()
            .any(|key| key.contains("contoso") || key.contains("fabrikam"))
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn renewals_leave_a_part_to_others() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    let budget = replica.cache.budget(ENDPOINT);
    let renewal = Ask {
        share: Some(0.5),
        ..ask(4)
    };
    let mut places = Vec::new();
    for (asked, expected) in [
        (renewal, true),
        (renewal, true),
        (renewal, false),
        (ask(4), true),
        (ask(4), true),
        (ask(4), false),
    ] {
        match budget.take(&asked).await {
            Taken::Place(place) => {
                assert!(expected);
                places.push(place);
            }
            other => assert!(!expected, "{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_pause_is_everybodys_and_halves_once() {
    let server = Server::start().await;
    let (one, other) = (Replica::of(server.node()).await, Replica::of(server.node()).await);
    let (one, other) = (one.cache.budget(ENDPOINT), other.cache.budget(ENDPOINT));
    let window = Duration::from_secs(30);
    one.pause(Duration::from_secs(1), true, window);
    // Another replica was limited at the same time.
    other.pause(Duration::from_millis(500), true, window);
    let paused = async |budget: &SharedWindow| matches!(budget.take(&ask(10)).await, Taken::Paused { .. });
    eventually("paused", async || paused(&one).await && paused(&other).await).await;
    eventually("over", async || !paused(&other).await).await;
    let limit = other.status(ask(10).rate).await.unwrap().limit;
    assert!((limit - 5.0).abs() < 1e-6, "{limit}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn the_place_of_a_replica_that_died_counts_for_a_bounded_time() {
    let server = Server::start().await;
    let (one, other) = (Replica::of(server.node()).await, Replica::of(server.node()).await);
    let short = Ask {
        rate: Rate {
            count: 1,
            window: Duration::from_millis(200),
        },
        longest: Duration::from_millis(300),
        ..ask(1)
    };
    let start = Instant::now();
    let Taken::Place(place) = one.cache.budget(ENDPOINT).take(&short).await else {
        panic!("no place")
    };
    std::mem::forget(place);
    let budget = other.cache.budget(ENDPOINT);
    eventually("over", async || matches!(budget.take(&short).await, Taken::Place(_))).await;
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_place_that_nobody_waits_for_any_longer_is_given_back() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    let budget = replica.cache.budget(ENDPOINT);
    for _ in 0..200 {
        let asked = ask(1000);
        let mut taking = Box::pin(budget.take(&asked));
        let _ = futures_util::poll!(taking.as_mut());
        tokio::task::yield_now().await;
        drop(taking);
    }
    eventually("given back", async || used(&budget).await == 0).await;
    budget.count(3, Duration::from_secs(30));
    eventually("counted", async || used(&budget).await == 3).await;
}

/// Several replicas on real threads, each with its own connection. Each request is recorded from after its place was given to
/// before it is said to have ended, so that what is counted is at most what was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn replicas_together_keep_the_budget() {
    const COUNT: u32 = 7;
    const WINDOW: Duration = Duration::from_millis(60);
    let server = Server::start().await;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let mut replicas = Vec::new();
    for _ in 0..4 {
        replicas.push(Replica::of(server.node()).await);
    }
    let callers: Vec<_> = (0..16_u8)
        .map(|seed| {
            let budget = replicas[usize::from(seed) % 4].cache.budget(ENDPOINT);
            let sent = Arc::clone(&sent);
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed.into());
                for _ in 0..120 {
                    let asked = Ask {
                        rate: Rate {
                            count: COUNT,
                            window: WINDOW,
                        },
                        share: random.bool().then_some(0.8),
                        longest: Duration::from_secs(30),
                        ahead: 0,
                    };
                    match budget.take(&asked).await {
                        Taken::Place(place) if random.u8(..10) == 0 => place.give_back(),
                        Taken::Place(place) => {
                            let start = Instant::now();
                            tokio::time::sleep(Duration::from_micros(random.u64(..20_000))).await;
                            sent.lock().unwrap().push((start, Instant::now()));
                            place.end();
                        }
                        Taken::Full { next_free_in } => tokio::time::sleep(next_free_in.min(WINDOW)).await,
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let sent = sent.lock().unwrap();
    assert!(sent.len() > 100, "only {} requests", sent.len());
    for (last, _) in sent.iter() {
        let in_window = sent
            .iter()
            .filter(|(start, end)| start <= last && *end + WINDOW > *last);
        assert!(in_window.count() <= COUNT as usize);
    }
}
