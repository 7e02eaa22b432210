//! `GET /` of the management listener: a page for people.

use azure_emulator::scenario::{CONTOSO, FABRIKAM};

use crate::support::forge::ALEX;
use crate::support::http::Call;
use crate::support::stack::Stack;

#[tokio::test]
async fn the_page_shows_the_state_and_no_user() {
    let stack = Stack::start().await;
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    let answer = stack.probe("/").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let page = String::from_utf8(answer.body.to_vec()).unwrap();
    for shown in [
        "<title>acs-token-broker: ready</title>",
        &format!("<td>{FABRIKAM}</td><td>usable</td>"),
        &format!("<td>{CONTOSO}</td>"),
        "<td>file</td>",
        "<tr><td>Cached tokens</td><td>1</td>",
        "Assignments by tenant",
    ] {
        assert!(page.contains(shown), "{shown} {page}");
    }
    for absent in [ALEX, "<script", "http://", "https://", "src=", "href="] {
        assert!(!page.contains(absent), "{absent} {page}");
    }
    for user in &stack.emulator.scenario().users {
        assert!(!page.contains(&user.object_id.to_string()), "{page}");
    }
    let post = Call::new("POST", format!("http://{}/", stack.management)).send().await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn the_page_says_why_the_broker_is_not_ready() {
    let stack = Stack::builder().without_assignments().start().await;
    let page = String::from_utf8(stack.probe("/").await.body.to_vec()).unwrap();
    assert!(page.contains("acs-token-broker: not ready"), "{page}");
    assert!(page.contains("<li>assignments are not loaded</li>"), "{page}");
}
