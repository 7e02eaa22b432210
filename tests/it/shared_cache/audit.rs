//! Where a token came from, as audit events tell it.

use serde_json::Value;

use super::key;
use super::redis::Redis;
use crate::support::eventually;
use crate::support::http::Call;
use crate::support::observed::lines;
use crate::support::process::{Process, emulator, serving, write_configuration};
use azure_emulator::TokenRequest;

/// Ends the broker; gives cache outcome and source of each audit event.
async fn told(process: Process) -> Vec<(Option<String>, Option<String>)> {
    process.signal("TERM");
    let ended = process.end().await;
    let events = lines(&ended.stdout).filter(|line| line["target"] == "acs_token_broker::audit");
    let text = |event: &Value, name: &str| event[name].as_str().map(str::to_owned);
    events
        .map(|event| {
            (
                text(&event, "acs_broker.cache.outcome"),
                text(&event, "acs_broker.cache.source"),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn audit_events_tell_whether_a_token_came_from_the_store() {
    let (store, emulator) = (Redis::start().await, emulator().await);
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, key("first", 1)).unwrap();
    let file = write_configuration(folder.path(), &emulator, None);
    let url = format!("redis://{}", store.address());
    let environment = [
        ("ACS_TOKEN_BROKER__LIMITS__REPLICAS", "2"),
        ("ACS_TOKEN_BROKER__SHARED_CACHE__URL", url.as_str()),
        ("ACS_TOKEN_BROKER__SHARED_CACHE__TIMEOUT", "2s"),
        (
            "ACS_TOKEN_BROKER__SHARED_CACHE__ENCRYPTION_KEYS_FILE",
            keys.to_str().unwrap(),
        ),
    ];
    let token = emulator.issue_token("alex", &TokenRequest::default()).unwrap();
    let broker = async || {
        let (process, public, management) = serving(&file, &environment).await;
        eventually("the store is used", async || {
            let readyz = Call::new("GET", format!("{management}/readyz")).send().await;
            !readyz.json()["degraded"].to_string().contains("shared_cache")
        })
        .await;
        (process, public)
    };
    let post = async |public: &str| {
        let call = Call::new("POST", format!("{public}/token")).bearer(&token);
        call.send().await.cache().to_owned()
    };
    let (first, public) = broker().await;
    assert_eq!(post(&public).await, "miss");
    let (second, public) = broker().await;
    assert_eq!((post(&public).await, post(&public).await), ("hit".into(), "hit".into()));
    let event = |outcome: &str, source: Option<&str>| (Some(outcome.to_owned()), source.map(str::to_owned));
    assert_eq!(told(first).await, [event("miss", None)]);
    assert_eq!(
        told(second).await,
        [event("hit", Some("store")), event("hit", Some("memory"))]
    );
}
