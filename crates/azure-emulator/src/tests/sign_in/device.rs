use std::time::Duration;

use serde_json::Value;

use super::{API, CLIENT, FORM, Fields, SCOPE, form};
use crate::tests::support::{Answer, Stage, claims, entra_error, stage};

async fn begin(stage: &Stage, tenant: &str) -> Value {
    let body = form(&[("client_id", CLIENT), ("scope", SCOPE)]);
    let path = format!("/{tenant}/oauth2/v2.0/devicecode");
    stage.send("POST", &path, &[FORM], &body).await.json()
}

async fn poll(stage: &Stage, codes: &Value, client: &str) -> Answer {
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", client),
        ("device_code", codes["device_code"].as_str().unwrap()),
    ];
    stage.ask("common", &fields).await
}

async fn page(stage: &Stage, codes: &Value, more: Fields<'_>) -> String {
    let mut fields = vec![("user_code", codes["user_code"].as_str().unwrap())];
    fields.extend(more);
    let answer = stage.send("POST", "/devicelogin", &[FORM], &form(&fields)).await;
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn a_device_waits_until_its_user_has_signed_in() {
    let stage = stage().await;
    let codes = begin(&stage, "common").await;
    assert_eq!(
        (&codes["expires_in"], &codes["interval"]),
        (&Value::from(900), &Value::from(5))
    );
    assert_eq!(
        codes["verification_uri"],
        format!("{}/devicelogin", stage.emulator.origin())
    );
    let message = codes["message"].as_str().unwrap();
    assert!(message.contains(codes["user_code"].as_str().unwrap()));
    let old_name = [
        ("grant_type", "device_code"),
        ("client_id", CLIENT),
        ("device_code", codes["device_code"].as_str().unwrap()),
    ];
    let pending = stage.ask("common", &old_name).await;
    assert_eq!(entra_error(&pending).1, "authorization_pending");
    let pending = poll(&stage, &codes, CLIENT).await;
    assert_eq!(entra_error(&pending), (400, "authorization_pending".to_owned(), 70016));

    assert_eq!(stage.get("/devicelogin").await.status, 200);
    assert!(page(&stage, &codes, &[]).await.contains("Choose who you are"));
    assert!(
        page(&stage, &codes, &[("_user", "adele")])
            .await
            .contains("You have signed in")
    );
    let body = poll(&stage, &codes, CLIENT).await.json();
    assert_eq!(claims(body["id_token"].as_str().unwrap())["name"], "Adele Vance");
    assert!(body["refresh_token"].is_string());
    // Once.
    let again = poll(&stage, &codes, CLIENT).await;
    assert_eq!(entra_error(&again), (400, "bad_verification_code".to_owned(), 70018));
    assert!(page(&stage, &codes, &[]).await.contains("That code did not work"));
}

#[tokio::test]
async fn a_sign_in_can_be_declined_and_ends() {
    let stage = stage().await;
    let codes = begin(&stage, "fabrikam.com").await;
    assert!(!page(&stage, &codes, &[]).await.contains("Diego Siciliani"));
    page(&stage, &codes, &[("_cancel", "yes")]).await;
    let answer = poll(&stage, &codes, CLIENT).await;
    assert_eq!(entra_error(&answer), (400, "authorization_declined".to_owned(), 70017));

    let codes = begin(&stage, "common").await;
    stage.clock.advance(Duration::from_secs(900));
    let answer = poll(&stage, &codes, CLIENT).await;
    assert_eq!(entra_error(&answer), (400, "expired_token".to_owned(), 70019));
    assert!(page(&stage, &codes, &[]).await.contains("That code did not work"));

    let bad = form(&[("client_id", API)]);
    let answer = stage
        .send("POST", "/common/oauth2/v2.0/devicecode", &[FORM], &bad)
        .await;
    assert_eq!(entra_error(&answer).2, 900_144);
}
