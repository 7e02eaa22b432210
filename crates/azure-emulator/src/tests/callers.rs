//! Who may call, and what they can set of consent, conditional access, the time and encryption.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::support::{EXCHANGE, call, loopback, stage};
use crate::scenario::FABRIKAM;
use crate::{Emulator, EmulatorError, EmulatorOptions, Scenario};
use base::clock::SystemClock;

const TOKEN: &str = "/_emulator/users/adele/token";

#[tokio::test]
async fn pages_on_this_machine_may_call_and_no_others() {
    let stage = stage().await;
    let local = ("origin", "http://localhost:3000");
    let preflight = ("access-control-request-method", "POST");
    let allowed = "access-control-allow-origin";
    let token_endpoint = format!("/{FABRIKAM}/oauth2/v2.0/token");
    let discovery = format!("/{FABRIKAM}/v2.0/.well-known/openid-configuration");
    let authorize = format!("/{FABRIKAM}/oauth2/v2.0/authorize");
    let paths = [
        TOKEN,
        "/_emulator/faults",
        "/_emulator/keys/rotate",
        EXCHANGE,
        &token_endpoint,
        &discovery,
        &authorize,
        "/devicelogin",
    ];
    for path in paths {
        let headers = [local, preflight, ("access-control-request-headers", "authorization")];
        let answer = stage.send("OPTIONS", path, &headers, "").await;
        assert_eq!(answer.header(allowed), Some(local.1), "{path}");
        assert_eq!(answer.header("access-control-allow-headers"), Some("authorization"));
        for foreign in ["https://evil.example", "http://localhost.evil.example", "null"] {
            for method in ["OPTIONS", "POST", "GET"] {
                let answer = stage.send(method, path, &[("origin", foreign), preflight], "").await;
                let seen = (answer.status, answer.header(allowed));
                assert_eq!(seen, (403, None), "{method} {path} {foreign}");
            }
        }
        // A name that its owner points here: DNS rebinding.
        let rebound = [("host", "evil.example:8090"), ("origin", "http://evil.example:8090")];
        assert_eq!(stage.send("POST", path, &rebound, "").await.status, 403, "{path}");
        let rebound = [("host", "evil.example")];
        assert_eq!(stage.send("GET", path, &rebound, "").await.status, 403, "{path}");
    }
    let answer = stage.send("POST", TOKEN, &[local], "").await;
    assert_eq!((answer.status, answer.header(allowed)), (200, Some(local.1)));
    let answer = stage.send("POST", "/_emulator/keys/rotate", &[local], "").await;
    assert_eq!((answer.status, answer.header(allowed)), (200, Some(local.1)));
    // A form that a page of the emulator's own posts: a browser may hide the origin.
    let own = [("origin", "null"), ("sec-fetch-site", "same-origin")];
    assert_eq!(stage.send("POST", "/devicelogin", &own, "").await.status, 200);
}

#[tokio::test]
async fn another_origin_can_be_added() {
    let app = "https://app.contoso.com";
    let mut options = EmulatorOptions::new(loopback(), SystemClock::shared());
    options.origins = vec![app.to_owned()];
    let emulator = Emulator::start_with(Scenario::demo(), options.clone()).await.unwrap();
    let host = emulator.address().to_string();
    for (origin, expected) in [(app, 200), ("https://other.contoso.com", 403)] {
        let stream = TcpStream::connect(emulator.address()).await.unwrap();
        let headers = [("host", host.as_str()), ("origin", origin)];
        let answer = call(stream, "POST", TOKEN, &headers, "").await.unwrap();
        assert_eq!(answer.status, expected, "{origin}");
    }
    options.origins = vec!["app.contoso.com".to_owned()];
    let refused = Emulator::start_with(Scenario::demo(), options).await.unwrap_err();
    assert!(matches!(refused, EmulatorError::Origin(_)), "{refused}");
}

#[tokio::test]
async fn consent_and_conditional_access_are_set_by_user() {
    let stage = stage().await;
    let set = async |body: &str| stage.send("PUT", "/_emulator/users/alex", &[], body).await;
    let answer = set(r#"{"conditional_access":"step_up"}"#).await.json();
    let shown =
        |answer: &Value| [&answer["consent"], &answer["conditionalAccess"], &answer["stepUp"]].map(Value::clone);
    assert_eq!(shown(&answer), ["given", "step_up", "c1"]);
    let answer = set(r#"{"consent":"required","conditional_access":"none"}"#)
        .await
        .json();
    assert_eq!(shown(&answer), [json!("required"), json!("none"), Value::Null]);
    for bad in [r#"{"consent":"maybe"}"#, r#"{"x":1}"#, "[]"] {
        assert_eq!(set(bad).await.status, 400, "{bad}");
    }
    let none = stage.send("PUT", "/_emulator/users/who", &[], "{}").await;
    assert_eq!(none.json()["error"]["code"], "UserNotFound");
    let daemon = stage.send("PUT", "/_emulator/users/app-only", &[], "{}").await;
    assert_eq!(daemon.status, 400);
}

#[tokio::test]
async fn the_time_is_moved_on() {
    let stage = stage().await;
    let old = stage.token("adele", json!({"lifetime": 900}));
    let move_on = async |body: &str| stage.send("POST", "/_emulator/clock", &[], body).await;
    let answer = move_on(r#"{"advance":"10m"}"#).await;
    assert_eq!(
        answer.json(),
        json!({"now": "2026-01-01T00:10:00Z", "ahead_seconds": 600})
    );
    assert_eq!(stage.exchange(&old).await.status, 200);
    move_on(r#"{"advance":"10m"}"#).await;
    assert_eq!(stage.exchange(&old).await.status, 401);
    for bad in [
        r#"{"advance":"-10m"}"#,
        r#"{"advance":"soon"}"#,
        "{}",
        r#"{"advance":10}"#,
    ] {
        assert_eq!(move_on(bad).await.status, 400, "{bad}");
    }
    assert_eq!(
        stage.get("/_emulator/clock").await.json()["now"],
        "2026-01-01T00:20:00Z"
    );
}

#[tokio::test]
async fn acs_tokens_can_be_encrypted() {
    let stage = stage().await;
    let parts = async || {
        let answer = stage.exchange(&stage.token("adele", json!({}))).await.json();
        answer["accessToken"]["token"].as_str().unwrap().split('.').count()
    };
    assert_eq!(parts().await, 3);
    let on = r#"{"encrypted_tokens":true}"#;
    let answer = stage.send("PUT", "/_emulator/acs", &[], on).await;
    assert_eq!((answer.status, parts().await), (200, 5));
    assert_eq!(
        stage.get("/_emulator/acs").await.json(),
        json!({"encrypted_tokens": true, "quota": "off"})
    );
    stage.send("PUT", "/_emulator/acs", &[], "{}").await;
    assert_eq!(parts().await, 3);
}

#[tokio::test]
async fn acs_can_have_a_quota() {
    let stage = stage().await;
    let answer = stage.send("PUT", "/_emulator/acs", &[], r#"{"quota":"2/30s"}"#).await;
    assert_eq!(answer.json()["quota"], "2/30s");
    let token = stage.token("adele", json!({}));
    for expected in [200, 200, 429] {
        assert_eq!(stage.exchange(&token).await.status, expected);
    }
    stage
        .send("POST", "/_emulator/clock", &[], r#"{"advance":"30s"}"#)
        .await;
    assert_eq!(stage.exchange(&token).await.status, 200);
    let wrong = stage.send("PUT", "/_emulator/acs", &[], r#"{"quota":"many"}"#).await;
    assert_eq!(wrong.status, 400);
    stage.send("PUT", "/_emulator/acs", &[], "{}").await;
    for _ in 0..3 {
        assert_eq!(stage.exchange(&token).await.status, 200);
    }
}
