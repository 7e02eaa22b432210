//! Units: what an answer means, and what is read of an object.

use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::answer::{AdminError, failure};
use super::{Application, GraphAdmin, Sku, assignment_body};
use crate::{Response, Upstream, UpstreamFailure};
use base::clock::SystemClock;
use base::ids::ObjectId;
use base::secret::BearerToken;

fn response(status: u16, body: &serde_json::Value) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.to_string().into(),
    }
}

#[test]
fn what_a_status_means() {
    let body = json!({"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges to complete the operation."}});
    let now = jiff::Timestamp::UNIX_EPOCH;
    let means = |status| failure(&response(status, &body), now);
    assert!(matches!(means(401), AdminError::Unauthorized(Some(_))));
    assert_eq!(
        means(403).to_string(),
        "Graph refused the operation: Authorization_RequestDenied (Insufficient privileges to complete the operation.)"
    );
    assert_eq!(means(404), AdminError::NotFound);
    assert!(matches!(means(400), AdminError::Refused { .. }));
    assert!(matches!(
        means(429),
        AdminError::Upstream(UpstreamFailure::Limited { .. })
    ));
    assert!(matches!(
        means(503),
        AdminError::Upstream(UpstreamFailure::Unavailable { .. })
    ));
    assert!(matches!(
        means(302),
        AdminError::Upstream(UpstreamFailure::Unavailable { .. })
    ));
}

#[test]
fn objects_are_read_as_graph_has_them() {
    let application: Application = serde_json::from_value(json!({
        "id": "11111111-0000-4000-8000-000000000001", "appId": "22222222-0000-4000-8000-000000000001",
        "displayName": "x", "signInAudience": "AzureADMultipleOrgs",
        "web": {"redirectUris": ["https://a.example/"], "homePageUrl": null}, "spa": {"redirectUris": ["http://localhost:3000"]},
        "publicClient": null, "requiredResourceAccess": [{"resourceAppId": "x", "resourceAccess": []}],
        "api": {"requestedAccessTokenVersion": 2, "knownClientApplications": [],
            "oauth2PermissionScopes": [{"id": "aa", "value": "access"}, {"id": "bb", "value": "other"}],
            "preAuthorizedApplications": [{"appId": "22222222-0000-4000-8000-000000000002", "delegatedPermissionIds": ["AA"]}]},
    }))
    .unwrap();
    let pre_authorizes = |client: &str, scope: &str| {
        let client = format!("22222222-0000-4000-8000-{client}").parse().unwrap();
        application.pre_authorizes(client, &[scope.to_owned()].into())
    };
    assert!(pre_authorizes("000000000002", "access"));
    assert!(!pre_authorizes("000000000003", "access") && !pre_authorizes("000000000002", "other"));
    assert_eq!(
        application.redirect_uris().collect::<Vec<_>>(),
        ["https://a.example/", "http://localhost:3000"]
    );
    for (status, plan, premium) in [
        ("Enabled", "AAD_PREMIUM", true),
        ("Warning", "AAD_PREMIUM_P2", true),
        ("Suspended", "AAD_PREMIUM", false),
        ("LockedOut", "AAD_PREMIUM", false),
        ("Enabled", "EXCHANGE_S_STANDARD", false),
    ] {
        let sku: Sku =
            serde_json::from_value(json!({"capabilityStatus": status, "servicePlans": [{"servicePlanName": plan}]}))
                .unwrap();
        assert_eq!(sku.has_entra_premium(), premium, "{status} {plan}");
    }
}

#[test]
fn a_filter_is_written_as_graph_documents_it() {
    let graph = GraphAdmin::new(
        Upstream::plain(std::time::Duration::from_secs(1), 1 << 20).unwrap(),
        "https://graph.microsoft.com".parse().unwrap(),
        BearerToken::new("t"),
        std::time::Duration::from_secs(1),
        SystemClock::shared(),
    );
    assert_eq!(
        graph.url("applications", &[("$filter", "appId eq 'x'")]).as_str(),
        "https://graph.microsoft.com/v1.0/applications?$filter=appId%20eq%20%27x%27"
    );
    let id = |text: &str| text.parse::<ObjectId>().unwrap();
    let (principal, group) = (
        id("11111111-0000-4000-8000-000000000001"),
        id("11111111-0000-4000-8000-000000000002"),
    );
    assert_eq!(
        assignment_body(principal, group),
        json!({"principalId": group, "resourceId": principal, "appRoleId": "00000000-0000-0000-0000-000000000000"})
    );
}
