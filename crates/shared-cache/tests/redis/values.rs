//! Values: what stands in the store, which of two stays, what is refused, and how keys are rotated.

use std::time::Duration;

use shared_cache::{Found, Operation, Outcome, StoredValue};

use crate::server::Server;
use crate::support::{PREFIX, Replica, entry, settings, write_keys};

fn payload(found: Found) -> Option<String> {
    match found {
        Found::Value(value) => Some(String::from_utf8(value.payload.to_vec()).unwrap()),
        Found::Absent => None,
        Found::Away => panic!("the store is away"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn what_one_replica_keeps_another_finds_and_nobody_else_reads() {
    let server = Server::start().await;
    let (one, other) = (Replica::of(server.node()).await, Replica::of(server.node()).await);
    assert_eq!(other.cache.get(&entry("alice")).await, Found::Absent);
    let value = one.value("the token of alice", 3600, 0);
    one.cache.put(&entry("alice"), &value, false).await;
    assert_eq!(other.cache.get(&entry("alice")).await, Found::Value(value));
    assert_eq!(other.cache.get(&entry("bob")).await, Found::Absent);
    assert_eq!(one.counts.of(Operation::Put, Outcome::Stored), 1);
    assert_eq!(other.counts.of(Operation::Get, Outcome::Hit), 1);
    assert_eq!(other.counts.of(Operation::Get, Outcome::Miss), 2);
    let keys = server.keys().await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(keys[0].starts_with(PREFIX) && !keys[0].contains("alice"), "{keys:?}");
    let sealed: Vec<u8> = server.say(&["GET", &keys[0]]).await;
    assert!(!String::from_utf8_lossy(&sealed).contains("token"));
    // Until the token's end less `expiry_margin`.
    let life: i64 = server.say(&["TTL", &keys[0]]).await;
    assert!((3290..=3300).contains(&life), "{life}");
    one.cache.delete(&entry("alice")).await;
    assert_eq!(other.cache.get(&entry("alice")).await, Found::Absent);
    // What would not outlive its margin is not kept.
    one.cache.put(&entry("alice"), &one.value("short", 300, 0), false).await;
    assert_eq!(server.keys().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_value_gives_way_to_a_longer_or_a_revalidated_one() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    let steps = [
        ("first", 3600, 100, false, "first"),
        ("shorter", 3500, 50, false, "first"),
        ("longer", 3700, 90, false, "longer"),
        ("revalidated", 3000, 10, true, "revalidated"),
        ("revalidated before that", 2900, 20, true, "revalidated"),
    ];
    for (name, ends_in, exchanged_before, revalidated, expected) in steps {
        let value = replica.value(name, ends_in, exchanged_before);
        replica.cache.put(&entry("alice"), &value, revalidated).await;
        let found = payload(replica.cache.get(&entry("alice")).await);
        assert_eq!(found.as_deref(), Some(expected), "after {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn of_many_who_write_at_once_the_longest_stays() {
    let server = Server::start().await;
    let mut replicas = Vec::new();
    for _ in 0..4 {
        replicas.push(Replica::of(server.node()).await);
    }
    for round in 0..50 {
        let user = entry(&format!("user {round}"));
        let writes = replicas.iter().enumerate().map(|(index, replica)| {
            let value = replica.value(&index.to_string(), 3600 + i64::try_from(index).unwrap(), 0);
            let user = user.clone();
            async move { replica.cache.put(&user, &value, false).await }
        });
        futures_util::future::join_all(writes).await;
        assert_eq!(
            payload(replicas[0].cache.get(&user).await).as_deref(),
            Some("3"),
            "round {round}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn swapped_altered_and_foreign_values_are_refused_and_overwritten() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    let (alice, bob) = (entry("alice"), entry("bob"));
    replica
        .cache
        .put(&alice, &replica.value("alice's", 3600, 0), false)
        .await;
    let of_alice = server.keys().await.remove(0);
    replica.cache.put(&bob, &replica.value("bob's", 3600, 0), false).await;
    let of_bob = server.keys().await.into_iter().find(|key| *key != of_alice).unwrap();
    let mut rejected = 0;
    let mut refused = async |what: &str, prepared: &[&[&str]]| {
        for words in prepared {
            server.say::<redis::Value>(words).await;
        }
        assert_eq!(replica.cache.get(&bob).await, Found::Absent, "{what}");
        rejected += 1;
        assert_eq!(replica.counts.of(Operation::Get, Outcome::Rejected), rejected, "{what}");
        replica.cache.put(&bob, &replica.value("bob's", 3600, 0), false).await;
        assert_eq!(
            payload(replica.cache.get(&bob).await).as_deref(),
            Some("bob's"),
            "after {what}"
        );
    };
    refused(
        "one user's under another's name",
        &[&["COPY", &of_alice, &of_bob, "REPLACE"]],
    )
    .await;
    refused("altered", &[&["SETRANGE", &of_bob, "40", "\u{1}"]]).await;
    refused("cut", &[&["SET", &of_bob, "\u{1}"]]).await;
    refused("of another version", &[&["SETRANGE", &of_bob, "0", "\u{2}"]]).await;
    refused("in clear", &[&["SET", &of_bob, r#"{"token":"x"}"#]]).await;
    let long = "x".repeat(2 * 1024 * 1024);
    refused("too long", &[&["SET", &of_bob, &long]]).await;
    refused("a list", &[&["DEL", &of_bob], &["RPUSH", &of_bob, "x"]]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn an_older_value_that_is_put_back_counts_until_its_token_ends() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    let alice = entry("alice");
    replica.cache.put(&alice, &replica.value("old", 3600, 0), false).await;
    let key = server.keys().await.remove(0);
    server.say::<i64>(&["COPY", &key, "kept"]).await;
    replica.cache.delete(&alice).await;
    server.say::<i64>(&["COPY", "kept", &key]).await;
    server.say::<i64>(&["PERSIST", &key]).await;
    // It is authentic; the broker's rule of what may be served is applied to it as to any other.
    assert_eq!(payload(replica.cache.get(&alice).await).as_deref(), Some("old"));
    replica.clock.advance(Duration::from_secs(3600));
    assert_eq!(replica.cache.get(&alice).await, Found::Absent);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn clocks_of_replicas_may_differ_by_the_skew() {
    let server = Server::start().await;
    let (ahead, behind) = (Replica::of(server.node()).await, Replica::of(server.node()).await);
    ahead.clock.advance(Duration::from_secs(60));
    ahead
        .cache
        .put(&entry("alice"), &ahead.value("near", 3600, 0), false)
        .await;
    let Found::Value(StoredValue { exchanged_at, .. }) = behind.cache.get(&entry("alice")).await else {
        panic!("no value")
    };
    // It counts as exchanged now.
    assert_eq!(exchanged_at, behind.value("", 0, 0).exchanged_at);
    ahead.clock.advance(Duration::from_secs(1));
    ahead
        .cache
        .put(&entry("bob"), &ahead.value("far", 3600, 0), false)
        .await;
    assert_eq!(behind.cache.get(&entry("bob")).await, Found::Absent);
    // Nor does it keep a replica's own value out.
    behind
        .cache
        .put(&entry("bob"), &behind.value("own", 3000, 0), false)
        .await;
    assert_eq!(payload(behind.cache.get(&entry("bob")).await).as_deref(), Some("own"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn keys_are_rotated_without_a_restart() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let replica = async |name: &str, keys: &[(&str, u8)]| {
        let mut settings = settings(vec![server.node()]);
        settings.encryption_keys_file = folder.path().join(name);
        write_keys(&settings.encryption_keys_file, keys);
        Replica::with(settings).await.connected().await
    };
    let rewrite = async |replica: &Replica, name: &str, keys: &[(&str, u8)]| {
        write_keys(&folder.path().join(name), keys);
        replica.cache.look_at_keys().await;
    };
    let (old, new) = (("old", 1), ("new", 2));
    let one = replica("one", &[old]).await;
    let other = replica("other", &[old]).await;
    let get = async |replica: &Replica, user: &str| payload(replica.cache.get(&entry(user)).await);
    one.cache
        .put(&entry("alice"), &one.value("sealed with the old", 3600, 60), false)
        .await;

    // The new one is added last everywhere, then moved first: at any time each reads what the other writes.
    rewrite(&one, "one", &[old, new]).await;
    rewrite(&other, "other", &[old, new]).await;
    rewrite(&one, "one", &[new, old]).await;
    assert_eq!(one.cache.status().keys, ["new", "old"]);
    one.cache
        .put(&entry("bob"), &one.value("sealed with the new", 3600, 0), false)
        .await;
    assert_eq!(get(&other, "bob").await.as_deref(), Some("sealed with the new"));
    assert_eq!(get(&one, "alice").await.as_deref(), Some("sealed with the old"));
    // Under either name the rule holds: a shorter one stays out, of two the one exchanged last is found.
    one.cache
        .put(&entry("alice"), &one.value("shorter", 3500, 30), false)
        .await;
    assert_eq!(server.keys().await.len(), 2);
    one.cache
        .put(&entry("alice"), &one.value("longer", 3700, 30), false)
        .await;
    assert_eq!(server.keys().await.len(), 3);
    assert_eq!(get(&other, "alice").await.as_deref(), Some("longer"));
    // What is deleted is deleted under all names.
    one.cache.delete(&entry("alice")).await;
    assert_eq!(get(&other, "alice").await, None);
    assert_eq!(server.keys().await.len(), 1);

    // A file that is broken changes nothing; the old key is dropped in the end.
    std::fs::write(folder.path().join("one"), "broken").unwrap();
    one.cache.look_at_keys().await;
    assert_eq!(get(&one, "bob").await.as_deref(), Some("sealed with the new"));
    rewrite(&one, "one", &[new]).await;
    other
        .cache
        .put(&entry("carol"), &other.value("sealed with the old", 3600, 0), false)
        .await;
    assert_eq!(get(&one, "carol").await, None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn without_keys_the_store_is_not_asked() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(vec![server.node()]);
    settings.encryption_keys_file = folder.path().join("keys");
    let file = settings.encryption_keys_file.clone();
    let replica = Replica::with(settings).await;
    assert!(!replica.cache.status().is_reachable());
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Away);
    replica
        .cache
        .put(&entry("alice"), &replica.value("x", 3600, 0), false)
        .await;
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Skipped), 1);
    assert_eq!(replica.counts.of(Operation::Put, Outcome::Skipped), 1);
    assert_eq!(server.keys().await, Vec::<String>::new());
    write_keys(&file, &[("first", 1)]);
    replica.cache.look_at_keys().await;
    replica.until_reachable().await;
    assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
}
