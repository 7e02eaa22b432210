//! The store away, slow, full, read-only, or not ours: no wrong answer, and a request waits for it once at most.

use std::sync::Arc;
use std::time::Duration;

use config::SecretSource;
use secrecy::SecretString;
use shared_cache::{Authentication, Failure, Found, Leased, Operation, Outcome, Settings, Taken};
use tokio::time::Instant;

use crate::budget::ask;
use crate::proxy::Proxy;
use crate::server::{Server, free_port};
use crate::support::{PREFIX, Replica, entry, eventually, settings};

/// Everything that is asked of the store, none of which it answers.
async fn nothing_is_had(replica: &Replica) {
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

fn with_password(node: shared_cache::Node, username: Option<&str>, password: &str) -> Settings {
    Settings {
        authentication: Authentication::Password {
            username: username.map(str::to_owned),
            password: SecretSource::Value(SecretString::from(password)),
        },
        ..settings(vec![node])
    }
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
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
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
    let replica = Replica::with(Settings {
        timeout,
        ..settings(vec![proxy.node.clone()])
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
    assert!(start.elapsed() < timeout, "{:?}", start.elapsed());
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
    let replica = Replica::with(Settings {
        timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(500),
        ..settings(vec![proxy.node.clone()])
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
    let replica = Replica::with(Settings {
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
    let replica = Replica::of(proxy.node.clone()).await;
    for _ in 0..5 {
        proxy.cut();
        replica.until_away().await;
        replica.until_reachable().await;
        assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_replica_that_takes_no_writes_is_no_store() {
    let main = Server::start().await;
    let port = main.port.to_string();
    let read_only = Server::with(&["--replicaof", "127.0.0.1", &port]).await;
    let replica = Replica::with(settings(vec![read_only.node()])).await;
    eventually("refused", async || {
        matches!(replica.cache.status().failure, Some(Failure::Refused { .. }))
    })
    .await;
    let failure = replica.cache.status().failure.unwrap().to_string();
    assert!(failure.ends_with("READONLY"), "{failure}");
    nothing_is_had(&replica).await;
    // It becomes the one that takes them.
    read_only.say::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    replica.until_reachable().await;
    // And is demoted in mid-operation.
    read_only.say::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    assert_eq!(replica.counts.of(Operation::Put, Outcome::Error), 1);
    nothing_is_had(&replica).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_full_store_still_gives_what_it_has() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    server
        .say::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await;
    server.say::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(matches!(replica.cache.get(&entry("alice")).await, Found::Value(_)));
    replica
        .cache
        .put(&entry("bob"), &replica.value("x", 3600, 0), false)
        .await;
    assert!(matches!(
        replica.cache.lease(&entry("bob"), Duration::from_secs(1)).await,
        Leased::Away
    ));
    // A script that has made room by itself may write.
    let taken = replica.cache.budget("e").take(&ask(5)).await;
    assert!(matches!(taken, Taken::Place(_) | Taken::Away), "{taken:?}");
    assert_eq!(replica.counts.of(Operation::Put, Outcome::Error), 1);
    assert!(replica.cache.status().is_reachable());
    replica.cache.delete(&entry("alice")).await;
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_wrong_password_is_told_without_being_told() {
    let server = Server::with_password("correct").await;
    for settings in [
        with_password(server.node(), None, "not-correct"),
        with_password(server.node(), Some("nobody"), "correct"),
        settings(vec![server.node()]),
    ] {
        let replica = Replica::with(settings).await;
        let failure = replica.cache.status().failure.unwrap();
        assert!(matches!(failure, Failure::Unauthenticated { .. }), "{failure:?}");
        let told = format!("{failure} {failure:?} {:?}", replica.cache);
        assert!(!told.contains("correct") && !told.contains("nobody"), "{told}");
        nothing_is_had(&replica).await;
    }
    Replica::with(with_password(server.node(), None, "correct"))
        .await
        .connected()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_password_that_is_changed_is_read_for_the_next_connection() {
    let server = Server::with_password("administrator").await;
    server
        .say::<()>(&["ACL", "SETUSER", "broker", "on", ">first", "~*", "+@all"])
        .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let replica = Replica::with(Settings {
        authentication: Authentication::Password {
            username: Some("broker".to_owned()),
            password: SecretSource::File(file.clone()),
        },
        ..settings(vec![server.node()])
    });
    let replica = replica.await.connected().await;
    server
        .say::<()>(&["ACL", "SETUSER", "broker", "resetpass", ">second"])
        .await;
    std::fs::write(&file, "second\n").unwrap();
    server.say::<i64>(&["CLIENT", "KILL", "USER", "broker"]).await;
    replica.until_away().await;
    replica.until_reachable().await;
}

/// What docs say that the broker's user needs, and no more.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_user_with_few_permissions_is_enough() {
    let server = Server::with_password("administrator").await;
    let pattern = format!("~{PREFIX}*");
    let permissions = [
        "+get",
        "+set",
        "+del",
        "+pttl",
        "+pexpire",
        "+eval",
        "+evalsha",
        "+time",
        "+zadd",
        "+zcard",
        "+zrange",
        "+zrem",
        "+zremrangebyscore",
        "+hmget",
        "+hset",
    ];
    let user = [
        &["ACL", "SETUSER", "broker", "on", ">secret", pattern.as_str(), "-@all"],
        &permissions[..],
    ]
    .concat();
    server.say::<()>(&user).await;
    let replica = Replica::with(with_password(server.node(), Some("broker"), "secret"))
        .await
        .connected()
        .await;
    let cache = &replica.cache;
    let alice = entry("alice");
    cache.put(&alice, &replica.value("x", 3600, 0), false).await;
    cache.put(&alice, &replica.value("x", 3700, 0), false).await;
    assert!(matches!(cache.get(&alice).await, Found::Value(_)));
    let Leased::Held(lease) = cache.lease(&alice, Duration::from_secs(30)).await else {
        panic!("no lease")
    };
    assert!(matches!(
        cache.lease(&alice, Duration::from_secs(30)).await,
        Leased::Taken { .. }
    ));
    cache.release(lease);
    let budget = cache.budget("e");
    let Taken::Place(place) = budget.take(&ask(2)).await else {
        panic!("no place")
    };
    place.end();
    let Taken::Place(place) = budget.take(&ask(2)).await else {
        panic!("no place")
    };
    place.give_back();
    budget.pause(Duration::from_millis(500), true, Duration::from_secs(30));
    eventually("paused and given back", async || {
        let status = budget.status(ask(2).rate).await.unwrap();
        status.paused_for.is_some() && status.used == 1
    })
    .await;
    cache.delete(&alice).await;
    assert_eq!(cache.get(&alice).await, Found::Absent);
    for operation in [
        Operation::Get,
        Operation::Put,
        Operation::Delete,
        Operation::Lease,
        Operation::Budget,
    ] {
        assert_eq!(replica.counts.of(operation, Outcome::Error), 0, "{operation:?}");
    }
    // A permission that is missing is told.
    server.say::<()>(&["ACL", "SETUSER", "broker", "-del"]).await;
    let replica = Replica::with(with_password(server.node(), Some("broker"), "secret")).await;
    let failure = replica.cache.status().failure.unwrap().to_string();
    assert!(failure.ends_with("NOPERM"), "{failure}");
}

/// Callers who leave at any time, on a connection that all share: nobody gets another's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn answers_stay_with_their_questions_when_callers_leave() {
    const USERS: usize = 20;
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let replica = Arc::new(Replica::of(proxy.node.clone()).await);
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
                let patience = Duration::from_micros(random.u64(0..6000));
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
    assert!(answered > 50 && answered < 16 * 150, "{answered}");
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Rejected), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn what_was_deleted_while_the_store_was_away_is_deleted_when_it_is_back() {
    let server = Server::start().await;
    let proxy = Proxy::before(&server.node()).await;
    let replica = Replica::of(proxy.node.clone()).await;
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
    let nobody = shared_cache::Node {
        host: "127.0.0.1".to_owned(),
        port: free_port(),
        is_tls: false,
    };
    let replica = Replica::with(settings(vec![nobody])).await;
    assert!(matches!(
        replica.cache.status().failure,
        Some(Failure::NoConnection { .. })
    ));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let other = shared_cache::Node {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        is_tls: false,
    };
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
