//! `POST /explain`: every gate of a token, and neither a token nor a call to anybody.

use azure_emulator::scenario::{CONTOSO, FABRIKAM};
use azure_emulator::{Endpoint, GroupsClaim};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::forge::{ALEX, Key, b64, change, good_claims, good_header, with_claims, with_header};
use crate::support::http::{Answer, Call};
use crate::support::stack::Stack;

/// The gates in their order.
const GATES: [&str; 13] = [
    "token.well_formed",
    "token.algorithm",
    "token.tenant",
    "token.key",
    "token.signature",
    "token.issuer",
    "token.audience",
    "token.lifetime",
    "token.delegated",
    "token.client_app",
    "token.scopes",
    "token.route",
    "token.assignment",
];

fn call(stack: &Stack, token: &str) -> Call {
    Call::new("POST", format!("http://{}/explain", stack.management)).bearer(token)
}

/// The outcome, and the gates that the token does not pass; those that are skipped are all after a failed one.
async fn explained(stack: &Stack, token: &str) -> (String, Vec<(String, String)>) {
    let answer = call(stack, token).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let gates = json["gates"].as_array().unwrap();
    let ids: Vec<&str> = gates.iter().map(|gate| gate["id"].as_str().unwrap()).collect();
    assert_eq!(ids, GATES);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for part in token.split('.').filter(|part| part.len() > 20) {
        assert!(!text.contains(part), "{text}");
    }
    let not_passed = gates.iter().filter(|gate| gate["status"] != "pass");
    let shown = not_passed.map(|gate| {
        assert!(!gate["detail"].as_str().unwrap().is_empty(), "{gate}");
        let text = |name: &str| gate[name].as_str().unwrap().to_owned();
        (text("id"), text("status"))
    });
    (json["outcome"].as_str().unwrap().to_owned(), shown.collect())
}

fn failed<'g>(gates: &'g [(String, String)], status: &str) -> Vec<&'g str> {
    let with_status = gates.iter().filter(|(_, own)| own == status);
    with_status.map(|(id, _)| id.as_str()).collect()
}

#[tokio::test]
async fn a_good_token_passes_every_gate_and_nobody_is_asked() {
    let stack = Stack::start().await;
    stack.emulator.clear_journal();
    let token = stack.user("alex").token();
    assert_eq!(explained(&stack, &token).await, ("issued".to_owned(), Vec::new()));
    assert_eq!(stack.exchanges(), 0);
    assert_eq!(stack.emulator.journal().len(), 0);
    let answer = call(&stack, &token).send().await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let detail = answer.json()["gates"][12]["detail"].to_string();
    assert!(detail.contains("user's own assignment"), "{detail}");
    // It does not make the token known for requests, and is no audit event of theirs.
    assert_eq!(stack.post_token(&token).await.cache(), "miss");
}

#[tokio::test]
async fn one_missing_step_is_one_failed_gate() {
    let stack = Stack::start().await;
    let set = |name: &'static str, value: Value| with_claims(&stack, |claims| change(claims, name, value));
    for (token, gate) in [
        (set("iss", json!("https://evil.example")), "token.issuer"),
        (set("iss", json!(null)), "token.issuer"),
        (
            set("aud", json!("00000003-0000-0000-c000-000000000000")),
            "token.audience",
        ),
        (set("exp", json!(stack.now() - 3600)), "token.lifetime"),
        (set("nbf", json!(stack.now() + 3600)), "token.lifetime"),
        (set("idtyp", json!("app")), "token.delegated"),
        (set("scp", json!("Chat")), "token.scopes"),
        (set("oid", json!("fab00000-0000-4000-8000-0000000000ff")), ""),
        (
            set("azp", json!("0ca11e60-0000-4000-8000-000000000001")),
            "token.assignment",
        ),
    ] {
        let (outcome, gates) = explained(&stack, &token).await;
        if gate.is_empty() {
            // Only a group's could cover them, the token lists none, and ACS is to decide.
            assert_eq!(outcome, "undecided", "{gates:?}");
            assert_eq!(failed(&gates, "undecided"), ["token.assignment"]);
        } else {
            assert_eq!(outcome, "refused", "{gate} {gates:?}");
            assert_eq!(failed(&gates, "fail"), [gate], "{gates:?}");
            assert_eq!(gates.len(), 1, "{gates:?}");
        }
    }
    // All at once.
    let token = with_claims(&stack, |claims| {
        change(claims, "iss", json!("https://evil.example"));
        change(claims, "exp", json!(1));
        change(claims, "scp", json!("Chat"));
        change(claims, "azp", json!("0ca11e60-0000-4000-8000-000000000001"));
    });
    let (_, gates) = explained(&stack, &token).await;
    let all = ["token.issuer", "token.lifetime", "token.scopes", "token.assignment"];
    assert_eq!(failed(&gates, "fail"), all);
    assert_eq!(stack.exchanges(), 0);
}

#[tokio::test]
async fn without_a_good_signature_no_claim_counts() {
    let stack = Stack::start().await;
    let own = Key::generate();
    let forged = own.sign(good_header(&stack).to_string(), good_claims(&stack).to_string());
    let header = |name: &'static str, value: Value| with_header(&stack, |header| change(header, name, value));
    let foreign = with_claims(&stack, |claims| change(claims, "tid", json!(ALEX)));
    let fetches = stack.key_fetches();
    for (token, passed) in [
        ("abc".to_owned(), 0),
        ("a.b.c.d.e".to_owned(), 0),
        (format!("{}.{}.", b64("{\"alg\":\"none\"}"), b64("{}")), 1),
        (header("alg", json!("HS256")), 1),
        (foreign, 2),
        (with_claims(&stack, |claims| change(claims, "tid", json!(null))), 2),
        (header("kid", json!("unknown")), 3),
        (header("kid", json!(null)), 3),
        (forged, 4),
    ] {
        let (outcome, gates) = explained(&stack, &token).await;
        assert_eq!(outcome, "refused", "{gates:?}");
        assert_eq!(failed(&gates, "fail"), [GATES[passed]], "{gates:?}");
        assert_eq!(failed(&gates, "skip"), GATES[passed + 1..], "{gates:?}");
    }
    assert_eq!(stack.key_fetches(), fetches, "an unknown key makes nobody fetch");
}

#[tokio::test]
async fn what_only_others_can_say_is_undecided() {
    let stack = Stack::start().await;
    let token = |user, groups| {
        let user = stack.user(user).with(|request| request.groups = Some(groups));
        user.token()
    };
    let (outcome, gates) = explained(&stack, &token("adele", GroupsClaim::None)).await;
    assert_eq!(
        (&*outcome, failed(&gates, "undecided")),
        ("undecided", vec!["token.assignment"])
    );
    let (outcome, _) = explained(&stack, &token("adele", GroupsClaim::Listed)).await;
    assert_eq!(outcome, "issued");
    let (outcome, gates) = explained(&stack, &token("grady", GroupsClaim::Listed)).await;
    assert_eq!(
        (&*outcome, failed(&gates, "fail")),
        ("refused", vec!["token.assignment"])
    );

    // No keys, no assignments.
    let stack = Stack::builder()
        .authority("http://127.0.0.1:1")
        .without_assignments()
        .start()
        .await;
    let (outcome, gates) = explained(&stack, &stack.user("alex").token()).await;
    assert_eq!(
        (&*outcome, failed(&gates, "undecided")),
        ("undecided", vec!["token.key"])
    );
    let stack = Stack::builder().without_assignments().start().await;
    let is_tried = async || stack.probe("/readyz").await.json()["reasons"].as_array().unwrap().len() == 1;
    crate::support::eventually("keys", is_tried).await;
    let (outcome, gates) = explained(&stack, &stack.user("alex").token()).await;
    assert_eq!(
        (&*outcome, failed(&gates, "undecided")),
        ("undecided", vec!["token.assignment"])
    );
}

#[tokio::test]
async fn callers_whom_no_resource_serves_fail_at_the_route() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "assignments = []").unwrap();
    let resources = format!(
        "[{{ name = 'contoso', tenants = ['{CONTOSO}'], exchange = {{ endpoint = 'http://127.0.0.1:1' }}, \
         assignments = {{ file = '{}' }} }}]",
        file.display()
    );
    let stack = Stack::builder().resources(&resources).start().await;
    let (outcome, gates) = explained(&stack, &stack.user("alex").token()).await;
    assert_eq!((&*outcome, failed(&gates, "fail")), ("refused", vec!["token.route"]));
    assert_eq!(failed(&gates, "skip"), ["token.assignment"]);
    let (_, gates) = explained(&stack, &stack.user("diego").token()).await;
    assert_eq!(failed(&gates, "fail"), ["token.assignment"]);
    let answer = call(&stack, &stack.user("alex").token()).send().await.json();
    assert!(
        answer["gates"][11]["detail"]
            .to_string()
            .contains(&FABRIKAM.to_string()),
        "{answer}"
    );
}

#[tokio::test]
async fn web_pages_and_other_requests_are_refused() {
    let stack = Stack::start().await;
    let token = stack.user("alex").token();
    let code = |answer: &Answer| answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = call(&stack, &token).header(name, value).send().await;
        assert_eq!((answer.status, &*code(&answer)), (403, "OriginNotAllowed"), "{value}");
    }
    for value in ["none", "same-origin"] {
        let answer = call(&stack, &token).header("sec-fetch-site", value).send().await;
        assert_eq!(answer.status, 200, "{value}");
    }
    let url = format!("http://{}/explain", stack.management);
    let none = Call::new("POST", &url).send().await;
    assert_eq!((none.status, &*code(&none)), (401, "AuthenticationRequired"));
    let get = Call::new("GET", &url).bearer(&token).send().await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    // The public listener has no such path.
    let public = Call::new("POST", stack.url("/explain")).bearer(&token).send().await;
    assert_eq!(public.status, 404);
    assert_eq!(stack.emulator.count(Endpoint::Exchange), 0);
}

#[tokio::test]
async fn long_tokens_are_explained_and_too_long_heads_are_not() {
    let stack = Stack::start().await;
    let groups: Vec<String> = (0..200)
        .map(|n| format!("{n:08x}-0000-4000-8000-000000000000"))
        .collect();
    let token = with_claims(&stack, |claims| change(claims, "groups", json!(groups)));
    assert!(token.len() > 9000);
    assert_eq!(explained(&stack, &token).await.0, "issued");
    let noise = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![7; 30_000]);
    let answer = call(&stack, &format!("{noise}.a.b")).send().await;
    assert_eq!(answer.status, 431);
}
