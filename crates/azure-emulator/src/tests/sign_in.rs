//! Signing in: the code flow, the pages, refresh tokens, device codes, logout.

mod codes;
mod device;
mod pages;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::support::{Answer, Stage, changed};

pub(super) const CLIENT: &str = "c0a5a990-0000-4000-8000-000000000003";
pub(super) const API: &str = "c0a5a991-0000-4000-8000-000000000005";
pub(super) const BACK: &str = "http://localhost:3000/auth";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// Of RFC 7636 appendix B.
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(super) const SCOPE: &str = "openid profile offline_access https://communication.azure.com/clients/VoIP";
pub(super) const STEP_UP: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
pub(super) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

pub(super) type Fields<'a> = &'a [(&'a str, &'a str)];

/// A silent sign-in of Adele, with some parameters replaced.
pub(super) fn request<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("client_id", CLIENT),
        ("response_type", "code"),
        ("redirect_uri", BACK),
        ("scope", SCOPE),
        ("state", "s&1 ?"),
        ("nonce", "n1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("prompt", "none"),
        ("login_hint", "adele@fabrikam.com"),
    ];
    changed(&usual, changes)
}

pub(super) fn form(fields: Fields<'_>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// What a client is sent in a query, fragment included.
pub(super) fn sent_back(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 302, "{answer:?}");
    let location = answer.header("location").unwrap();
    let (address, parameters) = location.split_once(['?', '#']).unwrap();
    assert_eq!(address, BACK);
    form_urlencoded::parse(parameters.as_bytes()).into_owned().collect()
}

pub(super) fn value<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

/// The error and its AADSTS code that a client is sent.
pub(super) fn refusal(answer: &Answer) -> (String, String) {
    let parameters = sent_back(answer);
    assert_eq!(value(&parameters, "code"), None);
    assert_eq!(value(&parameters, "state"), Some("s&1 ?"));
    let description = value(&parameters, "error_description").unwrap();
    let (code, _) = description.split_once(':').unwrap();
    (value(&parameters, "error").unwrap().to_owned(), code.to_owned())
}

impl Stage {
    pub(super) async fn authorize(&self, tenant: &str, changes: Fields<'_>) -> Answer {
        self.get(&format!("/{tenant}/oauth2/v2.0/authorize?{}", form(&request(changes))))
            .await
    }

    /// Answers a page.
    pub(super) async fn post_page(&self, changes: Fields<'_>) -> Answer {
        let body = form(&request(changes));
        self.send("POST", "/common/oauth2/v2.0/authorize", &[FORM], &body).await
    }

    pub(super) async fn code(&self, tenant: &str, changes: Fields<'_>) -> String {
        let answer = self.authorize(tenant, changes).await;
        value(&sent_back(&answer), "code").unwrap().to_owned()
    }

    pub(super) async fn redeem(&self, tenant: &str, code: &str, changes: Fields<'_>) -> Answer {
        let usual = [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("code", code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
            ("client_info", "1"),
        ];
        self.ask(tenant, &changed(&usual, changes)).await
    }

    pub(super) async fn refresh(&self, token: &str, changes: Fields<'_>) -> Answer {
        let usual = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", token),
        ];
        self.ask("common", &changed(&usual, changes)).await
    }
}

pub(super) fn client_info(answer: &Value) -> Value {
    let text = answer["client_info"].as_str().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}
