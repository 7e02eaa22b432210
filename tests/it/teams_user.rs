//! Mode `teams_user`: a Teams user's Entra token becomes an ACS token for that user, in a request of the broker's own.

use std::time::Duration;

use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_APP, FABRIKAM};
use azure_emulator::{Endpoint, Fault, TokenRequest};
use serde_json::{Value, json};

use crate::support::fake::{Fake, Reply};
use crate::support::forge::ALEX;
use crate::support::http::{Answer, Call};
use crate::support::stack::{self, Builder, Stack};

const PATH: &str = "/teamsUser/:exchangeAccessToken";

/// The mode without a credential.
fn teams_user() -> Builder {
    Stack::builder().set("exchange.mode", "teams_user")
}

/// The mode, signing with the access key.
async fn with_key() -> Builder {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let key = emulator.expected_access_key();
    teams_user()
        .emulator(emulator, &clock)
        .set("exchange.teams_user.access_key", key)
}

/// What a front end asks Entra for in this mode.
fn for_teams(request: &mut TokenRequest) {
    request.audience = Some("teams".to_owned());
    request.scopes = Some(vec!["Teams.ManageCalls".to_owned(), "Teams.ManageChats".to_owned()]);
}

fn scoped(scopes: &'static [&str]) -> impl Fn(&mut TokenRequest) {
    move |request| {
        request.audience = Some("teams".to_owned());
        request.scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
    }
}

async fn form(stack: &Stack, token: &str) -> Answer {
    let parameters = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", token),
    ];
    stack.post_form(&parameters).await
}

#[tokio::test]
async fn a_teams_user_gets_a_token_of_their_own() {
    let stack = with_key().await.start().await;
    let token = stack.user("alex").with(for_teams).lifetime(3600).token();
    let answer = stack.post_token(&token).await;
    assert_eq!(answer.outcome(), "200");
    let json = answer.json();
    assert_eq!(
        json,
        json!({
            "identity": {"id": format!("8:orgid:{ALEX}")},
            "accessToken": {"token": answer.token(), "expiresOn": json["accessToken"]["expiresOn"]},
        })
    );
    assert_eq!(answer.expires_on().as_second(), stack.now() + 3600);
    let calls = stack.emulator.journal().into_iter();
    let calls: Vec<_> = calls
        .filter(|call| call.endpoint == Some(Endpoint::TeamsUser))
        .collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].api_version.as_deref(), Some("2025-06-30"));
    // One cache behind all forms, with the scopes of the user's token.
    let form = form(&stack, &token).await;
    assert_eq!((form.cache(), form.token()), ("hit", answer.token()));
    let mut scopes: Vec<String> = form.json()["scope"]
        .as_str()
        .unwrap()
        .split(' ')
        .map(str::to_owned)
        .collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["Teams.ManageCalls", "Teams.ManageChats"]);
    assert_eq!(stack.emulator.count(Endpoint::TeamsUser), 1);
    // Cached as in passthrough mode: not for other scopes, and not for a token that ends earlier.
    let fewer = stack
        .user("alex")
        .with(scoped(&["Teams.ManageCalls"]))
        .lifetime(3600)
        .post()
        .await;
    assert_eq!(fewer.cache(), "miss");
    let shorter = stack.user("alex").with(for_teams).lifetime(600).post().await;
    assert_eq!(shorter.expires_on().as_second(), stack.now() + 600);
    let other = stack.user("diego").with(for_teams).post().await;
    assert_eq!(other.cache(), "miss");
    assert_ne!(other.json()["identity"], json["identity"]);
    assert_eq!(stack.exchanges() + stack.emulator.count(Endpoint::TeamsExchange), 0);
    let metrics = stack.probe("/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("acs_broker_exchange_mode=\"teams_user\""));
}

#[tokio::test]
async fn other_tokens_and_paths_are_refused_before_anything_is_sent() {
    let stack = with_key()
        .await
        // As where passthrough resources stand beside it.
        .set(
            "entra.audiences",
            "2a04943b-b6a7-4f65-8786-2bb6131b59f6,1fd5118e-2576-4263-8130-9503064c837a",
        )
        .set(
            "entra.required_scopes",
            "VoIP,TeamsExtension.ManageCalls,Teams.ManageCalls,Teams.ManageChats",
        )
        .start()
        .await;
    let good = stack.user("alex").with(for_teams).token();
    for (path, version) in [("entra", "2025-03-02-preview"), ("teamsExtension", "2026-09-23")] {
        let url = stack.url(&format!("/access/{path}/:exchangeAccessToken?api-version={version}"));
        assert_eq!(
            Call::new("POST", url).bearer(&good).send().await.outcome(),
            "400 InvalidRequest",
            "{path}"
        );
    }
    let extension = scoped(&["TeamsExtension.ManageCalls"]);
    for (answer, told) in [
        (stack.user("alex").post().await, "401 InvalidToken/InvalidAudience"),
        // The audience goes before the assignment.
        (stack.user("grady").post().await, "401 InvalidToken/InvalidAudience"),
        (stack.user("alex").with(extension).post().await, "403 InsufficientScope"),
        (
            stack.user("alex").with(scoped(&["VoIP"])).post().await,
            "403 InsufficientScope",
        ),
        (
            stack.user("adele").with(for_teams).post().await,
            // Only a group could cover them, and tokens for ACS list none.
            "403 NotAssigned/GroupsUnknown",
        ),
        (
            stack.user("alex").with(for_teams).lifetime(-300).post().await,
            "401 InvalidToken/Expired",
        ),
    ] {
        assert_eq!(answer.outcome(), told);
    }
    assert_eq!(stack.emulator.count(Endpoint::TeamsUser), 0);
    assert_eq!(stack.post_token(&good).await.outcome(), "200");

    // Operators are told the same, gate by gate.
    let token = stack.user("alex").with(scoped(&["TeamsExtension.ManageCalls"])).token();
    for (token, gate) in [(token, "token.scopes"), (stack.user("alex").token(), "token.audience")] {
        let url = format!("http://{}/explain", stack.management);
        let explained = Call::new("POST", url).bearer(&token).send().await.json();
        let gates = explained["gates"].as_array().unwrap();
        let failed: Vec<_> = gates
            .iter()
            .filter(|gate| gate["status"] == "fail")
            .map(|gate| &gate["id"])
            .collect();
        assert!(failed.contains(&&json!(gate)), "{explained}");
    }
}

#[tokio::test]
async fn what_acs_answers_has_one_meaning() {
    let stack = with_key().await.start().await;
    let error = |code: &str| json!({"error": {"code": code, "message": "m"}});
    let end = "2030-01-01T00:00:00.0000000+00:00";
    for (status, body, told) in [
        (200, json!({"token": "t"}), "502 UpstreamInvalidResponse"),
        (200, json!({"expiresOn": end}), "502 UpstreamInvalidResponse"),
        (
            200,
            json!({"accessToken": {"token": "t", "expiresOn": end}}),
            "502 UpstreamInvalidResponse",
        ),
        (400, error("ValidationError"), "502 UpstreamInvalidResponse"),
        (401, error("Unauthorized"), "401 InvalidToken/RejectedUpstream"),
        (401, error("Denied"), "502 UpstreamRejectedBroker"),
        (403, error("Forbidden"), "403 ExchangeForbidden"),
        (404, error("NotFound"), "502 UpstreamInvalidResponse"),
        (500, error("InternalServerError"), "503 UpstreamUnavailable"),
        (503, error("ServiceUnavailable"), "503 UpstreamUnavailable"),
        (504, error("Timeout"), "504 UpstreamTimeout"),
        (429, error("TooManyRequests"), "429 TooManyRequests/UpstreamLimit"),
    ] {
        let fault = json!({"status": status, "body": body});
        stack.fault(Endpoint::TeamsUser, serde_json::from_value::<Fault>(fault).unwrap());
        // Another token each time: refusals are remembered for the one that they were of.
        let answer = stack.user("alex").with(for_teams).post().await;
        assert_eq!(answer.outcome(), told, "{status} {body}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_the_brokers_own_fault() {
    let stack = teams_user()
        .set("exchange.teams_user.access_key", "d3Jvbmcga2V5")
        .start()
        .await;
    let answer = stack.user("alex").with(for_teams).post().await;
    assert_eq!(answer.outcome(), "502 UpstreamRejectedBroker");
}

#[tokio::test]
async fn teams_of_government_clouds_name_their_users_otherwise() {
    for (cloud, prefix) in [("gcch", "8:gcch:"), ("dod", "8:dod:")] {
        let stack = with_key()
            .await
            .set("exchange.teams_user.teams_cloud", cloud)
            .start()
            .await;
        let answer = stack.user("alex").with(for_teams).post().await;
        assert_eq!(answer.json()["identity"]["id"], format!("{prefix}{ALEX}"));
    }
}

/// The mode with an app of the broker's own in place of the key.
fn with_app() -> Builder {
    teams_user()
        .set("exchange.teams_user.credential", "secret")
        .set("exchange.teams_user.client_id", CONTOSO_API.to_string())
        .set("exchange.teams_user.tenant_id", CONTOSO.to_string())
        .set("exchange.teams_user.client_secret", CONTOSO_API_SECRET)
}

#[tokio::test]
async fn an_app_of_the_brokers_stands_in_for_the_key() {
    let stack = with_app().start().await;
    let answer = stack.user("alex").with(for_teams).post().await;
    assert_eq!(answer.outcome(), "200");
    assert_eq!(answer.json()["identity"]["id"], format!("8:orgid:{ALEX}"));
    assert_eq!(stack.user("diego").with(for_teams).post().await.outcome(), "200");
    assert_eq!(stack.emulator.count(Endpoint::ClientCredentials), 1);

    // A user's token that ACS refuses is no reason to ask for another of the broker's own ...
    let refused = json!({"status": 401, "body": {"error": {"code": "Unauthorized", "message": "m"}}});
    stack.fault(Endpoint::TeamsUser, serde_json::from_value(refused).unwrap());
    for _ in 0..3 {
        let answer = stack.user("alex").with(scoped(&["Teams.ManageCalls"])).post().await;
        assert_eq!(answer.outcome(), "401 InvalidToken/RejectedUpstream");
    }
    assert_eq!(stack.emulator.count(Endpoint::ClientCredentials), 1);
    // ... but one of the broker's that it refuses is.
    let denied = json!({"status": 401, "times": 1, "body": {"error": {"code": "Denied", "message": "m"}}});
    stack.fault(Endpoint::TeamsUser, serde_json::from_value(denied).unwrap());
    let answer = stack.user("alex").with(scoped(&["Teams.ManageChats"])).post().await;
    assert_eq!(answer.outcome(), "200");
    assert_eq!(stack.emulator.count(Endpoint::ClientCredentials), 2);
}

#[tokio::test]
async fn every_request_takes_a_place_in_the_budget() {
    let denied = json!({"status": 401, "times": 1, "body": {"error": {"code": "Denied", "message": "m"}}});
    let denied = || serde_json::from_value::<Fault>(denied.clone()).unwrap();
    // The second request, with another token of the broker's own, is one more that ACS counts.
    let stack = with_app().set("exchange.upstream_exchanges", "2/1h").start().await;
    stack.fault(Endpoint::TeamsUser, denied());
    assert_eq!(stack.user("alex").with(for_teams).post().await.outcome(), "200");
    let answer = stack.user("diego").with(for_teams).post().await;
    assert_eq!(answer.outcome(), "429 TooManyRequests/UpstreamLimit");
    assert_eq!(stack.emulator.count(Endpoint::TeamsUser), 2);
    // Without a place it is not made, and the next caller's has a new token.
    let stack = with_app().set("exchange.upstream_exchanges", "1/30s").start().await;
    stack.fault(Endpoint::TeamsUser, denied());
    let answer = stack.user("alex").with(for_teams).post().await;
    assert_eq!(answer.outcome(), "502 UpstreamRejectedBroker");
    assert_eq!(stack.emulator.count(Endpoint::TeamsUser), 1);
    stack.clock.advance(Duration::from_secs(31));
    assert_eq!(stack.user("alex").with(for_teams).post().await.outcome(), "200");
    assert_eq!(stack.emulator.count(Endpoint::ClientCredentials), 2);
}

#[tokio::test]
async fn what_acs_is_sent_is_the_token_with_its_own_ids() {
    let acs = Fake::start().await;
    let stack = teams_user()
        .endpoint(&acs.origin())
        .set("exchange.teams_user.access_key", "a2V5")
        .set("exchange.teams_user.api_version", "2026-09-23")
        .start()
        .await;
    let end = "2026-11-24T12:50:00.0000000+00:00";
    acs.on(PATH, Reply::json(&json!({"token": "acs", "expiresOn": end})));
    let token = stack.user("alex").with(for_teams).token();
    assert_eq!(stack.post_token(&token).await.token(), "acs");
    let calls = acs.calls();
    let call = calls.last().unwrap();
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(
        body,
        json!({"token": token, "appId": CONTOSO_APP.to_string(), "userId": ALEX})
    );
    assert!(
        call.headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("HMAC-SHA256 ")
    );
}

/// One broker for both kinds of Teams tokens: which exchange is made is the resource's choice.
#[tokio::test]
async fn each_resource_chooses_what_is_done_with_a_teams_token() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let origin = emulator.origin();
    let key = emulator.expected_access_key();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), key).unwrap();
    let assignments = folder.path().join("assignments.toml");
    std::fs::write(
        &assignments,
        stack::assignments_toml(emulator.scenario().assignments.iter()),
    )
    .unwrap();
    let (key, file) = (folder.path().join("key"), assignments);
    let resources = format!(
        "[{{ name = 'users', tenants = ['{FABRIKAM}'], exchange = {{ endpoint = '{origin}', mode = 'teams_user', \
         teams_user = {{ access_key_file = '{}' }} }}, assignments = {{ file = '{}' }} }}, \
         {{ name = 'phones', exchange = {{ endpoint = '{origin}' }}, assignments = {{ file = '{}' }} }}]",
        key.display(),
        file.display(),
        file.display()
    );
    let stack = Stack::builder()
        .emulator(emulator, &clock)
        .resources(&resources)
        .set(
            "entra.required_scopes",
            "VoIP,TeamsExtension.ManageCalls,Teams.ManageCalls,Teams.ManageChats",
        )
        .start()
        .await;
    let counts = || {
        let emulator = &stack.emulator;
        (
            emulator.count(Endpoint::TeamsUser),
            emulator.count(Endpoint::TeamsExchange),
        )
    };
    assert_eq!(stack.user("alex").with(for_teams).post().await.outcome(), "200");
    assert_eq!(counts(), (1, 0));
    let phone = scoped(&["TeamsExtension.ManageCalls"]);
    assert_eq!(stack.user("diego").with(&phone).post().await.outcome(), "200");
    assert_eq!(counts(), (1, 1));
    // Neither with the other's scopes alone.
    assert_eq!(
        stack.user("alex").with(&phone).post().await.outcome(),
        "403 InsufficientScope"
    );
    assert_eq!(
        stack.user("diego").with(for_teams).post().await.outcome(),
        "403 InsufficientScope"
    );
    // ACS's own tokens go where they always went.
    assert_eq!(stack.user("diego").post().await.outcome(), "200");
    assert_eq!(
        stack.user("alex").post().await.outcome(),
        "401 InvalidToken/InvalidAudience"
    );
    assert_eq!(counts(), (1, 1));
}
