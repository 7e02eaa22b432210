//! The store away or slow: no wrong answer, and a request waits for it once at most.

use std::sync::Arc;
use std::time::Duration;

use config::SharedCacheConfig;
use shared_cache::{Failure, Found, Leased, Operation, Outcome, Taken};
use tokio::time::Instant;

use crate::budget::ask;
use crate::proxy::Proxy;
use crate::server::{Server, free_port};
use crate::support::{Replica, entry, eventually, local, settings};

/// Everything that is asked of the store, none of which it answers.
pub(crate) async fn nothing_is_had(replica: &Replica) {
    let cache = &replica.cache;
    assert_eq!(cache.get(&entry("alice")).await, Found::Away);
    cache.put(&entry("alice"), &replica.value("x", 3600, 0), false).await;
    assert!(matches!(
        cache.lease(&entry("alice"), Duration::from_secs(1)).await,
        Leased::Away
    ));
    let budget = cache.budget("https://contoso.communication.azure.com");
    assert!(matches!(budget.take(&ask(5)).await, Taken::Away));
    assert_eq!(budget.last_known(), None);
    cache.delete(&entry("alice")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_store_that_is_away_costs_nothing_and_is_found_when_it_comes() {
    let mut server = Server::start().await;
    server.kill();
    let replica = Replica::with(settings(vec![server.node()])).await;
    assert!(matches!(
        replica.cache.status().failure,
        Some(Failure::NoConnection { .. })
    ));
    let start = Instant::now();
    for _ in 0..100 {
        nothing_is_had(&replica).await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Skipped), 100);
    server.restart().await;
    replica.until_reachable().await;
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    assert!(matches!(replica.cache.get(&entry("alice")).await, Found::Value(_)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_store_that_is_killed_is_used_again_once_it_runs() {
    let mut server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    for round in 0..3 {
        replica
            .cache
            .put(&entry("alice"), &replica.value("x", 3600, 0), false)
            .await;
        assert!(
            matches!(replica.cache.get(&entry("alice")).await, Found::Value(_)),
            "round {round}"
        );
        // Scripts are gone with it.
        assert!(matches!(replica.cache.budget("e").take(&ask(5)).await, Taken::Place(_)));
        server.kill();
        replica.until_away().await;
        nothing_is_had(&replica).await;
        server.restart().await;
        replica.until_reachable().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_slow_store_is_waited_for_once_within_a_second() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let timeout = Duration::from_millis(100);
    let replica = Replica::with(SharedCacheConfig {
        timeout,
        ..settings(vec![proxy.server.clone()])
    });
    let replica = replica.await.connected().await;
    proxy.delay(Duration::from_millis(300));
    let start = Instant::now();
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Away);
    let waited = start.elapsed();
    assert!(waited >= timeout && waited < Duration::from_secs(1), "{waited:?}");
    let start = Instant::now();
    for _ in 0..50 {
        nothing_is_had(&replica).await;
    }
    assert!(start.elapsed() < timeout * 10, "{:?}", start.elapsed());
    // It answers, too late: it is not asked, and not connected to again and again.
    eventually("slow", async || {
        matches!(replica.cache.status().failure, Some(Failure::Slow { .. }))
    })
    .await;
    let connections = proxy.accepted();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Away);
    let timeouts: usize = [Operation::Get, Operation::Put, Operation::Lease, Operation::Budget]
        .map(|operation| replica.counts.of(operation, Outcome::Timeout))
        .iter()
        .sum();
    assert_eq!((timeouts, proxy.accepted()), (1, connections));
    proxy.delay(Duration::ZERO);
    replica.until_reachable().await;
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_partition_is_waited_for_once_and_gone_when_it_is_over() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let replica = Replica::with(SharedCacheConfig {
        timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(500),
        ..settings(vec![proxy.server.clone()])
    });
    let replica = replica.await.connected().await;
    let place = replica.cache.budget("e").take(&ask(1)).await;
    assert!(matches!(place, Taken::Place(_)));
    proxy.hold(true);
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Away);
    nothing_is_had(&replica).await;
    eventually("noticed", async || {
        matches!(replica.cache.status().failure, Some(Failure::NoAnswer { .. }))
    })
    .await;
    nothing_is_had(&replica).await;
    let timeouts = replica.counts.of(Operation::Get, Outcome::Timeout);
    assert_eq!(timeouts, 1);
    proxy.hold(false);
    replica.until_reachable().await;
    // The place is still counted: nobody forgot it.
    assert!(matches!(
        replica.cache.budget("e").take(&ask(1)).await,
        Taken::Full { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_frozen_server_is_left_alone_until_it_answers_again() {
    let server = Server::start().await;
    let replica = Replica::with(SharedCacheConfig {
        timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(500),
        ..settings(vec![server.node()])
    });
    let replica = replica.await.connected().await;
    server.freeze();
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Away);
    nothing_is_had(&replica).await;
    replica.until_away().await;
    server.thaw();
    replica.until_reachable().await;
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn cut_connections_are_made_anew() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let replica = Replica::of(proxy.server.clone()).await;
    for _ in 0..5 {
        proxy.cut();
        replica.until_away().await;
        replica.until_reachable().await;
        assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
    }
}

/// Callers who leave at any time, on a connection that all share: nobody gets another's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn answers_stay_with_their_questions_when_callers_leave() {
    const USERS: usize = 20;
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let replica = Arc::new(Replica::of(proxy.server.clone()).await);
    for user in 0..USERS {
        let value = replica.value(&user.to_string(), 3600, 0);
        replica.cache.put(&entry(&user.to_string()), &value, false).await;
    }
    proxy.delay(Duration::from_millis(1));
    let callers = (0..16).map(|seed| {
        let replica = Arc::clone(&replica);
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut answered = 0;
            for _ in 0..150 {
                let user = random.usize(..USERS).to_string();
                let patience = Duration::from_micros(random.u64(0..20_000));
                let user_entry = entry(&user);
                let asking = replica.cache.get(&user_entry);
                match tokio::time::timeout(patience, asking).await {
                    Ok(Found::Value(value)) => {
                        assert_eq!(value.payload.as_slice(), user.as_bytes());
                        answered += 1;
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => {}
                }
            }
            answered
        })
    });
    let mut answered = 0;
    for caller in callers.collect::<Vec<_>>() {
        answered += caller.await.unwrap();
    }
    assert!(answered > 20 && answered < 16 * 150, "{answered}");
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Rejected), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn what_was_deleted_while_the_store_was_away_is_deleted_when_it_is_back() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let replica = Replica::of(proxy.server.clone()).await;
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    proxy.hold(true);
    proxy.cut();
    replica.until_away().await;
    replica.cache.delete(&entry("alice")).await;
    assert_eq!(server.keys().await.len(), 1);
    proxy.hold(false);
    replica.until_reachable().await;
    eventually("deleted", async || server.keys().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_port_without_a_server_and_one_that_speaks_something_else() {
    let replica = Replica::with(settings(vec![local(free_port())])).await;
    assert!(matches!(
        replica.cache.status().failure,
        Some(Failure::NoConnection { .. })
    ));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let other = local(listener.local_addr().unwrap().port());
    let web = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let replica = Replica::with(settings(vec![other])).await;
    assert!(!replica.cache.status().is_reachable());
    nothing_is_had(&replica).await;
    web.abort();
}

/// What an answer that did not arrive may have done is undone, and what could not be said is said later.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn what_could_not_be_said_in_time_is_said_later() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let slow = SharedCacheConfig {
        timeout: Duration::from_millis(100),
        ..settings(vec![proxy.server.clone()])
    };
    let (slow, other) = (
        Replica::with(slow).await.connected().await,
        Replica::of(server.node()).await,
    );
    let (budget, others) = (slow.cache.budget("e"), other.cache.budget("e"));
    let used = async || others.status(ask(5).rate).await.unwrap().used;
    let Taken::Place(sent) = budget.take(&ask(5)).await else {
        panic!("no place")
    };
    let Taken::Place(unsent) = budget.take(&ask(5)).await else {
        panic!("no place")
    };

    proxy.delay(Duration::from_millis(300));
    assert!(matches!(budget.take(&ask(5)).await, Taken::Away));
    eventually("taken and given back", async || used().await == 2).await;
    proxy.delay(Duration::ZERO);
    slow.until_reachable().await;
    proxy.delay(Duration::from_millis(300));
    assert!(matches!(
        slow.cache.lease(&entry("alice"), Duration::from_secs(60)).await,
        Leased::Away
    ));
    proxy.delay(Duration::ZERO);
    eventually("released", async || {
        matches!(
            other.cache.lease(&entry("alice"), Duration::from_secs(60)).await,
            Leased::Held(_)
        )
    })
    .await;

    slow.until_reachable().await;
    proxy.hold(true);
    proxy.cut();
    slow.until_away().await;
    budget.pause(Duration::from_secs(60), true, Duration::from_secs(30));
    unsent.give_back();
    sent.end();
    assert_eq!(used().await, 2);
    proxy.hold(false);
    slow.cache.finish(Duration::from_secs(20)).await;
    let status = others.status(ask(5).rate).await.unwrap();
    assert!(status.used == 1 && status.paused_for.is_some(), "{status:?}");
}
