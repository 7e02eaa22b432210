//! Traces: one server span a request with its stages, linked through to ACS and Entra; logs tell the same ids.

use azure_emulator::{Endpoint, Fault};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;

use crate::support::forge::assemble;
use crate::support::observed::{PARENT, exported, flushed, lines, one, trace, traceparent, user_in};
use crate::support::otlp::{Collector, attribute, hex};
use crate::support::process::Served;
use crate::support::stack::{ACS_PATH, API_VERSION};

#[tokio::test]
async fn a_request_is_one_trace_from_the_caller_to_acs() {
    let (broker, collector) = exported().await;
    let token = broker.token("alex");
    for n in [1, 2] {
        let call = broker
            .call("/token")
            .bearer(&token)
            .header("traceparent", &traceparent(n));
        assert_eq!(call.send().await.outcome(), "200");
    }
    let acs_saw: Vec<String> = broker
        .emulator
        .journal()
        .into_iter()
        .filter(|call| call.endpoint == Some(Endpoint::Exchange))
        .map(|call| call.traceparent.unwrap())
        .collect();
    flushed(broker).await;

    let spans = collector.trace(&trace(1));
    let server = one(&spans, "POST /token");
    assert_eq!(
        (server.kind(), hex(&server.parent_span_id)),
        (SpanKind::Server, PARENT.to_owned())
    );
    assert_eq!(attribute(server, "url.path").as_deref(), Some("/token"));
    assert_eq!(attribute(server, "http.response.status_code").as_deref(), Some("200"));
    for stage in ["authenticate", "authorize", "cache"] {
        assert_eq!(one(&spans, stage).parent_span_id, server.span_id, "{stage}");
    }
    let exchange = one(&spans, "exchange");
    let ancestors = [&server.span_id, &one(&spans, "cache").span_id];
    assert!(ancestors.contains(&&exchange.parent_span_id));
    let client = one(&spans, "POST");
    assert_eq!(
        (client.kind(), &client.parent_span_id),
        (SpanKind::Client, &exchange.span_id)
    );
    let url = attribute(client, "url.full").unwrap();
    assert!(url.ends_with(&format!("{ACS_PATH}?api-version={API_VERSION}")), "{url}");
    assert_eq!(acs_saw, [format!("00-{}-{}-01", trace(1), hex(&client.span_id))]);
    assert_eq!(spans.len(), 6);

    // A hit asks nobody.
    let spans = collector.trace(&trace(2));
    assert_eq!(
        attribute(one(&spans, "cache"), "acs_broker.cache.outcome").as_deref(),
        Some("hit")
    );
    assert_eq!(spans.len(), 4);
    assert!(collector.bytes().contains("broker-under-test"));
}

#[tokio::test]
async fn whatever_is_answered_has_one_server_span() {
    let (broker, collector) = exported().await;
    let token = broker.token("alex");
    broker
        .emulator
        .set_fault(Endpoint::Exchange, Fault::status(500))
        .unwrap();
    let secret = "c0ffee5ecret";
    let cases = [
        (1, "POST", "/token".to_owned(), None, "POST /token", 401),
        (2, "GET", "/token".to_owned(), None, "GET /token", 405),
        (3, "POST", format!("/{secret}?{secret}"), None, "POST", 404),
        (4, "BREW", "/token".to_owned(), None, "HTTP /token", 405),
        (5, secret, format!("/x/{secret}"), None, "HTTP", 404),
        (
            6,
            "POST",
            format!("/token?access_token={secret}"),
            None,
            "POST /token",
            401,
        ),
        (
            7,
            "POST",
            format!("{ACS_PATH}?api-version={API_VERSION}&x={secret}"),
            Some(token.as_str()),
            "POST /access/entra/:exchangeAccessToken",
            503,
        ),
    ];
    for (n, method, path, bearer, _, status) in &cases {
        let mut call = crate::support::http::Call::new(method, format!("{}{path}", broker.public));
        call = call.header("traceparent", &traceparent(*n));
        if let Some(token) = bearer {
            call = call.bearer(token);
        }
        assert_eq!(call.send().await.status, *status, "{path}");
    }
    let output = flushed(broker).await.stdout;
    for (n, method, path, _, name, status) in &cases {
        let spans = collector.trace(&trace(*n));
        let server: Vec<&Span> = spans.iter().filter(|span| span.kind() == SpanKind::Server).collect();
        assert_eq!(server.len(), 1, "{path}");
        assert_eq!(server[0].name, *name);
        assert_eq!(
            attribute(server[0], "http.response.status_code"),
            Some(status.to_string())
        );
        let route = name.split_once(' ').map(|(_, route)| route.to_owned());
        assert_eq!(attribute(server[0], "url.path"), route, "only of a matched route");
        let known = if name.starts_with("HTTP") { "_OTHER" } else { method };
        assert_eq!(
            attribute(server[0], "http.request.method").as_deref(),
            Some(known),
            "{path}"
        );
        let failed = server[0].status.as_ref().is_some_and(|status| status.code == 2);
        assert_eq!(failed, *status >= 500, "{path}");
        // The line about it names the trace.
        assert!(
            lines(&output).any(|line| line["trace_id"] == trace(*n).as_str()),
            "{path}"
        );
    }
    assert!(!collector.bytes().contains(secret));
    assert!(!output.contains(secret));
}

#[tokio::test]
async fn without_an_exporter_the_trace_goes_on() {
    let served = Served::start(None, &[]).await;
    let call = served
        .call("/token")
        .bearer(&served.token("alex"))
        .header("traceparent", &traceparent(1));
    assert_eq!(call.send().await.outcome(), "200");
    // An unknown key's fetch belongs to the caller who caused it.
    served.emulator.rotate_keys(Some("Contoso")).unwrap();
    let call = served
        .call("/token")
        .bearer(&served.token("diego"))
        .header("traceparent", &traceparent(2));
    assert_eq!(call.send().await.outcome(), "200");
    // One that is no traceparent starts a trace of its own.
    let call = served
        .call("/token")
        .bearer(&served.token("adele"))
        .header("traceparent", "00-nonsense");
    assert_eq!(call.send().await.outcome(), "200");
    let seen = |endpoint: Endpoint, n: u32| {
        let calls = served.emulator.journal();
        let with = |call: &&azure_emulator::CallRecord| {
            call.traceparent.as_deref().is_some_and(|text| text.contains(&trace(n)))
        };
        calls
            .iter()
            .filter(|call| call.endpoint == Some(endpoint))
            .filter(with)
            .count()
    };
    assert_eq!(seen(Endpoint::Exchange, 1), 1);
    assert_eq!(seen(Endpoint::Exchange, 2), 1);
    assert_eq!((seen(Endpoint::Discovery, 2), seen(Endpoint::Keys, 2)), (2, 1));
    let calls = served.emulator.journal();
    let parents: Vec<&str> = calls.iter().filter_map(|call| call.traceparent.as_deref()).collect();
    assert!(
        parents
            .iter()
            .all(|parent| parent.len() == 55 && !parent.contains("nonsense")),
        "{parents:?}"
    );
}

/// W3C Trace Context, section 3.2.2: what another tracer would read otherwise belongs to no trace.
#[tokio::test]
async fn what_is_no_traceparent_begins_a_new_trace() {
    let (broker, collector) = exported().await;
    let token = broker.token("alex");
    let (id, span) = (trace(1), "b7ad6b7169203331");
    let malformed = [
        // Thirty digits, thirty-one, thirty-three.
        vec![format!("00-{}-{span}-01", &id[2..])],
        vec![format!("00-{}-{span}-01", &id[1..])],
        vec![format!("00-0{id}-{span}-01")],
        vec![format!("00-{}-{span}-01", id.to_uppercase())],
        vec![format!("00-{id}-{}-01", &span[2..])],
        vec![format!("00-{id}-{span}-1")],
        vec![format!("00-{id}-{span}-01-more")],
        vec![format!("ff-{id}-{span}-01")],
        vec![format!("00-{id}-0000000000000000-01")],
        vec![traceparent(1), traceparent(1)],
        vec![traceparent(1), traceparent(2)],
        vec![format!("{}, {}", traceparent(1), traceparent(2))],
    ];
    let count = malformed.len();
    for parents in malformed {
        let mut call = broker
            .call("/token")
            .bearer(&token)
            .header("tracestate", "vendor=carried-state");
        for parent in &parents {
            call = call.header("traceparent", parent);
        }
        assert_eq!(call.send().await.outcome(), "200", "{parents:?}");
    }
    let exchanges = broker.emulator.journal().into_iter();
    let seen: Vec<String> = exchanges
        .filter(|call| call.endpoint == Some(Endpoint::Exchange))
        .filter_map(|call| call.traceparent)
        .collect();
    let output = flushed(broker).await.stdout;
    let spans = collector.spans();
    let servers: Vec<&Span> = spans.iter().filter(|span| span.name == "POST /token").collect();
    assert_eq!(servers.len(), count);
    let ids: std::collections::BTreeSet<String> = servers.iter().map(|span| hex(&span.trace_id)).collect();
    assert_eq!(ids.len(), count, "each has a trace of its own");
    for server in servers {
        assert!(
            server.parent_span_id.is_empty() && server.trace_state.is_empty(),
            "{server:?}"
        );
    }
    let [exchange] = &seen[..] else { panic!("{seen:?}") };
    assert!(exchange.len() == 55 && ids.contains(&exchange[3..35]), "{exchange}");
    // Not even a part of what was sent is anywhere.
    for written in [output, format!("{ids:?}{seen:?}")] {
        assert!(!written.contains(&id[2..]) && !written.contains(&id[2..].to_uppercase()));
    }
}

/// Whatever goes in or out, no token is written anywhere, at the most talkative level.
#[tokio::test]
async fn no_token_is_ever_written() {
    let collector = Collector::start().await;
    let origin = collector.origin();
    for format in ["json", "pretty"] {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", origin.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            (
                "ACS_TOKEN_BROKER__TELEMETRY__LOG_LEVEL",
                "trace,hyper=trace,reqwest=trace,h2=trace,rustls=trace",
            ),
            ("ACS_TOKEN_BROKER__TELEMETRY__LOG_FORMAT", format),
            ("RUST_LOG", "trace"),
        ];
        let served = Served::start(None, &environment).await;
        let mut secrets = provoke(&served).await;
        let ended = flushed(served).await;
        let users: Vec<String> = secrets.iter().filter_map(|token| user_in(token)).collect();
        assert!(users.len() > 10);
        // The header is the same for all and no secret; payload and signature are, each by itself.
        secrets = secrets
            .iter()
            .flat_map(|token| token.split('.').skip(1))
            .map(str::to_owned)
            // Users are named by a hash.
            .chain(users)
            .collect();
        assert!(secrets.len() > 20);
        let written = [ended.stdout, ended.stderr, collector.bytes()];
        for secret in secrets.iter().filter(|secret| secret.len() > 8) {
            for output in &written {
                let line = output.lines().find(|line| line.contains(secret.as_str()));
                assert_eq!(line, None, "{format}: {secret}");
            }
        }
        assert!(written[0].len() > 2000, "something was written");
        assert!(collector.spans().len() > 20 && collector.logs().len() > 20);
    }
}

/// Requests of every kind; gives all tokens that went in and out.
async fn provoke(served: &Served) -> Vec<String> {
    let mut tokens = Vec::new();
    for user in ["alex", "adele", "diego", "megan", "app-only"] {
        let token = served.token(user);
        let answer = served.post_token(&token).await;
        if answer.status == 200 {
            tokens.push(answer.token());
        }
        tokens.push(token);
    }
    let token = served.token("alex");
    let parts: Vec<&str> = token.split('.').collect();
    let tampered = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(342));
    let none = assemble(r#"{"alg":"none"}"#, r#"{"tid":"stolen-secret-tenant-value"}"#, "");
    served.emulator.rotate_keys(None).unwrap();
    let rotated = served.token("alex");
    for token in [&token, &tampered, &none, &format!("{token}.{token}"), &rotated] {
        served.post_token(token).await;
        let in_url = served.call(&format!("/token?access_token={token}")).send().await;
        assert_eq!(in_url.status, 401);
        let in_path = served.call(&format!("/{token}")).send().await;
        assert_eq!(in_path.status, 404);
        served.call("/token").bearer(token).bearer(token).send().await;
        served
            .call("/token")
            .header("authorization", &format!("Basic {token}"))
            .send()
            .await;
        served.call("/token").header("authorization", token).send().await;
        served
            .call("/token")
            .header("x-ms-client-request-id", token)
            .send()
            .await;
        served
            .call("/token")
            .header("tracestate", &format!("x={token}"))
            .send()
            .await;
        served.call("/token").header("traceparent", token).send().await;
        served
            .call("/token")
            .body("application/json", format!("{{\"token\":\"{token}\"}}"))
            .send()
            .await;
        for grant in ["urn:ietf:params:oauth:grant-type:token-exchange", token] {
            let form = crate::support::stack::form(&[
                ("grant_type", grant),
                ("subject_token", token),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("scope", token),
                ("resource", token),
            ]);
            served
                .call("/token")
                .body("application/x-www-form-urlencoded", form)
                .send()
                .await;
        }
        served.call(&format!("{ACS_PATH}?api-version={token}")).send().await;
        tokens.push(token.clone());
    }
    // ACS quotes the token in what it answers.
    for status in [200, 400, 401, 403, 429, 500] {
        let fresh = served.emulator.issue_token("alex", &short_lived()).unwrap();
        for body in [
            serde_json::json!({"error": {"code": fresh, "message": format!("the token {fresh} is bad"), "target": fresh}}),
            serde_json::json!({"identity": {"id": fresh}, "accessToken": {"token": fresh, "expiresOn": fresh}}),
            Value::String(fresh.clone()),
        ] {
            let fault = Fault {
                body: Some(body),
                ..Fault::status(status)
            };
            served.emulator.set_fault(Endpoint::Exchange, fault).unwrap();
            served.post_token(&fresh).await;
        }
        tokens.push(fresh);
    }
    tokens
}

/// Too short-lived to be cached.
fn short_lived() -> azure_emulator::TokenRequest {
    azure_emulator::TokenRequest {
        lifetime: Some(25),
        ..Default::default()
    }
}
