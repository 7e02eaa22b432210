//! Every gate of a token, by real tokens of the emulator and by forged ones.

use azure_emulator::TokenRequest;
use azure_emulator::scenario::{CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS};
use base::clock::SystemClock;
use serde_json::{Value, json};

use super::{Clinic, Report};
use crate::support::fake::Reply;
use crate::support::forge::ACS_CLIENTS;

/// A token signed with Fabrikam's key.
fn signed(clinic: &Clinic, header: &Value, change: &Value) -> String {
    let now = SystemClock::shared().now().as_second();
    let adele = user_of(&clinic.emulator.issue_token("adele", &TokenRequest::default()).unwrap());
    let mut whole = json!({"typ": "JWT", "alg": "RS256", "kid": clinic.emulator.current_kid("Fabrikam").unwrap()});
    let mut claims = json!({
        "iss": format!("{}/{FABRIKAM}/v2.0", clinic.emulator.origin()), "aud": ACS_CLIENTS, "tid": FABRIKAM.to_string(), "oid": adele,
        "azp": CONTOSO_APP.to_string(), "scp": "VoIP", "ver": "2.0", "iat": now - 300, "nbf": now - 300, "exp": now + 3600,
        "groups": [FABRIKAM_CALLERS.to_string()],
    });
    for (into, changes) in [(&mut whole, header), (&mut claims, change)] {
        for (name, value) in changes.as_object().unwrap() {
            into[name] = value.clone();
        }
    }
    clinic.emulator.sign("Fabrikam", &whole, &claims).unwrap()
}

async fn gates(clinic: &Clinic, token: &str) -> Report {
    let file = clinic.write("token", token);
    clinic.report(&["--token-file", &file, "--exchange"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_passes_and_is_exchanged() {
    let clinic = Clinic::open().await;
    let report = gates(&clinic, &signed(&clinic, &json!({}), &json!({}))).await;
    report.failed(&[]);
    let ids: Vec<&str> = report
        .with("pass")
        .into_iter()
        .filter(|id| id.starts_with("token."))
        .collect();
    assert_eq!(ids.len(), 14, "{ids:?}");
    assert!(
        report.check("token.exchange")["summary"]
            .as_str()
            .unwrap()
            .contains("8:acs:")
    );
    assert!(
        report.check("token.assignment")["summary"]
            .as_str()
            .unwrap()
            .contains(&FABRIKAM_CALLERS.to_string())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_looked_up_as_the_service_does() {
    let clinic = Clinic::open().await;
    let token = clinic.emulator.issue_token("adele", &TokenRequest::default()).unwrap();
    let adele = user_of(&token);
    let path = format!("/v1.0/users/{adele}/checkMemberGroups");
    clinic
        .graph
        .on(&path, Reply::json(&json!({"value": [FABRIKAM_CALLERS.to_string()]})));
    let report = gates(&clinic, &token).await;
    report.failed(&[]);
    clinic.graph.on(&path, Reply::json(&json!({"value": []})));
    let report = gates(&clinic, &token).await;
    report.failed(&["token.assignment"]);
    assert_eq!(report.check("token.exchange")["status"], "skip");
}

fn user_of(token: &str) -> String {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["oid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_to_the_signature_the_rest_is_skipped() {
    let clinic = Clinic::open().await;
    let good = signed(&clinic, &json!({}), &json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let other = format!("{first}{}", &signature[1..]);
    for (token, gate) in [
        ("not a token".to_owned(), "token.well_formed"),
        (signed(&clinic, &json!({"alg": "PS256"}), &json!({})), "token.algorithm"),
        (
            signed(
                &clinic,
                &json!({}),
                &json!({"tid": "11111111-0000-4000-8000-000000000001"}),
            ),
            "token.tenant",
        ),
        (signed(&clinic, &json!({"kid": "unknown"}), &json!({})), "token.key"),
        (format!("{head}.{other}"), "token.signature"),
    ] {
        let report = gates(&clinic, &token).await;
        report.failed(&[gate]);
        assert_eq!(report.check("token.audience")["status"], "skip", "{gate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_it_all_that_fail_are_reported() {
    let clinic = Clinic::open().await;
    let wrong = json!({"iss": "https://evil.example", "aud": "api://other", "exp": 1_000_000_000, "idtyp": "app",
        "scp": "Files.Read", "oid": "fab00000-0000-4000-8000-0000000000ff", "groups": []});
    let report = gates(&clinic, &signed(&clinic, &json!({}), &wrong)).await;
    report.failed(&[
        "token.issuer",
        "token.audience",
        "token.lifetime",
        "token.delegated",
        "token.scopes",
        "token.assignment",
    ]);
    let audience = report.check("token.audience")["summary"].as_str().unwrap();
    assert!(
        audience.contains("api://other") && audience.contains(ACS_CLIENTS),
        "{audience}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acs_may_refuse_whom_the_broker_lets_pass() {
    let clinic = Clinic::open().await;
    clinic.emulator.set_assignments([]);
    let report = gates(&clinic, &signed(&clinic, &json!({}), &json!({}))).await;
    report.failed(&["acs.assignments", "token.exchange"]);
    assert_eq!(report.check("token.exchange")["who"], "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_a_token_is_looked_at_without_its_key() {
    let clinic = Clinic::open().await;
    let file = clinic.write(
        "token",
        &signed(&clinic, &json!({}), &json!({"aud": "api://other", "scp": "VoIP"})),
    );
    let report = clinic.report(&["--offline", "--token-file", &file, "--exchange"]).await;
    assert_eq!(report.check("token.key")["status"], "skip");
    assert_eq!(report.check("token.audience")["status"], "fail");
    assert_eq!(report.check("token.exchange")["status"], "skip");
}
