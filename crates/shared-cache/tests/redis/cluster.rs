//! A cluster: keys on several servers, which move and fail over.

use std::time::Duration;

use config::{SharedCacheConfig, StoreKind};
use shared_cache::{Found, Leased, Operation, Outcome, Taken};

use crate::budget::ask;
use crate::server::Server;
use crate::support::{Replica, entry, eventually, settings};
use crate::tls::Certificates;

const ARGUMENTS: [&str; 6] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-require-full-coverage",
    "no",
];
const RANGES: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

/// Three masters, and a replica of the first if it is asked for.
async fn cluster(with_replica: bool) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..3 + usize::from(with_replica) {
        servers.push(start(&[]).await);
    }
    for (index, (first, last)) in RANGES.iter().enumerate() {
        let (first, last) = (first.to_string(), last.to_string());
        servers[index]
            .say::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])
            .await;
        servers[index]
            .say::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])
            .await;
    }
    for server in &servers[1..] {
        let port = server.port.to_string();
        servers[0].say::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port]).await;
    }
    if with_replica {
        let id: String = servers[0].say(&["CLUSTER", "MYID"]).await;
        eventually("met", async || {
            servers[3].try_say::<()>(&["CLUSTER", "REPLICATE", &id]).await.is_ok()
        })
        .await;
        eventually("replicating", async || {
            let role: String = servers[3].say(&["INFO", "replication"]).await;
            role.contains("master_link_status:up")
        })
        .await;
    }
    for server in &servers {
        eventually("agreed", async || {
            let info: String = server.say(&["CLUSTER", "INFO"]).await;
            info.contains("cluster_state:ok")
                && info.contains("cluster_slots_ok:16384")
                && info.contains(&format!("cluster_known_nodes:{}", servers.len()))
        })
        .await;
    }
    servers
}

async fn start(arguments: &[&str]) -> Server {
    // The bus listens ten thousand ports above.
    loop {
        let server = Server::with(&[&ARGUMENTS, arguments].concat()).await;
        if server.port < 55_000 {
            return server;
        }
    }
}

fn of(seeds: &[&Server]) -> SharedCacheConfig {
    SharedCacheConfig {
        kind: StoreKind::Cluster,
        ..settings(seeds.iter().map(|server| server.node()).collect())
    }
}

/// Users whose entries are, with this many, on every server.
const USERS: usize = 60;

async fn put_all(replica: &Replica) {
    for user in 0..USERS {
        let value = replica.value(&user.to_string(), 3600, 0);
        replica.cache.put(&entry(&user.to_string()), &value, false).await;
    }
}

/// How many of the users have a value; none has another's.
async fn found(replica: &Replica) -> usize {
    let mut found = 0;
    for user in 0..USERS {
        if let Found::Value(value) = replica.cache.get(&entry(&user.to_string())).await {
            assert_eq!(value.payload.as_slice(), user.to_string().as_bytes());
            found += 1;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn each_server_has_its_part_and_one_seed_is_enough() {
    let servers = cluster(false).await;
    let replica = Replica::with(of(&[&servers[1]])).await.connected().await;
    put_all(&replica).await;
    assert_eq!(found(&replica).await, USERS);
    for server in &servers {
        assert!(!server.keys().await.is_empty());
    }
    for number in 0..10 {
        let user = entry(&number.to_string());
        let Leased::Held(lease) = replica.cache.lease(&user, Duration::from_secs(30)).await else {
            panic!("no lease")
        };
        assert!(matches!(
            replica.cache.lease(&user, Duration::from_secs(30)).await,
            Leased::Taken { .. }
        ));
        drop(lease);
        replica.cache.delete(&user).await;
        let budget = replica.cache.budget(&format!("https://{number}.contoso.com"));
        assert!(matches!(budget.take(&ask(2)).await, Taken::Place(_)));
    }
    for operation in [
        Operation::Get,
        Operation::Put,
        Operation::Lease,
        Operation::Budget,
        Operation::Delete,
    ] {
        assert_eq!(replica.counts.of(operation, Outcome::Error), 0, "{operation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn keys_that_move_and_have_moved_are_found() {
    let servers = cluster(false).await;
    let replica = Replica::with(of(&[&servers[0]])).await.connected().await;
    put_all(&replica).await;
    let mut ids = Vec::new();
    for server in &servers {
        ids.push(server.say::<String>(&["CLUSTER", "MYID"]).await);
    }
    let (from, to) = (&servers[0], &servers[1]);
    let port = to.port.to_string();
    for key in from.keys().await {
        let slot = from.say::<u16>(&["CLUSTER", "KEYSLOT", &key]).await.to_string();
        to.say::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]).await;
        from.say::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]])
            .await;
        from.say::<redis::Value>(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"])
            .await;
        // It is there, though its slot is not yet: asked for once more.
        assert_eq!(found(&replica).await, USERS);
        for server in [to, from] {
            server.say::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]).await;
        }
        assert_eq!(found(&replica).await, USERS);
    }
    put_all(&replica).await;
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Error), 0);
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Miss), 0);
    assert!(replica.cache.status().is_reachable());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_server_that_dies_takes_its_part_along_until_another_has_it() {
    let mut servers = cluster(true).await;
    let replica = Replica::with(of(&[&servers[1], &servers[2]])).await.connected().await;
    put_all(&replica).await;
    eventually("replicated", async || {
        servers[3].keys().await.len() == servers[0].keys().await.len()
    })
    .await;
    servers[0].kill();
    eventually("away in part", async || replica.cache.status().failure.is_some()).await;
    // The others go on.
    assert!(found(&replica).await > USERS / 3);
    replica.until_reachable().await;
    assert_eq!(found(&replica).await, USERS);
    put_all(&replica).await;
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Miss), 0);
    assert_eq!(replica.counts.of(Operation::Get, Outcome::Timeout), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn servers_that_a_cluster_announces_are_known_by_the_seeds_name() {
    let certificates = Certificates::of("localhost");
    // It tells of itself as 127.0.0.1, of which its certificate knows nothing.
    let announced = ["--tls-cluster", "yes", "--cluster-announce-ip", "127.0.0.1"];
    let arguments = [&ARGUMENTS[..], &announced].concat();
    let server = loop {
        let server = certificates.server(&arguments).await;
        if server.port < 55_000 {
            break server;
        }
    };
    let tool = std::process::Command::new("redis-cli")
        .args([
            "--tls",
            "--cacert",
            certificates.ca().to_str().unwrap(),
            "--sni",
            "localhost",
        ])
        .args([
            "-h",
            "localhost",
            "-p",
            &server.port.to_string(),
            "CLUSTER",
            "ADDSLOTSRANGE",
            "0",
            "16383",
        ])
        .output();
    let tool = tool.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&tool.stdout).trim(),
        "OK",
        "{}",
        String::from_utf8_lossy(&tool.stderr)
    );
    let mut node = server.node();
    node.host = url::Host::Domain("localhost".to_owned());
    let settings = SharedCacheConfig {
        kind: StoreKind::Cluster,
        tls: true,
        ca_file: Some(certificates.ca()),
        ..settings(vec![node])
    };
    let replica = Replica::with(settings.clone()).await.connected().await;
    put_all(&replica).await;
    assert_eq!(found(&replica).await, USERS);
    let named = SharedCacheConfig {
        tls_name: Some("another.contoso.com".to_owned()),
        ..settings
    };
    assert!(!Replica::with(named).await.cache.status().is_reachable());
}
