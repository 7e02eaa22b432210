//! Links from the span of one who waited to that of the work which another began.

use azure_emulator::{Endpoint, Fault};
use base::clock::{Clock as _, SystemClock};

use crate::audit::asking_graph;
use crate::span_trees::{has, post, tree};
use crate::support::eventually;
use crate::support::fake::{Fake, Gate, Reply, grant};
use crate::support::observed::{exported, exporting_to, flushed, one, trace};
use crate::support::otlp::{Collector, hex};
use crate::support::process::Served;
use crate::support::scrape::Scrape;
use crate::support::stack::ACS_PATH;

/// Waits until so many callers were permitted: nothing is left for the last one to wait for but the exchange.
async fn permitted(served: &Served, callers: u32) {
    let management = served.management.trim_start_matches("http://");
    eventually("the last caller is permitted", async || {
        let scraped = Scrape::of(management).await;
        let permitted = scraped.sum("acs_broker_authorization_total", &[("acs_broker_outcome", "permitted")]);
        permitted >= f64::from(callers)
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_anothers_exchange_links_to_it() {
    let collector = Collector::start().await;
    let acs = Fake::start().await;
    let gate = Gate::closed();
    let end = SystemClock::new().now() + std::time::Duration::from_secs(3000);
    acs.on(ACS_PATH, Reply::json(&grant("shared", end)).behind(&gate));
    let environment = exporting_to(&collector);
    let served = Served::start_with(Some(&acs.origin()), |_| environment).await;
    let token = served.token("alex");
    let leader = post(&served, &token, 1);
    let waiter = async {
        eventually("the exchange is under way", async || acs.count(ACS_PATH) == 1).await;
        let waiter = post(&served, &token, 2);
        let open = async {
            permitted(&served, 2).await;
            gate.open();
        };
        tokio::join!(waiter, open).0
    };
    let (leader, waiter) = tokio::join!(leader, waiter);
    assert_eq!((leader.as_str(), waiter.as_str()), ("200", "200"));
    assert_eq!(acs.count(ACS_PATH), 1);
    // A refusal is shared likewise.
    let refused = Gate::closed();
    acs.on(ACS_PATH, Reply::status(500).behind(&refused));
    let other = served.token("adele");
    let leader = post(&served, &other, 3);
    let waiter = async {
        eventually("the exchange is under way", async || acs.count(ACS_PATH) == 2).await;
        let waiter = post(&served, &other, 4);
        let open = async {
            permitted(&served, 4).await;
            refused.open();
        };
        tokio::join!(waiter, open).0
    };
    tokio::join!(leader, waiter);
    flushed(served).await;
    for (leader, waiter) in [(1, 2), (3, 4)] {
        let exchange = collector.trace(&trace(leader));
        let exchange = one(&exchange, "exchange");
        let spans = collector.trace(&trace(waiter));
        assert_eq!(tree(&spans), "POST /token(authenticate authorize cache)");
        let [link] = &one(&spans, "cache").links[..] else {
            panic!("{spans:?}")
        };
        assert_eq!((hex(&link.trace_id), &link.span_id), (trace(leader), &exchange.span_id));
        assert!(one(&collector.trace(&trace(leader)), "cache").links.is_empty());
    }
    has(
        one(&collector.trace(&trace(2)), "cache"),
        "acs_broker.cache.outcome",
        "shared",
    );
}

#[tokio::test]
async fn who_waits_for_anothers_fetch_of_keys_links_to_it() {
    let (served, collector) = exported().await;
    served.emulator.rotate_keys(None).unwrap();
    let token = served.token("alex");
    let before = served.emulator.count(Endpoint::Keys);
    let slow = Fault::latency(std::time::Duration::from_secs(1));
    served.emulator.set_fault(Endpoint::Keys, slow).unwrap();
    let waiter = async {
        eventually("the fetch is under way", async || {
            served.emulator.count(Endpoint::Keys) > before
        })
        .await;
        post(&served, &token, 2).await
    };
    let (leader, waiter) = tokio::join!(post(&served, &token, 1), waiter);
    assert_eq!((leader.as_str(), waiter.as_str()), ("200", "200"));
    flushed(served).await;
    let leader = collector.trace(&trace(1));
    let fetch = one(&leader, "fetch keys");
    assert!(one(&leader, "authenticate").links.is_empty());
    let spans = collector.trace(&trace(2));
    let [link] = &one(&spans, "authenticate").links[..] else {
        panic!("{spans:?}")
    };
    assert_eq!((hex(&link.trace_id), &link.span_id), (trace(1), &fetch.span_id));
}

#[tokio::test]
async fn who_waits_for_anothers_question_to_graph_links_to_it() {
    let (served, collector) = asking_graph("hash").await;
    let token = served.token("lidia");
    let slow = Fault::latency(std::time::Duration::from_secs(1));
    served.emulator.set_fault(Endpoint::Graph, slow).unwrap();
    let waiter = async {
        eventually("Graph is asked", async || served.emulator.count(Endpoint::Graph) == 1).await;
        post(&served, &token, 2).await
    };
    let (leader, waiter) = tokio::join!(post(&served, &token, 1), waiter);
    assert_eq!((leader.as_str(), waiter.as_str()), ("200", "200"));
    assert_eq!(served.emulator.count(Endpoint::Graph), 1);
    flushed(served).await;
    let leader = collector.trace(&trace(1));
    let question = one(&leader, "membership");
    assert!(one(&leader, "authorize").links.is_empty());
    let spans = collector.trace(&trace(2));
    let [link] = &one(&spans, "authorize").links[..] else {
        panic!("{spans:?}")
    };
    assert_eq!((hex(&link.trace_id), &link.span_id), (trace(1), &question.span_id));
}
