//! ACS tokens are opaque: an encrypted one (JWE, five parts) is handed on like any other, whatever the form and the mode.

use azure_emulator::TokenRequest;
use serde_json::json;

use crate::support::http::Call;
use crate::support::modes::{for_api, own_api, with_secret};
use crate::support::stack::{self, API_VERSION, Builder, Stack};

/// All request forms with an encrypted token: whether the ACS path is one of them, and what the user signs in to.
async fn through_all_forms(builder: Builder, acs_path: bool, sign_in: impl Fn(&mut TokenRequest)) {
    let stack = builder.start().await;
    stack.emulator.set_encrypted_tokens(true);
    let token = stack.user("alex").with(sign_in).lifetime(3600).token();
    let own = stack.post_token(&token).await;
    assert_eq!((own.outcome().as_str(), own.cache()), ("200", "miss"));
    let parts: Vec<_> = own.token().split('.').map(str::to_owned).collect();
    assert_eq!(parts.len(), 5);
    assert!(parts.iter().all(|part| !part.is_empty()), "{parts:?}");
    // The end is ACS's word, since nothing can be read from the token.
    assert!(own.expires_on().as_second() >= stack.now() + 3600);
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", token.as_str()),
    ];
    let answer = stack.post_form(&form).await;
    assert_eq!((answer.cache(), answer.token()), ("hit", own.token()));
    assert!(answer.json()["expires_in"].as_i64().unwrap() >= 3600);
    let oauth = Call::new("POST", stack.url("/oauth2/token")).body(
        "application/x-www-form-urlencoded",
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish(),
    );
    assert_eq!(oauth.send().await.token(), own.token());
    if acs_path {
        let answer = stack.post_acs_path(&token).await;
        assert_eq!((answer.cache(), answer.json()), ("hit", own.json()));
    }
}

#[tokio::test]
async fn passthrough() {
    through_all_forms(Stack::builder(), true, |_| {}).await;
}

#[tokio::test]
async fn on_behalf_of() {
    through_all_forms(with_secret(), true, for_api).await;
}

/// The other modes, which sign with the access key of their emulator.
async fn signed(mode: &str) -> Builder {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let key = emulator.expected_access_key();
    Stack::builder()
        .emulator(emulator, &clock)
        .set("exchange.mode", mode)
        .set(&format!("exchange.{mode}.access_key"), key)
}

#[tokio::test]
async fn identity() {
    through_all_forms(own_api(signed("identity").await), true, for_api).await;
}

#[tokio::test]
async fn teams_user() {
    let teams = |request: &mut TokenRequest| request.audience = Some("teams".to_owned());
    through_all_forms(signed("teams_user").await, false, teams).await;
}

#[tokio::test]
async fn teams_extension() {
    let teams = |request: &mut TokenRequest| request.audience = Some("teams".to_owned());
    let stack = Stack::builder()
        .set("entra.audiences", "1fd5118e-2576-4263-8130-9503064c837a")
        .set("entra.required_scopes", "TeamsExtension.ManageCalls")
        .start()
        .await;
    stack.emulator.set_encrypted_tokens(true);
    let token = stack.user("diego").with(teams).token();
    let own = stack.post_token(&token).await.token();
    assert_eq!(own.split('.').count(), 5);
    let url = stack.url("/access/teamsExtension/:exchangeAccessToken?api-version=2026-09-23");
    assert_eq!(Call::new("POST", url).bearer(&token).send().await.token(), own);
    // The version is that of the other path.
    let url = stack.url(&format!(
        "/access/teamsExtension/:exchangeAccessToken?api-version={API_VERSION}"
    ));
    let refused = Call::new("POST", url).bearer(&token).send().await;
    assert_eq!(refused.json()["error"]["code"], json!("UnsupportedApiVersionValue"));
}
