//! Servers that answer, and refuse: replicas, full ones, passwords and permissions.

use std::time::Duration;

use config::{SecretSource, SharedCacheConfig, StoreAuth, StoreServer};
use secrecy::SecretString;
use shared_cache::{Failure, Found, Leased, Operation, Outcome, Taken};

use crate::budget::ask;
use crate::failures::nothing_is_had;
use crate::server::Server;
use crate::support::{PREFIX, Replica, entry, eventually, settings};

fn with_password(server: StoreServer, username: Option<&str>, password: &str) -> SharedCacheConfig {
    SharedCacheConfig {
        auth: StoreAuth::Password {
            username: username.map(str::to_owned),
            password: Some(SecretSource::Value(SecretString::from(password))),
        },
        ..settings(vec![server])
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
    let replica = Replica::with(SharedCacheConfig {
        auth: StoreAuth::Password {
            username: Some("broker".to_owned()),
            password: Some(SecretSource::File(file.clone())),
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

/// What docs/shared-cache.md says that the broker's user needs.
const PERMISSIONS: [&str; 17] = [
    "+get",
    "+getrange",
    "+strlen",
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_user_with_few_permissions_is_enough() {
    let server = server_with_user().await;
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
    drop(lease);
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
}

/// A server with the user that the documents describe.
async fn server_with_user() -> Server {
    let server = Server::with_password("administrator").await;
    let pattern = format!("~{PREFIX}*");
    let user = ["ACL", "SETUSER", "broker", "on", ">secret", pattern.as_str(), "-@all"];
    server.say::<()>(&[&user, &PERMISSIONS[..]].concat()).await;
    server
}

/// Each of them, missing when the broker connects, and taken while it is connected.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_permission_that_is_missing_is_named() {
    let server = server_with_user().await;
    let change = async |change: &str| server.say::<()>(&["ACL", "SETUSER", "broker", change]).await;
    let connected = Replica::with(with_password(server.node(), Some("broker"), "secret"))
        .await
        .connected()
        .await;
    let told = async |replica: &Replica, lacks: &str| {
        let mut last = String::new();
        eventually(lacks, async || {
            last = replica
                .cache
                .status()
                .failure
                .map(|failure| failure.to_string())
                .unwrap_or_default();
            last.ends_with(&format!("the user lacks the permissions {lacks}"))
        })
        .await;
        assert!(!last.contains("secret"), "{last}");
        assert!(!replica.cache.status().is_reachable());
    };
    for permission in PERMISSIONS {
        change(&permission.replace('+', "-")).await;
        let replica = Replica::with(with_password(server.node(), Some("broker"), "secret")).await;
        told(&replica, permission).await;
        change(permission).await;
        replica.until_reachable().await;
    }
    // The one that looked well all the while.
    assert!(connected.cache.status().is_reachable());
    let alice = entry("alice");
    for (command, permission) in [("-getrange", "+getrange"), ("-zadd", "+zadd")] {
        change(command).await;
        if permission == "+zadd" {
            // Within a script.
            assert!(matches!(connected.cache.budget("e").take(&ask(2)).await, Taken::Away));
        } else {
            assert_eq!(connected.cache.get(&alice).await, Found::Away);
        }
        told(&connected, permission).await;
        change(permission).await;
        connected.until_reachable().await;
    }
    // Keys of another prefix.
    server
        .say::<()>(&["ACL", "SETUSER", "broker", "resetkeys", "~other:*", "-hset"])
        .await;
    let replica = Replica::with(with_password(server.node(), Some("broker"), "secret")).await;
    told(&replica, &format!("+hset ~{PREFIX}*")).await;
    // What was tried out is not left.
    assert_eq!(server.keys().await, Vec::<String>::new());
}
