//! Audit: one event for each token handed out, or refused to a verified user; never the token.

use std::collections::BTreeSet;

use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS};
use azure_emulator::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::support::http::{Call, client};
use crate::support::observed::{exported_with, exporting_to, flushed, lines, one, trace, traceparent, user_of};
use crate::support::otlp::{Collector, attribute, hex, value};
use crate::support::process::Served;

const TARGET: &str = "acs_token_broker::audit";
const KEY: &str = "a key for the tests of audit";

async fn post(served: &Served, user: &str, n: u32) -> String {
    post_token(served, &served.token_with_groups(user), n).await
}

/// Gives the user's id.
async fn post_token(served: &Served, token: &str, n: u32) -> String {
    let call = served.call("/token").bearer(token);
    let outcome = call.header("traceparent", &traceparent(n)).send().await.outcome();
    assert!(!outcome.is_empty());
    user_of(token)
}

fn events(output: &str) -> Vec<Value> {
    lines(output).filter(|line| line["target"] == TARGET).collect()
}

#[tokio::test]
async fn each_decision_about_a_verified_user_has_an_event() {
    let (served, collector) = exported_with(&[
        ("ACS_TOKEN_BROKER__TELEMETRY__USER_HASH_KEY", KEY),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ])
    .await;
    // Not even a log that is turned off loses it.
    let level = Call::new("PUT", format!("{}/loglevel", served.management)).body("text/plain", "off");
    assert_eq!(level.send().await.status, 200);
    let token = served.token("alex");
    let alex = post_token(&served, &token, 1).await;
    post_token(&served, &token, 2).await;
    post(&served, "adele", 3).await;
    post(&served, "diego", 4).await;
    let grady = post(&served, "grady", 5).await;
    // Who is not verified is nobody to tell of.
    assert_eq!(served.post_token("no.token.at-all").await.status, 401);
    served
        .emulator
        .set_fault(Endpoint::Exchange, Fault::status(403))
        .unwrap();
    post(&served, "lidia", 6).await;
    let output = flushed(served).await.stdout;
    let written = events(&output);
    assert_eq!(written.len(), 6, "{output}");
    let requests = lines(&output).filter(|line| line["message"] == "request");
    assert_eq!(requests.count(), 0, "the rest is off");
    let fabrikam = FABRIKAM.to_string();
    let contoso = CONTOSO.to_string();
    let group = FABRIKAM_CALLERS.to_string();
    let hash = written[0]["enduser.pseudo.id"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 32);
    let cases = [
        (1, "issued", &fabrikam, Some("user"), Some(&hash), Some("miss"), None),
        (2, "issued", &fabrikam, Some("user"), Some(&hash), Some("hit"), None),
        (3, "issued", &fabrikam, Some("group"), Some(&group), Some("miss"), None),
        (
            4,
            "issued",
            &contoso,
            Some("tenant"),
            Some(&contoso),
            Some("miss"),
            None,
        ),
        (5, "refused", &fabrikam, None, None, None, Some("NotAssigned")),
    ];
    for (event, (n, decision, tenant, kind, object, cache, code)) in written.iter().zip(cases) {
        assert_eq!(event["decision"], decision, "{event}");
        assert_eq!(event["level"], "INFO");
        assert_eq!(event["trace_id"], trace(n));
        assert_eq!(event["acs_broker.tenant.id"], tenant.as_str());
        assert_eq!(event["acs_broker.client_app.id"], CONTOSO_APP.to_string());
        assert_eq!(event["acs_broker.assignment.kind"].as_str(), kind, "{event}");
        assert_eq!(
            event["acs_broker.assignment.object_id"].as_str(),
            object.map(String::as_str)
        );
        assert_eq!(event["acs_broker.cache.outcome"].as_str(), cache);
        let source = (cache == Some("hit")).then_some("memory");
        assert_eq!(event["acs_broker.cache.source"].as_str(), source);
        assert_eq!(event["acs_broker.error.code"].as_str(), code);
        assert!(event["acs_broker.scopes"].as_str().unwrap().contains("VoIP"));
        assert_eq!(event["request_id"].as_str().unwrap().len(), 36);
        assert_eq!(event["enduser.pseudo.id"].as_str().unwrap().len(), 32);
    }
    assert_eq!(written[5]["acs_broker.error.code"], "ExchangeForbidden");
    assert_ne!(written[4]["enduser.pseudo.id"], hash.as_str());
    // The same over OTLP.
    let sent: Vec<_> = collector
        .logs()
        .into_iter()
        .filter(|(target, _)| target == TARGET)
        .collect();
    assert_eq!(sent.len(), written.len());
    for ((_, record), line) in sent.iter().zip(&written) {
        assert_eq!(line["trace_id"], hex(&record.trace_id));
        for name in [
            "decision",
            "enduser.pseudo.id",
            "request_id",
            "acs_broker.assignment.kind",
        ] {
            assert_eq!(value(&record.attributes, name).as_deref(), line[name].as_str());
        }
    }
    for id in [alex, grady] {
        assert!(!output.contains(&id) && !collector.bytes().contains(&id));
    }
}

#[tokio::test]
async fn strangers_push_out_no_audit_event_and_cause_few_lines() {
    const STRANGERS: usize = 2_400;
    let (served, collector) = exported_with(&[]).await;
    let gate = collector.hang();
    let token = served.token("alex");
    let client = client(|builder| builder);
    for n in 0..40 {
        let strangers = (0..STRANGERS / 40).map(|n| {
            let call = served.call("/token");
            let call = if n % 2 == 0 {
                call.bearer("no.token.at-all")
            } else {
                call
            };
            call.send_with(&client)
        });
        let refused = futures_util::future::join_all(strangers).await;
        assert!(refused.into_iter().all(|answer| answer.unwrap().status == 401));
        post_token(&served, &token, n).await;
    }
    drop(gate);
    let output = flushed(served).await.stdout;
    assert_eq!(events(&output).len(), 40);
    // An export that was not answered in time is sent again.
    let arrived = collector.logs().into_iter().filter(|(target, _)| target == TARGET);
    let arrived: BTreeSet<_> = arrived
        .map(|(_, record)| value(&record.attributes, "request_id"))
        .collect();
    assert_eq!(arrived.len(), 40);
    // Sixty lines for each code in a minute, and what is left out is told.
    let refusals: Vec<Value> = lines(&output)
        .filter(|line| line["acs_broker.error.code"].is_string() && line["target"] != TARGET)
        .collect();
    let more: Vec<&Value> = refusals.iter().filter(|line| line["message"] != "request").collect();
    let bytes: usize = refusals.iter().map(|line| line.to_string().len()).sum();
    let told: u64 = more
        .iter()
        .map(|line| line["acs_broker.requests"].as_u64().unwrap())
        .sum();
    assert_eq!(usize::try_from(told).unwrap() + refusals.len() - more.len(), STRANGERS);
    // A minute may have ended meanwhile, on a slow machine.
    assert!(
        (120..=360).contains(&(refusals.len() - more.len())),
        "{}",
        refusals.len()
    );
    assert!(bytes < 200_000, "{bytes}");
    let sum = more.last().unwrap();
    assert_eq!(sum["level"], "WARN");
    assert!(sum["message"].as_str().unwrap().starts_with("and "), "{sum}");
    for code in ["InvalidToken", "AuthenticationRequired"] {
        assert!(
            more.iter().any(|line| line["acs_broker.error.code"] == code),
            "{more:?}"
        );
    }
}

#[tokio::test]
async fn users_are_named_as_configured() {
    for (rule, plain, pseudonym) in [("plain", true, false), ("none", false, false), ("hash", false, true)] {
        let settings = [("ACS_TOKEN_BROKER__TELEMETRY__USER_IDS", rule)];
        let (served, collector) = exported_with(&settings).await;
        let alex = post(&served, "alex", 1).await;
        post(&served, "grady", 2).await;
        let output = flushed(served).await.stdout;
        let written = events(&output);
        assert_eq!(
            written[0]["enduser.id"].as_str(),
            plain.then_some(alex.as_str()),
            "{rule}"
        );
        assert_eq!(written[0]["enduser.pseudo.id"].is_string(), pseudonym, "{rule}");
        assert_eq!(output.contains(&alex), plain);
        assert_eq!(collector.bytes().contains(&alex), plain);
        assert_eq!(collector.bytes().contains("enduser.pseudo.id"), pseudonym);
    }
}

#[tokio::test]
async fn audit_can_be_turned_off() {
    let (served, _collector) = exported_with(&[("ACS_TOKEN_BROKER__TELEMETRY__AUDIT", "false")]).await;
    post(&served, "alex", 1).await;
    post(&served, "grady", 2).await;
    let output = flushed(served).await.stdout;
    assert_eq!(events(&output), Vec::<Value>::new());
    assert!(output.contains("request"));
}

/// A broker that asks the emulator's Graph, with a collector.
pub(crate) async fn asking_graph(user_ids: &str) -> (Served, Collector) {
    let collector = Collector::start().await;
    let mut environment = exporting_to(&collector);
    let served = Served::start_with(None, |origin| {
        let settings = [
            ("TELEMETRY__USER_IDS", user_ids.to_owned()),
            ("ASSIGNMENTS__UNKNOWN_GROUPS", "graph".to_owned()),
            ("GRAPH__ENDPOINT", origin),
            ("GRAPH__CLIENT_ID", CONTOSO_API.to_string()),
            ("GRAPH__CREDENTIAL", "secret".to_owned()),
            ("GRAPH__CLIENT_SECRET", CONTOSO_API_SECRET.to_owned()),
        ];
        environment.extend(settings.map(|(name, value)| (format!("ACS_TOKEN_BROKER__{name}"), value)));
        environment
    });
    (served.await, collector)
}

#[tokio::test]
async fn a_user_that_an_upstream_names_is_shown_as_configured() {
    for rule in ["none", "hash"] {
        let (served, collector) = asking_graph(rule).await;
        let token = served.token("lidia");
        let lidia = user_of(&token);
        // As it is, in other ways of writing, and where the broker cuts the text: after 127 characters.
        let quoted = [
            lidia.clone(),
            lidia.to_uppercase(),
            lidia.replace('-', ""),
            format!("{}to {lidia}", "word ".repeat(16)),
        ];
        for (n, quoted) in (1..).zip(&quoted) {
            let message = format!("Resource '{quoted}' does not exist");
            let fault = Fault {
                body: Some(json!({"error": {"code": "Request_BadRequest", "message": message}})),
                ..Fault::status(400)
            };
            served.emulator.set_fault(Endpoint::Graph, fault).unwrap();
            post_token(&served, &token, n).await;
        }
        let output = flushed(served).await.stdout;
        let spans = collector.trace(&trace(1));
        let kind = attribute(one(&spans, "membership"), "error.type");
        assert_eq!(kind.as_deref(), Some("graph_invalid_response"));
        let authorize = &one(&spans, "authorize").events[0];
        let said = value(&authorize.attributes, "exception.message").unwrap();
        assert!(said.contains("Request_BadRequest"), "{said}");
        // The user's id begins as the tenant's does, which is shown.
        for written in [output, collector.bytes()] {
            let written = written.to_lowercase();
            for part in [&lidia[..33], &lidia.replace('-', "")[..29]] {
                let line = written.lines().find(|line| line.contains(part));
                assert_eq!(line, None, "{rule}: {part}");
            }
        }
    }
}
