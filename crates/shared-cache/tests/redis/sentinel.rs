//! A server that sentinels know, and its failovers.

use std::time::Duration;

use config::{SecretSource, SentinelConfig, SharedCacheConfig, StoreKind};
use secrecy::SecretString;
use shared_cache::{Failure, Found, Operation, Outcome, Taken};

use crate::budget::ask;
use crate::server::{Server, free_port};
use crate::support::{Replica, entry, eventually, local, settings};

const MASTER: &str = "broker-cache";

struct Group {
    main: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

impl Group {
    async fn start(password: Option<&str>) -> Self {
        let main = Server::with(&["--repl-diskless-sync-delay", "0"]).await;
        let port = main.port.to_string();
        let replica = Server::with(&["--replicaof", "127.0.0.1", &port]).await;
        eventually("replicating", async || {
            let role: String = replica.say(&["INFO", "replication"]).await;
            role.contains("master_link_status:up")
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let require = password.map_or(String::new(), |password| {
                format!("requirepass {password}\nsentinel sentinel-pass {password}\n")
            });
            let configuration = format!(
                "{require}sentinel monitor {MASTER} 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds {MASTER} 500\n\
                 sentinel failover-timeout {MASTER} 2000\n"
            );
            sentinels.push(Server::sentinel(&configuration, password).await);
        }
        for sentinel in &sentinels {
            eventually("knows the others", async || {
                let known: String = sentinel.say(&["INFO", "sentinel"]).await;
                known.contains("slaves=1,sentinels=3")
            })
            .await;
        }
        Self {
            main,
            replica,
            sentinels,
        }
    }

    fn settings(&self) -> SharedCacheConfig {
        SharedCacheConfig {
            kind: StoreKind::Sentinel(SentinelConfig {
                master: MASTER.to_owned(),
                username: None,
                password: None,
            }),
            ..settings(self.sentinels.iter().map(Server::node).collect())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn the_server_that_sentinels_name_is_used_and_followed() {
    let mut group = Group::start(None).await;
    let replica = Replica::with(group.settings()).await.connected().await;
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    assert_eq!(group.main.keys().await.len(), 1);
    let budget = replica.cache.budget("e");
    assert!(matches!(budget.take(&ask(5)).await, Taken::Place(_)));
    // Both are at the other server when this one dies.
    eventually("replicated", async || group.replica.keys().await.len() == 2).await;
    group.main.kill();
    replica.until_away().await;
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Away);
    replica.until_reachable().await;
    assert!(matches!(replica.cache.get(&entry("alice")).await, Found::Value(_)));
    assert!(matches!(budget.take(&ask(1)).await, Taken::Full { .. }));
    replica
        .cache
        .put(&entry("bob"), &replica.value("x", 3600, 0), false)
        .await;
    assert_eq!(group.replica.keys().await.len(), 3);
    // The old one comes back, is made a replica, and is not used.
    group.main.restart().await;
    eventually("replicating", async || {
        // Its connections are cut when it is made one.
        group
            .main
            .try_say::<Vec<String>>(&["KEYS", "*"])
            .await
            .is_ok_and(|keys| keys.len() == 3)
    })
    .await;
    assert!(matches!(replica.cache.get(&entry("bob")).await, Found::Value(_)));
    assert!(replica.cache.status().is_reachable());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_failover_that_was_asked_for_loses_no_answer() {
    let group = Group::start(None).await;
    let replica = Replica::with(group.settings()).await.connected().await;
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    eventually("replicated", async || group.replica.keys().await.len() == 1).await;
    group.sentinels[0].say::<()>(&["SENTINEL", "FAILOVER", MASTER]).await;
    let mut answers = 0;
    eventually("followed", async || {
        match replica.cache.get(&entry("alice")).await {
            Found::Value(value) => assert_eq!(value.payload.as_slice(), b"x"),
            Found::Away => {}
            Found::Absent => panic!("lost"),
        }
        replica
            .cache
            .put(&entry(&answers.to_string()), &replica.value("x", 3600, 0), false)
            .await;
        answers += 1;
        // Written there: it is the one in use.
        // Its own connections are cut meanwhile, as ours are.
        let role = group.replica.try_say::<String>(&["INFO", "replication"]).await;
        let keys = group.replica.try_say::<Vec<String>>(&["KEYS", "*"]).await;
        role.is_ok_and(|role| role.contains("role:master"))
            && keys.is_ok_and(|keys| keys.len() > 1)
            && replica.cache.status().is_reachable()
    })
    .await;
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Rejected), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn sentinels_that_are_away_do_not_keep_anybody_from_the_server() {
    let mut group = Group::start(None).await;
    let mut settings = group.settings();
    settings.servers.insert(0, local(free_port()));
    let replica = Replica::with(settings).await.connected().await;
    for sentinel in &mut group.sentinels {
        sentinel.kill();
    }
    // Longer than it takes until the sentinels are asked again.
    for _ in 0..14 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(replica.cache.status().is_reachable());
        assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_name_that_no_sentinel_knows_and_a_password_of_theirs() {
    let group = Group::start(Some("for-sentinels")).await;
    let with = |master: &str, password: &str| SharedCacheConfig {
        kind: StoreKind::Sentinel(SentinelConfig {
            master: master.to_owned(),
            username: None,
            password: Some(SecretSource::Value(SecretString::from(password))),
        }),
        ..group.settings()
    };
    Replica::with(with(MASTER, "for-sentinels")).await.connected().await;
    let replica = Replica::with(with("another", "for-sentinels")).await;
    assert_eq!(
        replica.cache.status().failure,
        Some(Failure::NoMaster("another".to_owned()))
    );
    let replica = Replica::with(with(MASTER, "wrong")).await;
    let failure = replica.cache.status().failure.unwrap();
    assert!(matches!(failure, Failure::Unauthenticated { .. }), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn what_most_sentinels_say_counts() {
    let group = Group::start(None).await;
    // As one that is cut off with the server that was.
    let old = Server::start().await;
    let configuration = format!("sentinel monitor {MASTER} 127.0.0.1 {} 1\n", old.port);
    let cut_off = Server::sentinel(&configuration, None).await;
    let mut settings = group.settings();
    settings.servers.insert(0, cut_off.node());
    let replica = Replica::with(settings).await.connected().await;
    for user in ["alice", "bob"] {
        replica
            .cache
            .put(&entry(user), &replica.value("x", 3600, 0), false)
            .await;
    }
    assert_eq!((old.keys().await.len(), group.main.keys().await.len()), (0, 2));
}

/// Which sentinel answers first is chance, and each may be known by another host.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_connection_stays_whichever_sentinel_names_its_server() {
    let group = Group::start(None).await;
    let mut settings = group.settings();
    for sentinel in &mut settings.servers[1..] {
        sentinel.host = url::Host::Domain("localhost".to_owned());
    }
    let _replica = Replica::with(settings).await.connected().await;
    let connection = async || {
        let list: String = group.main.say(&["CLIENT", "LIST"]).await;
        // By the command that a probe is.
        let ours = list.lines().filter(|line| line.contains(" cmd=del "));
        ours.map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = connection().await;
    assert_eq!(before.len(), 1);
    for round in 0..12 {
        // A sentinel's connection that is lost makes the broker look again.
        group.sentinels[round % 3]
            .say::<i64>(&["CLIENT", "KILL", "TYPE", "normal"])
            .await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(connection().await, before);
}
