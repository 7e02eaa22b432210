//! `unknown_groups = "graph"`: what a token does not list, the directory does.

use std::time::Duration;

use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET};
use azure_emulator::{Endpoint, Fault};

use crate::support::modes::{for_api, with_secret};
use crate::support::stack::{self, Builder, Stack};

async fn asking_graph(builder: Builder) -> Stack {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let origin = emulator.origin();
    builder
        .emulator(emulator, &clock)
        .set("assignments.unknown_groups", "graph")
        .set("graph.endpoint", origin)
        .set("graph.client_id", CONTOSO_API.to_string())
        .set("graph.credential", "secret")
        .set("graph.client_secret", CONTOSO_API_SECRET)
        .start()
        .await
}

fn asked(stack: &Stack) -> usize {
    stack.emulator.count(Endpoint::Graph)
}

#[tokio::test]
async fn who_is_a_member_gets_a_token_and_who_is_not_is_refused_here() {
    let stack = asking_graph(Stack::builder()).await;
    for (name, expected, calls) in [
        ("adele", "200", 1),
        ("lidia", "200", 1),
        // Nestor's group is a part of the assigned one.
        ("nestor", "200", 1),
        ("megan", "403 NotAssigned/NoAssignment", 1),
        ("grady", "403 NotAssigned/NoAssignment", 1),
        // An assignment of the user, or of the whole tenant, needs no question.
        ("alex", "200", 0),
        ("diego", "200", 0),
    ] {
        stack.emulator.clear_journal();
        let token = stack.user(name).token();
        assert_eq!(stack.post_token(&token).await.outcome(), expected, "{name}");
        assert_eq!(asked(&stack), calls, "{name}");
        // "Not a member" is remembered too.
        assert_eq!(stack.post_token(&token).await.outcome(), expected, "{name}");
        assert_eq!(asked(&stack), calls, "{name}");
    }
    assert_eq!(stack.exchanges(), 1, "diego's, since the journal was last cleared");
}

#[tokio::test]
async fn no_group_assignment_for_the_app_no_question() {
    let stack = asking_graph(Stack::builder()).await;
    let through_another_app = stack
        .user("adele")
        .with(|request| request.client_id = Some(CONTOSO.to_string()));
    assert_eq!(
        through_another_app.post().await.outcome(),
        "403 NotAssigned/NoAssignment"
    );
    assert_eq!(
        (asked(&stack), stack.emulator.count(Endpoint::ClientCredentials)),
        (0, 0)
    );
}

#[tokio::test]
async fn callers_of_one_user_at_once_share_one_question() {
    let stack = asking_graph(Stack::builder()).await;
    stack.fault(
        Endpoint::Graph,
        Fault {
            latency_ms: Some(200),
            ..Fault::default()
        },
    );
    let tokens: Vec<_> = (0..10).map(|_| stack.user("adele").token()).collect();
    let answers = futures_util::future::join_all(tokens.iter().map(|token| stack.post_token(token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(asked(&stack), 1);
}

#[tokio::test]
async fn what_was_learnt_counts_for_a_while_only() {
    let stack = asking_graph(Stack::builder()).await;
    assert_eq!(stack.user("adele").lifetime(3600).post().await.outcome(), "200");
    stack.clock.advance(Duration::from_secs(299));
    assert_eq!(stack.user("adele").lifetime(3600).post().await.outcome(), "200");
    assert_eq!(asked(&stack), 1);
    stack.clock.advance(Duration::from_secs(2));
    assert_eq!(stack.user("adele").lifetime(3600).post().await.outcome(), "200");
    assert_eq!(asked(&stack), 2);
}

#[tokio::test]
async fn while_graph_is_away_only_those_who_need_it_are_refused() {
    let stack = asking_graph(Stack::builder()).await;
    let alex = stack.user("alex").token();
    let status = |status| Fault {
        status: Some(status),
        ..Fault::default()
    };
    for (fault, expected) in [
        (status(500), "503 UpstreamUnavailable"),
        (status(503), "503 UpstreamUnavailable"),
        (status(504), "503 UpstreamUnavailable"),
        (status(403), "502 UpstreamRejectedBroker"),
        (
            Fault {
                drop_connection: true,
                ..Fault::default()
            },
            "503 UpstreamUnavailable",
        ),
        (
            Fault {
                broken_json: true,
                ..Fault::default()
            },
            "502 UpstreamInvalidResponse",
        ),
    ] {
        stack.fault(Endpoint::Graph, fault);
        let answer = stack.user("adele").post().await;
        assert_eq!(answer.outcome(), expected);
        assert_eq!(stack.post_token(&alex).await.outcome(), "200");
    }
    assert_eq!(stack.exchanges(), 1, "nobody was let through unasked");
    stack.emulator.clear_faults();
    assert_eq!(stack.user("adele").post().await.outcome(), "200");
}

#[tokio::test]
async fn a_refused_app_token_is_asked_for_anew_once() {
    let stack = asking_graph(Stack::builder()).await;
    stack.fault(
        Endpoint::Graph,
        Fault {
            status: Some(401),
            times: Some(1),
            ..Fault::default()
        },
    );
    assert_eq!(stack.user("adele").post().await.outcome(), "200");
    assert_eq!(
        (asked(&stack), stack.emulator.count(Endpoint::ClientCredentials)),
        (2, 2)
    );
    stack.emulator.clear_journal();
    stack.fault(
        Endpoint::Graph,
        Fault {
            status: Some(401),
            ..Fault::default()
        },
    );
    assert_eq!(stack.user("lidia").post().await.outcome(), "502 UpstreamRejectedBroker");
    assert_eq!(
        (asked(&stack), stack.emulator.count(Endpoint::ClientCredentials)),
        (2, 1)
    );
}

#[tokio::test]
async fn a_limit_pauses_the_questions_of_that_tenant() {
    let stack = asking_graph(Stack::builder()).await;
    stack.fault(
        Endpoint::Graph,
        Fault {
            status: Some(429),
            retry_after: Some("20".to_owned()),
            ..Fault::default()
        },
    );
    let answer = stack.user("adele").post().await;
    assert_eq!(answer.outcome(), "429 TooManyRequests/UpstreamLimit");
    assert_eq!(answer.header("retry-after"), Some("20"));
    stack.emulator.clear_faults();
    assert_eq!(
        stack.user("lidia").post().await.outcome(),
        "429 TooManyRequests/UpstreamLimit"
    );
    assert_eq!(asked(&stack), 1);
    stack.advance(21);
    assert_eq!(stack.user("lidia").post().await.outcome(), "200");
}

#[tokio::test]
async fn a_user_with_more_groups_than_a_token_tells_is_looked_up_in_the_other_modes_too() {
    let stack = asking_graph(with_secret()).await;
    // Lidia's token says that there are more groups; adele's lists them.
    assert_eq!(stack.user("lidia").with(for_api).post().await.outcome(), "200");
    assert_eq!(asked(&stack), 1);
    assert_eq!(stack.user("adele").with(for_api).post().await.outcome(), "200");
    assert_eq!(asked(&stack), 1);
}
