use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::support::{Answer, EXCHANGE, call, claims, loopback, stage};
use crate::scenario::FABRIKAM;
use crate::{Emulator, EmulatorError, Endpoint, Fault, Scenario};
use base::clock::SystemClock;

/// Whether an answer is spoiled as it should be.
type Holds = fn(&Answer) -> bool;

const TOKEN: &str = "/_emulator/users/adele/token";

#[tokio::test]
async fn only_loopback_addresses_are_listened_on() {
    let start =
        |address: &str| Emulator::start(Scenario::demo(), address.parse().unwrap(), None, SystemClock::shared());
    assert!(matches!(start("0.0.0.0:0").await, Err(EmulatorError::NotLoopback(_))));
    let emulator = start("127.0.0.1:0").await.unwrap();
    let address = emulator.address();
    assert_eq!(emulator.origin(), format!("http://{address}"));
    assert!(
        emulator
            .connection_string()
            .starts_with(&format!("endpoint=http://{address}/;accesskey="))
    );
    assert!(matches!(
        start(&address.to_string()).await,
        Err(EmulatorError::Listen { .. })
    ));
    emulator.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn users_get_tokens() {
    let stage = stage().await;
    let users = stage.get("/_emulator/users").await.json();
    assert_eq!(users[0]["name"], "adele");
    assert_eq!(
        users[0]["tenant"],
        json!({"id": FABRIKAM.to_string(), "name": "Fabrikam"})
    );
    assert_eq!(users[0]["coveredBy"]["name"], "Fabrikam Callers");
    assert_eq!(users[0]["tokenUrl"], format!("{}{TOKEN}", stage.emulator.origin()));

    let answer = stage.send("POST", TOKEN, &[], "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert!((3600..5400).contains(&body["expires_in"].as_i64().unwrap()));
    assert_eq!(stage.exchange(body["access_token"].as_str().unwrap()).await.status, 200);

    let overrides = r#"{"audience":"api://x","scopes":"a b","lifetime":60,"version":"1.0","claims":{"y":1}}"#;
    let body = stage.send("POST", TOKEN, &[], overrides).await.json();
    assert_eq!(
        (&body["scope"], &body["expires_in"]),
        (&json!("api://x/a api://x/b"), &json!(60))
    );
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!((&token["ver"], &token["y"]), (&json!("1.0"), &json!(1)));

    let answer = stage.send("POST", "/_emulator/users/nobody/token", &[], "").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (404, &json!("UserNotFound"))
    );
    for bad in [r#"{"lifetimes":1}"#, r#"{"version":"3.0"}"#, "[]", "{"] {
        assert_eq!(stage.send("POST", TOKEN, &[], bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn keys_rotate_over_http() {
    let stage = stage().await;
    let old = stage.emulator.current_kid("Fabrikam").unwrap();
    let body = stage.send("POST", "/_emulator/keys/rotate", &[], "").await.json();
    assert_eq!(body["keys"].as_array().unwrap().len(), 2);
    let new = stage.emulator.current_kid("Fabrikam").unwrap();
    assert_eq!(body["keys"][1]["published"], json!([old, new]));
    let only = r#"{"tenant":"Fabrikam","withdraw_old":true}"#;
    let body = stage.send("POST", "/_emulator/keys/rotate", &[], only).await.json();
    let newest = stage.emulator.current_kid("Fabrikam").unwrap();
    assert_eq!(
        body["keys"],
        json!([{
            "tenant": {"id": FABRIKAM.to_string(), "name": "Fabrikam"},
            "kid": newest,
            "published": [newest],
        }])
    );
    let unknown = stage
        .send("POST", "/_emulator/keys/rotate", &[], r#"{"tenant":"x"}"#)
        .await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn faults_are_set_over_http_and_end() {
    let stage = stage().await;
    let token = stage.token("alex", json!({}));
    let fault = json!({"exchange": {"status": 503, "times": 1, "retry_after": 7, "headers": {"x-a": "b"}}});
    let answer = stage.send("PUT", "/_emulator/faults", &[], &fault.to_string()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["exchange"]["retry_after"], "7");
    let broken = stage.exchange(&token).await;
    assert_eq!((broken.status, broken.header("retry-after")), (503, Some("7")));
    assert_eq!(
        (broken.header("x-a"), &broken.json()["error"]["code"]),
        (Some("b"), &json!("ServiceUnavailable"))
    );
    assert_eq!(stage.exchange(&token).await.status, 200);
    assert_eq!(stage.get("/_emulator/faults").await.json(), json!({}));

    for bad in [
        json!({"exchanges": {"status": 503}}),
        json!({"exchange": {"stats": 503}}),
        json!({"exchange": {"times": 0}}),
        json!({"exchange": 1}),
    ] {
        let answer = stage.send("PUT", "/_emulator/faults", &[], &bad.to_string()).await;
        assert_eq!(answer.status, 400, "{bad}");
    }

    let two = json!({"exchange": {"redirect": "http://elsewhere.example/"}, "keys": {"empty_key_set": true}});
    stage.send("PUT", "/_emulator/faults", &[], &two.to_string()).await;
    let answer = stage.exchange(&token).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("http://elsewhere.example/"))
    );
    let keys = stage.get(&format!("/{FABRIKAM}/discovery/keys")).await.json();
    assert_eq!(keys, json!({"keys": []}));
    assert_eq!(
        stage.send("DELETE", "/_emulator/faults/exchange", &[], "").await.status,
        204
    );
    assert_eq!(
        stage.send("DELETE", "/_emulator/faults/other", &[], "").await.status,
        404
    );
    assert_eq!(stage.exchange(&token).await.status, 200);
    assert_eq!(stage.send("DELETE", "/_emulator/faults", &[], "").await.status, 204);
    assert_eq!(stage.get("/_emulator/faults").await.json(), json!({}));
}

#[tokio::test]
async fn answers_are_spoiled_and_connections_dropped() {
    let stage = stage().await;
    let token = stage.token("alex", json!({}));
    let cases: [(Value, Holds); 4] = [
        (json!({"broken_json": true}), |answer| {
            serde_json::from_slice::<Value>(&answer.body).is_err()
        }),
        (json!({"wrong_content_type": true}), |answer| {
            answer.header("content-type") == Some("text/html; charset=utf-8")
        }),
        (json!({"past_expires_on": true, "latency_ms": 1}), |answer| {
            answer.json()["accessToken"]["expiresOn"] == "2025-12-31T23:59:00.0000000+00:00"
        }),
        (json!({"oversize": 70000}), |answer| answer.body.len() > 70000),
    ];
    for (fault, holds) in cases {
        let set = serde_json::from_value(fault.clone()).unwrap();
        stage.emulator.set_fault(Endpoint::Exchange, set).unwrap();
        let answer = stage.exchange(&token).await;
        assert!(answer.status == 200 && holds(&answer), "{fault}: {answer:?}");
    }
    stage.emulator.clear_faults();
    stage.emulator.clear_journal();
    stage
        .emulator
        .set_fault(Endpoint::Keys, Fault::drop_connection().times(1))
        .unwrap();
    let path = format!("/{FABRIKAM}/discovery/keys");
    assert!(stage.try_send("GET", &path, &[], "").await.is_none());
    assert_eq!(stage.get(&path).await.status, 200);
    let statuses: Vec<_> = stage.emulator.journal().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [None, Some(200)]);
}

#[tokio::test]
async fn a_caller_who_leaves_is_counted() {
    let stage = stage().await;
    stage
        .emulator
        .set_fault(Endpoint::Exchange, Fault::latency(Duration::from_mins(1)))
        .unwrap();
    let token = stage.token("alex", json!({}));
    let left = tokio::time::timeout(Duration::from_millis(200), stage.exchange(&token)).await;
    assert!(left.is_err());
    assert_eq!(stage.emulator.count(Endpoint::Exchange), 1);
    assert_eq!(stage.emulator.journal()[0].status, None);
}

#[tokio::test]
async fn the_journal_tells_calls_but_no_tokens() {
    let stage = stage().await;
    let token = stage.token("alex", json!({}));
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-ms-client-request-id", "abc"),
        ("user-agent", "test/1"),
    ];
    let acs = stage.send("POST", EXCHANGE, &headers, "{}").await.json();
    stage.get("/nowhere").await;
    let answer = stage.get("/_emulator/journal").await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    for secret in [
        token.as_str(),
        acs["accessToken"]["token"].as_str().unwrap(),
        "Bearer",
        "authorization",
    ] {
        assert!(!text.contains(secret));
    }
    let journal = answer.json();
    assert_eq!(
        (&journal["counts"]["exchange"], &journal["counts"]["keys"]),
        (&json!(1), &json!(0))
    );
    let call = &journal["calls"][0];
    assert_eq!(call["endpoint"], "exchange");
    assert_eq!(call["path"], "/access/entra/:exchangeAccessToken");
    assert_eq!((&call["method"], &call["status"]), (&json!("POST"), &json!(200)));
    assert_eq!(call["api_version"], "2025-03-02-preview");
    assert_eq!(
        (&call["x-ms-client-request-id"], &call["user_agent"]),
        (&json!("abc"), &json!("test/1"))
    );
    assert!(call["traceparent"].as_str().unwrap().starts_with("00-0af7"));
    assert_eq!(
        (&journal["calls"][1]["endpoint"], &journal["calls"][1]["status"]),
        (&Value::Null, &json!(404))
    );
    assert_eq!(stage.send("DELETE", "/_emulator/journal", &[], "").await.status, 204);
    assert!(stage.emulator.journal().is_empty());
}

#[tokio::test]
async fn one_port_speaks_http_and_tls() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let emulator = Emulator::start(
        Scenario::demo(),
        loopback(),
        Some(Arc::new(server)),
        SystemClock::shared(),
    )
    .await
    .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let path = format!("/{FABRIKAM}/v2.0/.well-known/openid-configuration");

    let plain = TcpStream::connect(emulator.address()).await.unwrap();
    let plain = call(plain, "GET", &path, &[("host", "localhost")], "")
        .await
        .unwrap()
        .json();
    let stream = TcpStream::connect(emulator.address()).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
        .unwrap();
    let tls = call(stream, "GET", &path, &[("host", "localhost")], "")
        .await
        .unwrap()
        .json();

    let keys_at = |origin: String| json!(format!("{origin}/{FABRIKAM}/discovery/v2.0/keys"));
    assert_eq!(plain["jwks_uri"], keys_at(emulator.origin()));
    assert_eq!(tls["jwks_uri"], keys_at(emulator.tls_origin().unwrap()));
    assert_eq!(plain["issuer"], tls["issuer"]);
    // Microsoft's libraries want the issuer where the authority is, and https.
    let issuer = format!("{}/{FABRIKAM}/v2.0", emulator.tls_origin().unwrap());
    assert_eq!(tls["issuer"], issuer);
    let token = emulator.issue_token("adele", &crate::TokenRequest::default()).unwrap();
    assert_eq!(claims(&token)["iss"], issuer);
}
