//! Leases: one replica exchanges for all.

use std::time::Duration;

use shared_cache::{Lease, Leased, Operation, Outcome};

use crate::server::Server;
use crate::support::{Replica, entry, eventually};

const LENGTH: Duration = Duration::from_secs(30);

fn held(leased: Leased) -> Lease {
    match leased {
        Leased::Held(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn one_of_many_holds_it_and_only_its_owner_ends_it() {
    let server = Server::start().await;
    let mut replicas = Vec::new();
    for _ in 0..4 {
        replicas.push(Replica::of(server.node()).await);
    }
    let alice = entry("alice");
    for _ in 0..50 {
        let asked = replicas.iter().map(|replica| replica.cache.lease(&alice, LENGTH));
        let mut leases = Vec::new();
        for leased in futures_util::future::join_all(asked).await {
            match leased {
                Leased::Held(lease) => leases.push(lease),
                Leased::Taken { remaining } => assert!(remaining > LENGTH / 2 && remaining <= LENGTH),
                Leased::Away => panic!("away"),
            }
        }
        assert_eq!(leases.len(), 1);
        // Another's entry is free meanwhile.
        drop(held(replicas[0].cache.lease(&entry("bob"), LENGTH).await));
        drop(leases.remove(0));
        eventually("released", async || server.keys().await.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_dead_holder_costs_others_its_length_at_most() {
    let server = Server::start().await;
    let (one, other) = (Replica::of(server.node()).await, Replica::of(server.node()).await);
    let alice = entry("alice");
    let length = Duration::from_millis(300);
    let of_the_dead = held(one.cache.lease(&alice, length).await);
    let start = tokio::time::Instant::now();
    // As a process that was killed: nothing is dropped.
    std::mem::forget(of_the_dead);
    let Leased::Taken { remaining } = other.cache.lease(&alice, length).await else {
        panic!("two leases")
    };
    tokio::time::sleep(remaining).await;
    let mut lease = None;
    eventually("over", async || match other.cache.lease(&alice, length).await {
        Leased::Held(held) => {
            lease = Some(held);
            true
        }
        _ => false,
    })
    .await;
    assert!(
        start.elapsed() + Duration::from_millis(5) >= length,
        "{:?}",
        start.elapsed()
    );
    assert!(lease.is_some());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_lease_that_ran_out_ends_nobody_elses() {
    let server = Server::start().await;
    let (one, other) = (Replica::of(server.node()).await, Replica::of(server.node()).await);
    let alice = entry("alice");
    let late = held(one.cache.lease(&alice, Duration::from_millis(20)).await);
    eventually("over", async || server.keys().await.is_empty()).await;
    let lease = held(other.cache.lease(&alice, LENGTH).await);
    drop(late);
    // Behind the release in one's own queue: when this is done, so is that.
    let bob = held(one.cache.lease(&entry("bob"), LENGTH).await);
    drop(bob);
    eventually("released", async || server.keys().await.len() == 1).await;
    assert!(matches!(one.cache.lease(&alice, LENGTH).await, Leased::Taken { .. }));
    drop(lease);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_lease_without_an_end_is_nobodys() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    let lease = held(replica.cache.lease(&entry("alice"), LENGTH).await);
    let key = server.keys().await.remove(0);
    // As somebody leaves it who can write the store.
    server.say::<()>(&["SET", &key, "foreign"]).await;
    drop(lease);
    drop(held(replica.cache.lease(&entry("alice"), LENGTH).await));
    server.say::<i64>(&["DEL", &key]).await;
    server.say::<i64>(&["RPUSH", &key, "foreign"]).await;
    drop(held(replica.cache.lease(&entry("alice"), LENGTH).await));
    assert_eq!(replica.counts.of(Operation::Lease, Outcome::Error), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_lease_that_nobody_waits_for_any_longer_is_ended() {
    let server = Server::start().await;
    let replica = Replica::of(server.node()).await;
    for round in 0..200 {
        let user = entry(&format!("user {round}"));
        let mut asking = Box::pin(replica.cache.lease(&user, LENGTH));
        // The command is on its way, and the caller leaves.
        let _ = futures_util::poll!(asking.as_mut());
        tokio::task::yield_now().await;
        drop(asking);
    }
    eventually("ended", async || server.keys().await.is_empty()).await;
}
