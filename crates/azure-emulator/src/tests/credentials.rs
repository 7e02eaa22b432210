use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::{ClientCertificate, JWT_BEARER, NOW, Stage, changed, claims, entra_error, stage};
use crate::scenario::{CONTOSO, CONTOSO_API, ClientSecret, FABRIKAM};
use crate::{FederatedTokenRequest, InvalidCertificate};

const API: &str = "c0a5a991-0000-4000-8000-000000000005";
const NOBODY: (u16, &str) = (401, "invalid_client");

/// Asks for a Graph token with an assertion.
async fn ask(stage: &Stage, tenant: &str, assertion: &str) -> super::support::Answer {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", API),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", assertion),
    ];
    stage.ask(tenant, &fields).await
}

#[track_caller]
fn refused(answer: &super::support::Answer, code: u64, case: &str) {
    let (status, error, found) = entra_error(answer);
    assert_eq!((status, error.as_str(), found), (NOBODY.0, NOBODY.1, code), "{case}");
}

#[tokio::test]
async fn a_registered_certificate_proves_the_client() {
    let stage = stage().await;
    let certificate = ClientCertificate::new();
    let origin = stage.emulator.origin();
    let endpoint = format!("{origin}/{FABRIKAM}/oauth2/v2.0/token");
    let good = json!({
        "iss": API, "sub": API, "aud": endpoint, "jti": "1", "nbf": NOW, "iat": NOW, "exp": NOW + 300,
    });
    let header = |alg: &str| json!({"typ": "JWT", "alg": alg, "x5t#S256": certificate.x5t_s256()});
    let assertion = certificate.sign(&header("PS256"), &good);
    refused(
        &ask(&stage, "fabrikam.com", &assertion).await,
        700_027,
        "not registered",
    );

    let thumbprint = stage.emulator.add_certificate(&certificate.pem).unwrap();
    let answer = ask(&stage, "fabrikam.com", &assertion).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!((&token["appid"], &token["appidacr"]), (&json!(API), &json!("2")));
    for header in [
        header("RS256"),
        json!({"alg": "RS256", "x5t": certificate.x5t()}),
        json!({"alg": "PS256", "x5t": certificate.x5t(), "kid": "x"}),
    ] {
        let answer = ask(&stage, "fabrikam.com", &certificate.sign(&header, &good)).await;
        assert_eq!(answer.status, 200, "{header}");
    }
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        certificate.sign(&header("PS256"), &claims)
    };
    for audience in [
        format!("{origin}/{FABRIKAM}/v2.0"),
        format!("{origin}/fabrikam.com/oauth2/v2.0/token"),
        format!("{origin}/{FABRIKAM}/oauth2/token"),
    ] {
        let answer = ask(&stage, "fabrikam.com", &with("aud", json!(audience))).await;
        assert_eq!(answer.status, 200, "{audience}");
    }
    let cases = [
        (with("iss", json!(CONTOSO.to_string())), 700_021, "another issuer"),
        (with("sub", json!(CONTOSO.to_string())), 700_021, "another subject"),
        (with("iss", json!(null)), 50027, "no issuer"),
        (with("exp", json!(NOW - 300)), 700_024, "ended"),
        (with("exp", json!(null)), 700_024, "without end"),
        (with("nbf", json!(NOW + 301)), 700_024, "not begun"),
        (with("jti", json!(null)), 50027, "without id"),
        (
            with("aud", json!(format!("{origin}/{CONTOSO}/oauth2/v2.0/token"))),
            700_023,
            "another tenant",
        ),
        (
            with("aud", json!("https://login.microsoftonline.com/x/v2.0")),
            700_023,
            "another host",
        ),
        (with("aud", json!([endpoint, "x"])), 5_002_741, "two audiences"),
        (
            certificate.sign(&json!({"alg": "RS256"}), &good),
            700_027,
            "no thumbprint",
        ),
        (
            certificate.sign(&json!({"alg": "RS256", "kid": thumbprint}), &good),
            700_027,
            "kid only",
        ),
        (certificate.sign(&header("HS256"), &good), 50027, "another algorithm"),
        (
            ClientCertificate::new().sign(&header("PS256"), &good),
            700_027,
            "another key",
        ),
        ("x".to_owned(), 50027, "no token"),
    ];
    for (assertion, code, case) in cases {
        refused(&ask(&stage, "fabrikam.com", &assertion).await, code, case);
    }
    // RS256's signature is not PS256's.
    let (signed, _) = assertion.rsplit_once('.').unwrap();
    let rs256 = certificate.sign(&header("RS256"), &good);
    let mixed = format!("{signed}.{}", rs256.rsplit_once('.').unwrap().1);
    refused(&ask(&stage, "fabrikam.com", &mixed).await, 700_027, "mixed algorithms");

    assert!(stage.emulator.remove_certificate(&thumbprint));
    assert!(!stage.emulator.remove_certificate(&thumbprint));
    refused(&ask(&stage, "fabrikam.com", &assertion).await, 700_027, "taken away");
}

#[tokio::test]
async fn a_certificate_must_be_good_and_within_its_time() {
    let stage = stage().await;
    assert_eq!(
        stage.emulator.add_certificate("x").unwrap_err(),
        InvalidCertificate::NoPem
    );
    for (from, to) in [(2020, 2025), (2030, 2040)] {
        let certificate = ClientCertificate::lasting(from, to);
        stage.emulator.add_certificate(&certificate.pem).unwrap();
        let claims = json!({
            "iss": API, "sub": API, "aud": format!("{}/{FABRIKAM}/v2.0", stage.emulator.origin()), "jti": "1",
            "exp": NOW + 300,
        });
        let assertion = certificate.sign(&json!({"alg": "RS256", "x5t": certificate.x5t()}), &claims);
        refused(
            &ask(&stage, "fabrikam.com", &assertion).await,
            700_027,
            "out of its time",
        );
    }
}

#[tokio::test]
async fn secrets_end_and_are_replaced() {
    let stage = stage().await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", API),
        ("client_secret", "old"),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let secret = |value: &str, expires_on: Option<&str>| ClientSecret {
        value: value.to_owned(),
        expires_on: expires_on.map(|text| text.parse().unwrap()),
    };
    stage
        .emulator
        .set_secrets([secret("old", Some("2026-01-01T00:00:01Z")), secret("new", None)]);
    assert_eq!(stage.ask("fabrikam.com", &fields).await.status, 200);
    stage.clock.advance(std::time::Duration::from_secs(1));
    refused(&stage.ask("fabrikam.com", &fields).await, 7_000_222, "ended");
    let new = changed(&fields, &[("client_secret", "new")]);
    assert_eq!(stage.ask("fabrikam.com", &new).await.status, 200);
    stage.emulator.set_secrets([]);
    refused(&stage.ask("fabrikam.com", &new).await, 7_000_215, "taken away");
}

#[tokio::test]
async fn the_secret_may_come_in_a_basic_header() {
    let stage = stage().await;
    stage.emulator.set_secrets([ClientSecret {
        value: "a:b c%".to_owned(),
        expires_on: None,
    }]);
    let form = "grant_type=client_credentials&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default";
    let post = |pair: &str| {
        let value = format!("Basic {}", STANDARD.encode(pair));
        let stage = &stage;
        async move {
            let headers = [
                ("authorization", value.as_str()),
                ("content-type", "application/x-www-form-urlencoded"),
            ];
            stage
                .send("POST", "/fabrikam.com/oauth2/v2.0/token", &headers, form)
                .await
        }
    };
    assert_eq!(post(&format!("{API}:a%3Ab+c%25")).await.status, 200);
    refused(&post(&format!("{API}:a")).await, 7_000_215, "wrong");
    refused(&post(&format!("{API}:")).await, 7_000_218, "none");
    assert_eq!(entra_error(&post("x").await).2, 900_144, "no pair");
}

#[tokio::test]
async fn another_issuers_token_stands_in_for_a_credential() {
    let stage = stage().await;
    let of = |overrides: Value| {
        let request: FederatedTokenRequest = serde_json::from_value(overrides).unwrap();
        stage.emulator.federated_token(&request).unwrap()
    };
    let answer = ask(&stage, "fabrikam.com", &of(json!({}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!(token["appid"], CONTOSO_API.to_string());

    let good = of(json!({}));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, other) = of(json!({}))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let kid = stage.emulator.current_kid("Contoso").unwrap();
    let forged = |header: Value| stage.emulator.sign("Contoso", &header, &claims(&good)).unwrap();
    let cases = [
        (of(json!({"cluster": "other"})), 700_211, "another issuer"),
        (
            of(json!({"audience": "https://kubernetes.default.svc"})),
            700_212,
            "another audience",
        ),
        (
            of(json!({"subject": "system:serviceaccount:default:other"})),
            700_213,
            "another subject",
        ),
        (
            of(json!({"subject": "System:serviceaccount:default:acs-token-broker"})),
            700_213,
            "letter case",
        ),
        (of(json!({"lifetime": -300})), 700_024, "ended"),
        (of(json!({"claims": {"exp": null}})), 700_024, "without end"),
        (format!("{signed}.{other}"), 700_027, "another signature"),
        (forged(json!({"alg": "RS256", "kid": kid})), 700_027, "another's key"),
        (forged(json!({"alg": "RS256"})), 700_027, "no key"),
    ];
    for (assertion, code, case) in cases {
        refused(&ask(&stage, "fabrikam.com", &assertion).await, code, case);
    }
    // The emulator has keys of its own clusters and tenants only.
    stage
        .emulator
        .add_federated_credential(crate::scenario::FederatedCredential {
            issuer: "https://token.actions.example".to_owned(),
            subject: "s".to_owned(),
            audience: "a".to_owned(),
        });
    let elsewhere = json!({"iss": "https://token.actions.example", "sub": "s", "aud": "a", "exp": NOW + 60});
    let token = stage
        .emulator
        .sign("Contoso", &json!({"alg": "RS256", "kid": kid}), &elsewhere)
        .unwrap();
    refused(&ask(&stage, "fabrikam.com", &token).await, 700_027, "no keys");

    stage.emulator.clear_federated_credentials();
    refused(&ask(&stage, "fabrikam.com", &good).await, 700_211, "taken away");
}

#[tokio::test]
async fn the_type_of_assertion_must_be_given() {
    let stage = stage().await;
    let token = stage
        .emulator
        .federated_token(&FederatedTokenRequest::default())
        .unwrap();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", API),
        ("scope", "https://graph.microsoft.com/.default"),
        ("client_assertion", token.as_str()),
    ];
    assert_eq!(entra_error(&stage.ask("fabrikam.com", &fields).await).2, 900_144);
    let wrong = changed(&fields, &[("client_assertion_type", "x")]);
    assert_eq!(entra_error(&stage.ask("fabrikam.com", &wrong).await).0, 400);
}
