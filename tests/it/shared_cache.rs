//! Brokers that share a store: a real redis-server on loopback, which tests/shared-cache.sh installs. `cargo test` leaves these
//! tests out, as a machine may have none.

mod audit;
mod entra;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use azure_emulator::{Endpoint, Fault};
use base::clock::ManualClock;
use base64::Engine as _;
use tempfile::TempDir;
use tokio::time::Instant;

use self::redis::Redis;
use crate::support::eventually;
use crate::support::forwarder::Forwarder;
use crate::support::http::Call;
use crate::support::process::Process;
use crate::support::scrape::Scrape;
use crate::support::stack::{Builder, Stack, emulator};

const OPERATIONS: &str = "acs_broker_shared_cache_operations_total";

/// A store, the way to it, and brokers of one emulated Azure side, which is the first one's.
struct Replicas {
    store: Redis,
    road: Forwarder,
    folder: TempDir,
    brokers: Vec<Stack>,
}

fn key(name: &str, byte: u8) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    format!("{name} {encoded}\n")
}

impl Replicas {
    /// So many brokers, each with these settings. The limit for an operation is long: machines are busy.
    async fn start(count: usize, change: impl Fn(Builder) -> Builder) -> Self {
        let store = Redis::start().await;
        let road = Forwarder::start(([127, 0, 0, 1], 0).into(), store.address()).await;
        let mut replicas = Self {
            store,
            road,
            folder: tempfile::tempdir().unwrap(),
            brokers: Vec::new(),
        };
        replicas.write_keys(&key("first", 1));
        for _ in 0..count {
            replicas.add(&change).await;
        }
        replicas
    }

    fn write_keys(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.path().join("keys")).unwrap();
    }

    /// One broker more, with an empty memory.
    async fn add(&mut self, change: impl FnOnce(Builder) -> Builder) {
        let builder = Stack::builder()
            .set("limits.replicas", "2")
            .set("shared_cache.url", format!("redis://{}", self.road.address()))
            .set("shared_cache.timeout", "2s")
            .set(
                "shared_cache.encryption_keys_file",
                self.folder.path().join("keys").to_str().unwrap(),
            );
        let builder = match self.brokers.first() {
            Some(first) => {
                let origin = first.emulator.origin();
                let clock: &Arc<ManualClock> = &first.clock;
                // Its own is asked for nothing.
                let unused = emulator(clock).await;
                builder.emulator(unused, clock).authority(&origin).endpoint(&origin)
            }
            None => builder,
        };
        let broker = change(builder).start().await;
        until(&broker, "reachable", |degraded| !degraded).await;
        self.brokers.push(broker);
    }

    fn broker(&self, number: usize) -> &Stack {
        &self.brokers[number]
    }

    /// A new Entra token of a user, good at all brokers. All live equally long: a shorter one would get an exchange of its own.
    fn token(&self, user: &'static str) -> String {
        self.broker(0).user(user).lifetime(3600).token()
    }

    /// How many exchanges ACS was asked for.
    fn exchanges(&self) -> usize {
        self.broker(0).exchanges()
    }

    /// What an operation came to at a broker, how often.
    async fn counted(&self, number: usize, outcome: &str) -> f64 {
        let scrape = Scrape::of(self.broker(number).management).await;
        scrape.sum(OPERATIONS, &[("acs_broker_outcome", outcome)])
    }
}

/// Waits until /readyz says of the store what is wanted. It is 200 all the while.
async fn until(broker: &Stack, what: &str, wanted: impl Fn(bool) -> bool) {
    eventually(what, async || {
        let readyz = broker.probe("/readyz").await;
        assert_eq!(readyz.status, 200, "{readyz:?}");
        let json = readyz.json();
        let degraded = json["degraded"].as_array().unwrap();
        wanted(degraded.iter().any(|line| line == "shared_cache"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_token_is_exchanged_once_and_found_by_others_and_after_a_restart() {
    let mut replicas = Replicas::start(2, |builder| builder).await;
    let token = replicas.token("alex");
    let first = replicas.broker(0).post_token(&token).await;
    assert_eq!(first.cache(), "miss");
    let second = replicas.broker(1).post_token(&token).await;
    assert_eq!(second.cache(), "hit");
    assert_eq!(second.body, first.body, "the same token, to the letter");
    // Another token of the user, as after a silent sign-in.
    assert_eq!(
        replicas.broker(1).post_token(&replicas.token("alex")).await.cache(),
        "hit"
    );
    replicas.add(|builder| builder).await;
    assert_eq!(replicas.broker(2).post_token(&token).await.cache(), "hit");
    assert_eq!(replicas.exchanges(), 1);
    // Nobody else is served with it.
    let other = replicas.broker(2).post_token(&replicas.token("adele")).await;
    assert_eq!(other.cache(), "miss");
    assert_ne!(other.token(), first.token());
    assert!(replicas.counted(2, "hit").await >= 1.0 && replicas.counted(0, "stored").await >= 1.0);
    // Nothing of it stands in clear.
    let all = replicas.store.everything();
    assert!(!all.is_empty());
    let users = &replicas.broker(0).emulator.scenario().users;
    let user = users.iter().find(|user| user.name == "alex").unwrap().object_id;
    let (user_text, acs_token) = (user.to_string(), first.token());
    for (name, value) in all {
        for secret in [
            acs_token.as_bytes(),
            user_text.as_bytes(),
            user.as_bytes(),
            token.as_bytes(),
        ] {
            let shows = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!shows(&name) && !shows(&value));
        }
    }
    let page = replicas.broker(0).probe("/").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(page.contains("Shared cache") && page.contains("reachable"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn callers_at_once_at_two_brokers_make_one_exchange() {
    let replicas = Replicas::start(2, |builder| builder).await;
    replicas
        .broker(0)
        .fault(Endpoint::Exchange, Fault::latency(Duration::from_millis(600)));
    let token = replicas.token("alex");
    let requests = (0..20).map(|number| {
        let url = replicas.broker(number % 2).url("/token");
        tokio::spawn(Call::new("POST", url).bearer(&token).send())
    });
    let mut outcomes = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        outcomes.push(request.await.unwrap().cache().to_owned());
    }
    assert_eq!(replicas.exchanges(), 1);
    let count = |wanted: &str| outcomes.iter().filter(|outcome| *outcome == wanted).count();
    assert_eq!((count("miss"), count("shared")), (1, 19), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn brokers_take_from_one_budget_and_from_their_parts_without_the_store() {
    let replicas = Replicas::start(2, |builder| {
        builder
            .set("limits.upstream_exchanges", "4/10m")
            .set("shared_cache.timeout", "300ms")
    })
    .await;
    // Three by one: its part would be two.
    for user in ["alex", "adele", "diego"] {
        assert_eq!(
            replicas.broker(0).post_token(&replicas.token(user)).await.cache(),
            "miss",
            "{user}"
        );
    }
    assert_eq!(
        replicas.broker(1).post_token(&replicas.token("isaiah")).await.cache(),
        "miss"
    );
    let refused = replicas.broker(1).post_token(&replicas.token("lidia")).await;
    assert_eq!(refused.outcome(), "429 TooManyRequests/UpstreamLimit");
    let budget = async |number: usize| {
        let scrape = Scrape::of(replicas.broker(number).management).await;
        scrape.sum("acs_broker_exchange_budget", &[])
    };
    eventually("both show the budget that is used up", async || {
        budget(0).await == 0.0 && budget(1).await == 0.0
    })
    .await;
    // Without the store each has two, and the one that has sent one has one left.
    replicas.road.swallow();
    let began = Instant::now();
    assert_eq!(
        replicas.broker(1).post_token(&replicas.token("lidia")).await.cache(),
        "miss"
    );
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let refused = replicas.broker(1).post_token(&replicas.token("joni")).await;
    assert_eq!(refused.outcome(), "429 TooManyRequests/UpstreamLimit");
    assert_eq!(replicas.exchanges(), 5);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn without_the_store_each_broker_goes_on_and_comes_back_to_it() {
    let mut replicas = Replicas::start(2, |builder| builder.set("shared_cache.timeout", "300ms")).await;
    let token = replicas.token("alex");
    assert_eq!(replicas.broker(0).post_token(&token).await.cache(), "miss");
    replicas.store.kill();
    for broker in &replicas.brokers {
        until(broker, "away", |degraded| degraded).await;
    }
    assert_eq!(
        replicas.broker(0).post_token(&token).await.cache(),
        "hit",
        "from memory"
    );
    let began = Instant::now();
    assert_eq!(replicas.broker(1).post_token(&token).await.cache(), "miss");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(replicas.exchanges(), 2);
    replicas.store.restart().await;
    for broker in &replicas.brokers {
        until(broker, "reachable", |degraded| !degraded).await;
    }
    let other = replicas.token("adele");
    assert_eq!(replicas.broker(0).post_token(&other).await.cache(), "miss");
    assert_eq!(replicas.broker(1).post_token(&other).await.cache(), "hit");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn swapped_altered_and_foreign_values_are_as_absent() {
    let mut replicas = Replicas::start(1, |builder| builder).await;
    let (alex, adele) = (replicas.token("alex"), replicas.token("adele"));
    let first = replicas.broker(0).post_token(&alex).await.token();
    let name = replicas.store.values().pop().unwrap();
    let second = replicas.broker(0).post_token(&adele).await.token();
    let values = replicas.store.values();
    let other = values.iter().find(|value| **value != name).unwrap();
    // One's token under the other's name.
    replicas.store.say(&["COPY", &name, other, "REPLACE"]);
    replicas.add(|builder| builder).await;
    let answer = replicas.broker(1).post_token(&adele).await;
    assert_eq!(answer.cache(), "miss");
    assert!(answer.token() != first && answer.token() != second);
    assert!(replicas.counted(1, "rejected").await >= 1.0);
    // What was exchanged instead took its place.
    replicas.add(|builder| builder).await;
    assert_eq!(replicas.broker(2).post_token(&adele).await.token(), answer.token());
    // Something else altogether.
    replicas.store.say(&["SET", &name, "not a value"]);
    assert_eq!(replicas.broker(2).post_token(&alex).await.cache(), "miss");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn keys_are_rotated_without_a_restart() {
    let mut replicas = Replicas::start(1, |builder| builder).await;
    let token = replicas.token("alex");
    assert_eq!(replicas.broker(0).post_token(&token).await.cache(), "miss");
    // With the new key first and the old one last, what the old one sealed is found.
    replicas.write_keys(&(key("second", 2) + &key("first", 1)));
    replicas.add(|builder| builder).await;
    assert_eq!(replicas.broker(1).post_token(&token).await.cache(), "hit");
    // With the new one alone it is as if it were not there.
    replicas.write_keys(&key("second", 2));
    replicas.add(|builder| builder).await;
    assert_eq!(replicas.broker(2).post_token(&token).await.cache(), "miss");
    // A file that is no good makes the store count as away, and the broker is ready.
    replicas.write_keys("no key\n");
    let unused = emulator(&replicas.broker(0).clock).await;
    let stack = Stack::builder()
        .set("limits.replicas", "2")
        .set("shared_cache.url", format!("redis://{}", replicas.road.address()))
        .set(
            "shared_cache.encryption_keys_file",
            replicas.folder.path().join("keys").to_str().unwrap(),
        )
        .emulator(unused, &replicas.broker(0).clock)
        .authority(&replicas.broker(0).emulator.origin())
        .endpoint(&replicas.broker(0).emulator.origin())
        .start()
        .await;
    until(&stack, "away", |degraded| degraded).await;
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn what_a_refusal_ends_is_deleted_for_all() {
    let mut replicas = Replicas::start(1, |builder| builder).await;
    // ACS alone permits this user: their groups are not in the token.
    let token = replicas.token("lidia");
    let first = replicas.broker(0).post_token(&token).await;
    assert_eq!(first.cache(), "miss");
    replicas.broker(0).fault(Endpoint::Exchange, Fault::status(403));
    replicas.broker(0).advance(601);
    assert_eq!(
        replicas.broker(0).post_token(&token).await.outcome(),
        "403 ExchangeForbidden"
    );
    assert_eq!(replicas.store.values(), Vec::<String>::new());
    replicas.broker(0).emulator.clear_faults();
    replicas.add(|builder| builder).await;
    assert_eq!(replicas.broker(1).post_token(&token).await.cache(), "miss");
    // An authentic older value that is put back is judged by its age.
    replicas.broker(0).advance(599);
    replicas.add(|builder| builder).await;
    assert_eq!(replicas.broker(2).post_token(&token).await.cache(), "hit");
    replicas.broker(0).advance(1);
    replicas.add(|builder| builder).await;
    assert_eq!(
        replicas.broker(3).post_token(&token).await.cache(),
        "miss",
        "ACS confirms it"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn doctor_looks_at_the_store_and_the_keys() {
    let mut replicas = Replicas::start(1, |builder| builder).await;
    let file = replicas.broker(0).folder().join("broker.toml");
    let (url, keys) = (
        format!("redis://{}", replicas.store.address()),
        replicas.folder.path().join("keys"),
    );
    let checked = async |id: &str| {
        let variables = [
            ("ACS_TOKEN_BROKER__LIMITS__REPLICAS", "2"),
            ("ACS_TOKEN_BROKER__SHARED_CACHE__URL", url.as_str()),
            ("ACS_TOKEN_BROKER__SHARED_CACHE__TIMEOUT", "2s"),
            (
                "ACS_TOKEN_BROKER__SHARED_CACHE__ENCRYPTION_KEYS_FILE",
                keys.to_str().unwrap(),
            ),
        ];
        let arguments = ["doctor", "--config", file.to_str().unwrap(), "--output", "json"];
        let ended = Process::run(&arguments, &variables).await;
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap().clone()
    };
    let found = async |id: &str| checked(id).await["status"].as_str().unwrap().to_owned();
    assert_eq!(found("shared_cache.reachable").await, "pass");
    // A permission that the user lacks is named, and what to do.
    replicas.store.say(&["ACL", "SETUSER", "default", "-getrange"]);
    let refused = checked("shared_cache.reachable").await;
    let text = |member: &str| refused[member].as_str().unwrap().to_owned();
    assert_eq!(text("status"), "fail");
    assert!(
        text("summary").ends_with("the user lacks the permissions +getrange"),
        "{refused}"
    );
    assert!(text("fix").contains("ACL"), "{refused}");
    // A broker that is connected says the same, once it has been refused, and goes on.
    assert_eq!(
        replicas.broker(0).post_token(&replicas.token("alex")).await.cache(),
        "miss"
    );
    until(replicas.broker(0), "away", |degraded| degraded).await;
    // By then what is missing may still be asked for.
    let named = async || {
        let page = replicas.broker(0).probe("/").await;
        String::from_utf8_lossy(&page.body).contains("+getrange")
    };
    eventually("the missing permission on the page", named).await;
    replicas.store.say(&["ACL", "SETUSER", "default", "+getrange"]);
    until(replicas.broker(0), "reachable", |degraded| !degraded).await;
    assert_eq!(found("shared_cache.keys").await, "pass");
    replicas.write_keys("first c2hvcnQ=\n");
    assert_eq!(found("shared_cache.keys").await, "fail");
    replicas.store.kill();
    assert_eq!(found("shared_cache.reachable").await, "fail");
}
