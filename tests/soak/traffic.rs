//! Requests as users' front ends make them, with the tokens that they hold.

use azure_emulator::{Emulator, TokenRequest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::judge::Presented;
use crate::world::{Life, Person, Resource};

/// An Entra token that a user holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) token: String,
    /// Its end, in seconds since 1970.
    pub(crate) end: i64,
    /// The ACS scopes that it is good for, as ACS writes them.
    pub(crate) scopes: &'static [&'static str],
    /// The end of the ACS token that it was answered with, and by which broker, if its cache certainly has that one.
    pub(crate) served: Option<(u32, i64)>,
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    AcsPath,
    TokenExchange,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The ACS token, its end as the answer says it, and the identity if the form has it.
    Token {
        token: String,
        end: i64,
        identity: Option<String>,
    },
    /// `status code/inner`; in the form of RFC 8693 the code alone.
    Refusal(String),
    /// No answer.
    Lost(String),
}

/// The scopes of a variant: the user's wallet has a token for each.
pub(crate) fn variants(resource: Resource) -> usize {
    match resource {
        Resource::Calling | Resource::Annex | Resource::Teams => 2,
        Resource::Behalf | Resource::Identity => 1,
    }
}

/// What a token says other than by default, and the ACS scopes that it should bring.
fn requested(resource: Resource, variant: usize) -> (TokenRequest, &'static [&'static str]) {
    let (audience, scopes, granted): (_, Option<&[&str]>, &'static [&str]) = match (resource, variant) {
        (Resource::Calling | Resource::Annex, 0) => (None, Some(&["VoIP"]), &["voip"]),
        (Resource::Calling | Resource::Annex, _) => (None, None, &["voip", "voip.join"]),
        (Resource::Behalf, _) => (Some("api"), None, &["voip", "voip.join"]),
        (Resource::Identity, _) => (Some("api"), None, &["chat", "voip"]),
        (Resource::Teams, 0) => (Some("teams"), Some(&["Teams.ManageCalls"]), &["teams.managecalls"]),
        (Resource::Teams, _) => (
            Some("teams"),
            Some(&["Teams.ManageCalls", "Teams.ManageChats"]),
            &["teams.managecalls", "teams.managechats"],
        ),
    };
    let request = TokenRequest {
        audience: audience.map(str::to_owned),
        scopes: scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect()),
        ..TokenRequest::default()
    };
    (request, granted)
}

/// A new token for a user. Most live 60 to 90 minutes, as Entra's do, some end soon.
pub(crate) fn acquire(emulator: &Emulator, person: &Person, variant: usize, now: i64, random: &mut Rng) -> Held {
    let (mut request, scopes) = requested(person.resource, variant);
    let lifetime = match random.u8(0..10) {
        0 => random.i64(5..90),
        1 | 2 => random.i64(90..1500),
        _ => random.i64(3600..5400),
    };
    request.lifetime = Some(lifetime);
    let token = emulator.issue_token(&person.name, &request).unwrap();
    Held {
        token,
        end: now + lifetime,
        scopes,
        served: None,
    }
}

/// What is sent in place of the token held.
pub(crate) fn present(emulator: &Emulator, person: &Person, held: &Held, presented: Presented) -> Option<String> {
    let (mut request, _) = requested(person.resource, 0);
    request.lifetime = Some(3600);
    match presented {
        Presented::Own => return Some(held.token.clone()),
        Presented::Nothing => return None,
        Presented::Tampered => {
            // The signature of another token of the same key: nothing but the signature is wrong.
            let other = emulator.issue_token(&person.name, &request).unwrap();
            let (signed, _) = held.token.rsplit_once('.').unwrap();
            let (_, signature) = other.rsplit_once('.').unwrap();
            return Some(format!("{signed}.{signature}"));
        }
        Presented::OtherAudience => {
            request.audience = Some("api://another".to_owned());
            request.scopes = Some(vec!["access".to_owned()]);
        }
        Presented::NoScope => request.scopes = Some(vec!["Nothing.That.Counts".to_owned()]),
        Presented::OtherApp => request.client_id = Some("0a990000-0000-4000-8000-000000000001".to_owned()),
        Presented::Early => {
            let tomorrow = held.end + 86_400;
            request.claims.insert("nbf".to_owned(), json!(tomorrow));
            request.claims.insert("exp".to_owned(), json!(tomorrow + 3600));
        }
    }
    Some(emulator.issue_token(&person.name, &request).unwrap())
}

/// The key that a token names.
pub(crate) fn kid_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap_or_default());
    let header: Value = serde_json::from_slice(&header.unwrap_or_default()).unwrap_or_default();
    header["kid"].as_str().unwrap_or_default().to_owned()
}

/// Sends a request to the broker.
#[expect(clippy::disallowed_methods, reason = "a client of the broker, not the broker")]
pub(crate) async fn send(
    client: &reqwest::Client,
    public: std::net::SocketAddr,
    token: Option<&str>,
    form: Form,
) -> Answer {
    let path = match form {
        Form::AcsPath => "/access/entra/:exchangeAccessToken?api-version=2025-03-02-preview",
        Form::Plain | Form::TokenExchange => "/token",
    };
    let mut request = client.post(format!("http://{public}{path}"));
    request = match (form, token) {
        (Form::TokenExchange, Some(token)) => {
            let body = form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
                .append_pair("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
                .append_pair("subject_token", token)
                .finish();
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body)
        }
        (_, Some(token)) => request.bearer_auth(token),
        (_, None) => request,
    };
    match request.send().await {
        Ok(response) => read(response).await,
        Err(error) => Answer::Lost(error.to_string()),
    }
}

async fn read(response: reqwest::Response) -> Answer {
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").cloned();
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return Answer::Lost(error.to_string()),
    };
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status == 200 {
        let (token, end) = match (&json["accessToken"]["token"], &json["access_token"]) {
            (Value::String(token), _) => (token.clone(), json["accessToken"]["expiresOn"].as_str()),
            (_, Value::String(token)) => (token.clone(), None),
            _ => return Answer::Refusal("200 without a token".to_owned()),
        };
        let own = crate::world::claims_of(&token)["exp"].as_i64().unwrap_or(0);
        let end = end
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .map_or(own, jiff::Timestamp::as_second);
        let identity = json["identity"]["id"].as_str().map(str::to_owned);
        return Answer::Token { token, end, identity };
    }
    if [429, 503].contains(&status) && retry_after.is_none() {
        return Answer::Refusal(format!("{status} without Retry-After"));
    }
    let error = &json["error"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if error.is_string() {
        return Answer::Refusal(format!("{status} {} in OAuth's shape", text(error)));
    }
    match error["innererror"]["code"].as_str() {
        Some(inner) => Answer::Refusal(format!("{status} {}/{inner}", text(&error["code"]))),
        None => Answer::Refusal(format!("{status} {}", text(&error["code"]))),
    }
}

/// What `POST /explain` says of the gate of assignments, for which nothing is asked of an upstream.
#[expect(clippy::disallowed_methods, reason = "a client of the broker, not the broker")]
pub(crate) async fn explained(client: &reqwest::Client, life: &Life, token: &str) -> String {
    let request = client
        .post(format!("http://{}/explain", life.management))
        .bearer_auth(token);
    let Ok(response) = request.send().await else {
        return String::new();
    };
    let json: Value = serde_json::from_slice(&response.bytes().await.unwrap_or_default()).unwrap_or_default();
    let gates = json["gates"].as_array().cloned().unwrap_or_default();
    let gate = gates.iter().find(|gate| gate["id"] == "token.assignment");
    gate.and_then(|gate| gate["status"].as_str())
        .unwrap_or_default()
        .to_owned()
}

/// Uses a control of the emulator.
#[expect(clippy::disallowed_methods, reason = "a client of the emulator, not the broker")]
pub(crate) async fn put(client: &reqwest::Client, url: &str, body: &Value) {
    let answer = client.put(url).body(body.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
}

/// The status of a page of the management listener, and what it says.
#[expect(clippy::disallowed_methods, reason = "a client of the broker, not the broker")]
pub(crate) async fn managed(client: &reqwest::Client, life: &Life, path: &str) -> (u16, String) {
    match client.get(format!("http://{}{path}", life.management)).send().await {
        Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
        Err(_) => (0, String::new()),
    }
}
