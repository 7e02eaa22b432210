use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::Url;

use super::*;
use crate::authenticate::{Caller, Groups};
use crate::authorize::assignment::{Assignment, PrincipalType};
use crate::authorize::source::{AssignmentWatch, SourceKind};
use crate::authorize::{Authorizer, Denied, MatchedAssignment};
use azure::Upstream;
use azure::credential::{CredentialDeps, EntraApp};
use azure::entra::{EntraClient, TokenEndpoints};
use base::clock::ManualClock;
use base::ids::{ClientAppId, NotAGuid};
use config::{AppConfig, Cloud, CredentialConfig, SecretSource, UnknownGroups};

fn id<T: std::str::FromStr<Err = NotAGuid>>(number: u32) -> T {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

const TENANT: u32 = 1;
const APP: u32 = 2;
const USER: u32 = 3;
/// The user is a member of the groups from here on.
const MEMBER: u32 = 1000;

/// Entra's token endpoint and Graph in one.
struct Azure {
    graph: Mutex<Vec<(String, Vec<String>)>>,
    tokens: AtomicUsize,
    // What Graph answers other than the truth, call by call, before that.
    script: Mutex<Vec<(u16, Option<&'static str>, Value)>>,
    // Graph answers as this opens; wide open from the start.
    gate: Semaphore,
}

impl Azure {
    async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        if path == "/token" {
            let number = self.tokens.fetch_add(1, Ordering::SeqCst) + 1;
            let body = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": format!("token{number}")});
            return axum::Json(body).into_response();
        }
        let user: ObjectId = id(USER);
        assert_eq!(path, format!("/v1.0/users/{user}/checkMemberGroups"));
        let bearer = request.headers()["authorization"].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let groups: Vec<String> = serde_json::from_value(body["groupIds"].clone()).unwrap();
        assert!(groups.len() <= MOST_GROUPS);
        let scripted = {
            self.graph.lock().unwrap().push((bearer, groups.clone()));
            self.script.lock().unwrap().pop()
        };
        drop(self.gate.acquire().await.unwrap());
        if let Some((status, retry_after, body)) = scripted {
            let mut response = axum::Json(body).into_response();
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            if let Some(retry_after) = retry_after {
                response
                    .headers_mut()
                    .insert("retry-after", retry_after.parse().unwrap());
            }
            return response;
        }
        let is_member = |group: &String| u32::from_str_radix(&group[..8], 16).unwrap() >= MEMBER;
        let value: Vec<_> = groups.into_iter().filter(is_member).collect();
        axum::Json(json!({ "value": value })).into_response()
    }

    fn calls(&self) -> usize {
        self.graph.lock().unwrap().len()
    }

    fn will_answer(&self, answers: &[(u16, Option<&'static str>, Value)]) {
        *self.script.lock().unwrap() = answers.iter().rev().cloned().collect();
    }
}

struct Endpoint(Url);

impl TokenEndpoints for Endpoint {
    fn token_endpoint(&self, tenant: TenantId) -> Option<Url> {
        (tenant == id(TENANT)).then(|| self.0.clone())
    }
}

struct World {
    azure: Arc<Azure>,
    clock: Arc<ManualClock>,
    memberships: Arc<Memberships>,
}

impl World {
    async fn new() -> Self {
        Self::with(MembershipSettings {
            timeout: Duration::from_secs(3),
            cache_ttl: Duration::from_secs(300),
        })
        .await
    }

    async fn with(settings: MembershipSettings) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let azure = Arc::new(Azure {
            graph: Mutex::default(),
            tokens: AtomicUsize::new(0),
            script: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let answering = Arc::clone(&azure);
        let router = Router::new().fallback(async move |request: Request| answering.answer(request).await);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
        let shared = || Arc::clone(&clock) as SharedClock;
        let upstream = Upstream::plain(Duration::from_secs(2), 1 << 20).unwrap();
        let deps = CredentialDeps {
            clock: shared(),
            upstream: upstream.clone(),
            cloud: Cloud::Public,
        };
        let config = AppConfig {
            client_id: id(APP),
            credential: CredentialConfig::Secret(SecretSource::Value(SecretString::from("secret"))),
        };
        let endpoint = Endpoint(origin.join("/token").unwrap());
        let entra = EntraClient::new(upstream.clone(), Arc::new(endpoint), None, shared());
        let app = EntraApp::new(&config, &deps, Arc::new(entra)).unwrap();
        let tokens = AppTokens::new(app, "https://graph.microsoft.com/.default", shared());
        let graph = GraphClient::new(upstream, origin, None, shared());
        let memberships = Arc::new(Memberships::new(
            graph,
            tokens,
            settings,
            CallerLimits::unlimited(&shared()),
            shared(),
        ));
        Self {
            azure,
            clock,
            memberships,
        }
    }

    async fn resolve(&self, groups: &[u32]) -> Result<Vec<u32>, MembershipError> {
        let ids: Vec<ObjectId> = groups.iter().map(|group| id(*group)).collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        let members = self.memberships.resolve(id(TENANT), id(USER), &ids, deadline).await?;
        Ok(groups
            .iter()
            .copied()
            .filter(|group| members.contains(&id(*group)))
            .collect())
    }
}

#[tokio::test]
async fn membership_is_remembered_and_so_is_its_absence() {
    let world = World::new().await;
    assert_eq!(world.resolve(&[5, MEMBER]).await, Ok(vec![MEMBER]));
    assert_eq!(world.resolve(&[MEMBER]).await, Ok(vec![MEMBER]));
    assert_eq!(world.resolve(&[5]).await, Ok(vec![]));
    assert_eq!(world.azure.calls(), 1);
    // Only what is not known yet is asked for.
    assert_eq!(world.resolve(&[5, 6, MEMBER]).await, Ok(vec![MEMBER]));
    assert_eq!(world.azure.graph.lock().unwrap()[1].1, [id::<ObjectId>(6).to_string()]);
    world.clock.advance(Duration::from_secs(300));
    assert_eq!(world.resolve(&[5]).await, Ok(vec![]));
    assert_eq!(world.azure.calls(), 3);
    assert_eq!(world.resolve(&[]).await, Ok(vec![]));
    assert_eq!((world.azure.calls(), world.azure.tokens.load(Ordering::SeqCst)), (3, 1));
}

#[tokio::test]
async fn many_groups_are_asked_for_by_twenties() {
    let world = World::new().await;
    let groups: Vec<u32> = (MEMBER - 50..MEMBER + 45).collect();
    assert_eq!(world.resolve(&groups).await, Ok((MEMBER..MEMBER + 45).collect()));
    let mut sizes: Vec<_> = world
        .azure
        .graph
        .lock()
        .unwrap()
        .iter()
        .map(|(_, groups)| groups.len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [15, 20, 20, 20, 20]);
}

#[tokio::test]
async fn a_request_makes_few_calls_and_the_next_goes_on_from_there() {
    let world = World::new().await;
    let groups: Vec<u32> = (MEMBER..MEMBER + 3000).collect();
    for request in 1..=3 {
        assert_eq!(world.resolve(&groups).await, Err(MembershipError::Unfinished));
        assert_eq!(world.azure.calls(), request * MOST_CALLS);
    }
    assert_eq!(world.resolve(&groups).await.as_ref(), Ok(&groups));
    assert_eq!(world.resolve(&groups).await.as_ref(), Ok(&groups));
    // Each group was asked for once.
    assert_eq!(world.azure.calls(), 150);
}

#[tokio::test]
async fn callers_at_once_start_one_lookup_each_at_most() {
    let world = World::new().await;
    let groups: Vec<u32> = (MEMBER..MEMBER + 3000).collect();
    let asked = futures_util::future::join_all((0..20).map(|_| world.resolve(&groups))).await;
    // Three have done their part; the others went on where they ended.
    let unfinished = asked.iter().filter(|asked| **asked == Err(MembershipError::Unfinished));
    assert_eq!(unfinished.count(), 3);
    assert_eq!(asked.iter().filter(|asked| asked.is_ok()).count(), 17);
    assert_eq!(world.azure.calls(), 150);
}

#[tokio::test]
async fn what_was_answered_before_a_failure_is_kept() {
    const CALLS: usize = 8;
    let world = World::new().await;
    let groups: Vec<u32> = (1..=20 * u32::try_from(CALLS).unwrap()).collect();
    let nothing = (200, None, json!({"value": []}));
    let mut script = vec![nothing; 5];
    script.push((500, None, json!({})));
    world.azure.will_answer(&script);
    assert_eq!(world.resolve(&groups).await.unwrap_err().name(), "graph_unavailable");
    let before = world.azure.calls();
    assert_eq!(world.resolve(&groups).await, Ok(vec![]));
    // The sixth began when two were answered.
    assert!(
        world.azure.calls() - before <= CALLS - 2,
        "{before}, {}",
        world.azure.calls()
    );
}

#[tokio::test]
async fn callers_of_one_user_share_a_lookup() {
    let world = World::new().await;
    let closed = world.azure.gate.acquire_many(1).await.unwrap();
    world.azure.gate.forget_permits(usize::MAX);
    let (same, others) = ([5, MEMBER], [6, MEMBER + 1]);
    let asking = async {
        let one = futures_util::future::join_all((0..20).map(|_| world.resolve(&same)));
        let other = futures_util::future::join_all((0..20).map(|_| world.resolve(&others)));
        tokio::join!(one, other)
    };
    let opening = async {
        while world.azure.calls() == 0 {
            tokio::task::yield_now().await;
        }
        // Time enough for a second lookup, if it did not wait.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.azure.calls(), 1);
        drop(closed);
        world.azure.gate.add_permits(1000);
    };
    let ((one, other), ()) = tokio::join!(asking, opening);
    assert!(one.into_iter().all(|members| members == Ok(vec![MEMBER])));
    assert!(other.into_iter().all(|members| members == Ok(vec![MEMBER + 1])));
    // The second lookup waited for the first and was shared as well.
    assert_eq!(world.azure.calls(), 2);
}

#[tokio::test]
async fn a_refused_token_leads_to_one_new_one() {
    let world = World::new().await;
    let refused = (
        401,
        None,
        json!({"error": {"code": "InvalidAuthenticationToken", "message": "m"}}),
    );
    world.azure.will_answer(std::slice::from_ref(&refused));
    assert_eq!(world.resolve(&[MEMBER]).await, Ok(vec![MEMBER]));
    let bearers: Vec<_> = world
        .azure
        .graph
        .lock()
        .unwrap()
        .iter()
        .map(|(bearer, _)| bearer.clone())
        .collect();
    assert_eq!(bearers, ["Bearer token1", "Bearer token2"]);
    world.azure.will_answer(&[refused.clone(), refused]);
    let error = world.resolve(&[MEMBER + 1]).await.unwrap_err();
    assert!(matches!(error, MembershipError::BrokerRejected(_)), "{error}");
    assert_eq!((world.azure.calls(), world.azure.tokens.load(Ordering::SeqCst)), (4, 3));
}

#[tokio::test]
async fn a_limit_pauses_the_tenants_lookups_until_it_ends() {
    let world = World::new().await;
    assert_eq!(world.resolve(&[5]).await, Ok(vec![]));
    world.azure.will_answer(&[(429, Some("20"), json!({}))]);
    for _ in 0..3 {
        let limited = UpstreamFailure::Limited {
            retry_after: Duration::from_secs(20),
        };
        assert_eq!(world.resolve(&[MEMBER]).await, Err(MembershipError::Upstream(limited)));
    }
    assert_eq!(world.azure.calls(), 2);
    // What is known is answered meanwhile.
    assert_eq!(world.resolve(&[5]).await, Ok(vec![]));
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(world.resolve(&[MEMBER]).await, Ok(vec![MEMBER]));
}

#[tokio::test]
async fn every_other_answer_has_its_meaning_and_is_not_remembered() {
    let world = World::new().await;
    let said = || json!({"error": {"code": "C", "message": "M"}});
    for (answers, calls, meaning) in [
        (vec![(403, None, said())], 1, "graph_broker_rejected"),
        (vec![(500, None, said())], 1, "graph_unavailable"),
        (
            vec![(503, None, said()), (503, Some("9"), said())],
            2,
            "graph_unavailable",
        ),
        (vec![(504, None, said())], 1, "graph_timeout"),
        (vec![(400, None, said())], 1, "graph_invalid_response"),
        (vec![(302, None, said())], 1, "graph_invalid_response"),
        (vec![(200, None, json!({}))], 1, "graph_invalid_response"),
        (vec![(200, None, json!({"value": ["x"]}))], 1, "graph_invalid_response"),
    ] {
        let before = world.azure.calls();
        world.azure.will_answer(&answers);
        let error = world.resolve(&[MEMBER]).await.unwrap_err();
        assert_eq!(
            (error.name(), world.azure.calls() - before),
            (meaning, calls),
            "{error}"
        );
    }
    world.azure.will_answer(&[(503, None, said())]);
    assert_eq!(world.resolve(&[MEMBER]).await, Ok(vec![MEMBER]));
}

#[tokio::test]
async fn an_unknown_user_is_a_member_of_nothing_for_a_short_while() {
    let world = World::new().await;
    world.azure.will_answer(&[(404, None, json!({}))]);
    assert_eq!(world.resolve(&[MEMBER]).await, Ok(vec![]));
    assert_eq!(world.resolve(&[MEMBER]).await, Ok(vec![]));
    assert_eq!(world.azure.calls(), 1);
    world.clock.advance(NO_SUCH_USER);
    assert_eq!(world.resolve(&[MEMBER]).await, Ok(vec![MEMBER]));
}

#[tokio::test]
async fn a_lookup_ends_with_the_timeout_or_the_callers_deadline() {
    let settings = MembershipSettings {
        timeout: Duration::from_millis(100),
        cache_ttl: Duration::from_secs(300),
    };
    for deadline in [Duration::from_millis(50), Duration::from_secs(60)] {
        let world = World::with(settings).await;
        world.azure.gate.forget_permits(usize::MAX);
        let deadline = Instant::now() + deadline;
        let groups = [id(5)];
        let asked = world.memberships.resolve(id(TENANT), id(USER), &groups, deadline);
        assert_eq!(asked.await, Err(MembershipError::Upstream(UpstreamFailure::Timeout)));
    }
}

#[tokio::test]
async fn a_tenant_without_a_token_endpoint_cannot_be_asked_about_now() {
    let world = World::new().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let asked = world.memberships.resolve(id(9), id(USER), &[id(5)], deadline).await;
    assert_eq!(asked.unwrap_err().name(), "graph_unavailable");
    assert_eq!(world.azure.calls(), 0);
}

#[tokio::test]
async fn graph_is_asked_only_where_nothing_else_covers_the_caller() {
    const OTHER_APP: u32 = 11;
    let world = World::new().await;
    let assignment = |principal_type, object: u32, client: u32| Assignment {
        object_id: id(object),
        tenant_id: id(TENANT),
        principal_type,
        client_ids: vec![id(client)],
        allowed_scopes: None,
    };
    let watch = AssignmentWatch::new(Arc::clone(&world.clock) as SharedClock, [SourceKind::File]);
    watch.source(SourceKind::File).replace(vec![
        assignment(PrincipalType::Group, 5, 10),
        assignment(PrincipalType::Group, MEMBER, 10),
        assignment(PrincipalType::Group, 5, OTHER_APP),
        assignment(PrincipalType::User, 30, 10),
        assignment(PrincipalType::Tenant, TENANT, 12),
        assignment(PrincipalType::Group, MEMBER, 12),
    ]);
    let without = Authorizer::new(watch.clone(), UnknownGroups::Graph);
    let authorizer = Authorizer::new(watch, UnknownGroups::Graph).with_memberships(Arc::clone(&world.memberships));
    let unknown = || Groups::Unknown { listed: Vec::new() };
    let caller =
        |user: u32, client: u32, groups| Caller::for_test(id(TENANT), id(user), id::<ClientAppId>(client), groups);
    let deadline = Instant::now() + Duration::from_secs(10);
    let ask = async |user, client, groups| {
        let permit = authorizer.authorize(caller(user, client, groups), deadline).await;
        permit.map(|permit| permit.assignment())
    };
    assert_eq!(ask(30, 10, unknown()).await, Ok(MatchedAssignment::User));
    assert_eq!(ask(USER, 12, unknown()).await, Ok(MatchedAssignment::Tenant));
    assert_eq!(ask(USER, 13, unknown()).await, Err(Denied::NoAssignment));
    let listed = Groups::Unknown { listed: [id(5)].into() };
    assert_eq!(ask(USER, 10, listed).await, Ok(MatchedAssignment::Group(id(5))));
    assert_eq!(
        ask(USER, 10, Groups::Known(Vec::new())).await,
        Err(Denied::NoAssignment)
    );
    assert_eq!(world.azure.calls(), 0);
    assert_eq!(ask(USER, 10, unknown()).await, Ok(MatchedAssignment::Group(id(MEMBER))));
    assert_eq!(ask(USER, OTHER_APP, unknown()).await, Err(Denied::NoAssignment));
    assert_eq!(world.azure.calls(), 1);
    world.clock.advance(Duration::from_secs(300));
    world.azure.will_answer(&[(500, None, json!({}))]);
    let error = ask(USER, 10, unknown()).await.unwrap_err();
    assert_eq!(error.name(), "graph_unavailable");
    let alone = without.authorize(caller(USER, 10, unknown()), deadline).await;
    assert_eq!(alone.map(|permit| permit.assignment()), Err(Denied::GroupsUnknown));
}

#[tokio::test]
async fn the_scopes_are_those_of_all_groups_that_graph_tells() {
    use config::IdentityScope::{Chat, Voip, VoipJoin};
    let world = World::new().await;
    let group = |object: u32, scope| Assignment {
        object_id: id(object),
        tenant_id: id(TENANT),
        principal_type: PrincipalType::Group,
        client_ids: vec![id(10)],
        allowed_scopes: Some([scope].into_iter().collect()),
    };
    let both = [SourceKind::File, SourceKind::Acs];
    let watch = AssignmentWatch::new(Arc::clone(&world.clock) as SharedClock, both);
    let groups = vec![group(5, VoipJoin), group(MEMBER, Chat), group(MEMBER + 1, Voip)];
    watch.source(SourceKind::File).replace(groups);
    let authorizer = Authorizer::new(watch, UnknownGroups::Graph).with_memberships(Arc::clone(&world.memberships));
    let ask = async |user| {
        let groups = Groups::Unknown { listed: Vec::new() };
        let caller = Caller::for_test(id(TENANT), id(user), id::<ClientAppId>(10), groups);
        authorizer
            .authorize(caller, Instant::now() + Duration::from_secs(10))
            .await
    };
    let permit = ask(USER).await.unwrap();
    assert_eq!(permit.allowed_scopes(), Some([Chat, Voip].into_iter().collect()));
    // The other source is not loaded and might cover a user that no group of the loaded one does.
    world.clock.advance(Duration::from_secs(300));
    world.azure.will_answer(&[(200, None, json!({"value": []}))]);
    assert_eq!(ask(USER).await, Err(Denied::NotLoaded));
}
