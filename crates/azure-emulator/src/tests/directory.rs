//! Graph's lists and changes of apps, consents, groups and licenses.

use serde_json::{Value, json};

use super::support::{Answer, Stage, claims, loopback, stage};
use crate::scenario::{CONTOSO, CONTOSO_API, CONTOSO_APP, FABRIKAM, FABRIKAM_CALLERS, FABRIKAM_NIGHT_SHIFT};
use crate::{Emulator, Endpoint, Fault, Scenario, Settings, Step};
use base::clock::ManualClock;

const CLIENTS: &str = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
const PRINCIPALS: &str = "/v1.0/servicePrincipals";

/// The administrator of a tenant, with the token that the Azure CLI gets.
fn administrator(stage: &Stage, name: &str) -> String {
    stage.token(name, json!({"audience": "graph"}))
}

fn app(stage: &Stage, tenant: &str, roles: &[&str]) -> String {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let graph = "https://graph.microsoft.com";
    stage.emulator.issue_app_token(tenant, graph, &roles).unwrap()
}

async fn get(stage: &Stage, token: &str, path: &str) -> Answer {
    stage.send_as(token, "GET", path, "").await
}

async fn value(stage: &Stage, token: &str, path: &str) -> Vec<Value> {
    let answer = get(stage, token, path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()["value"].as_array().unwrap().clone()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    let body = answer.json();
    let found = (answer.status, body["error"]["code"].as_str().unwrap());
    assert_eq!(found, (status, code), "{body}");
    assert!(body["error"]["innerError"]["request-id"].is_string());
}

fn by_app(app_id: &str) -> String {
    format!("{PRINCIPALS}?$filter=appId%20eq%20'{app_id}'")
}

async fn stage_of(scenario: Scenario) -> Stage {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
    let emulator = Emulator::start(scenario, loopback(), None, clock.clone())
        .await
        .unwrap();
    Stage { emulator, clock }
}

#[tokio::test]
async fn the_brokers_own_app_reads_a_world_in_which_all_is_done() {
    let stage = stage().await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", &CONTOSO_API.to_string()),
        ("client_secret", crate::scenario::CONTOSO_API_SECRET),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let answer = stage.ask("fabrikam.com", &fields).await.json();
    let token = answer["access_token"].as_str().unwrap();
    let clients = value(&stage, token, &by_app(CLIENTS)).await;
    let clients = &clients[0];
    assert_eq!(clients["displayName"], "Azure Communication Services Clients");
    assert_eq!(clients["appRoleAssignmentRequired"], true);
    let scopes = clients["oauth2PermissionScopes"].as_array().unwrap();
    assert!(scopes.iter().any(|scope| scope["value"] == "VoIP"));
    let id = clients["id"].as_str().unwrap();

    let by_key = get(
        &stage,
        token,
        &format!("{PRINCIPALS}(appId='{CLIENTS}')?$select=id,appId"),
    )
    .await;
    let by_key = by_key.json();
    assert_eq!((&by_key["id"], by_key.get("displayName")), (&json!(id), None));
    let encoded = format!("{PRINCIPALS}(appId=%27{CLIENTS}%27)");
    assert_eq!(get(&stage, token, &encoded).await.json()["id"], id);

    let assigned = value(&stage, token, &format!("{PRINCIPALS}/{id}/appRoleAssignedTo")).await;
    let groups: Vec<&Value> = assigned
        .iter()
        .filter(|found| found["principalType"] == "Group")
        .collect();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0]["principalId"], FABRIKAM_CALLERS.to_string());
    assert_eq!(groups[0]["principalDisplayName"], "Fabrikam Callers");

    let client = value(&stage, token, &by_app(&CONTOSO_APP.to_string())).await;
    let client = client[0]["id"].as_str().unwrap();
    let path = format!("/v1.0/oauth2PermissionGrants?$filter=clientId%20eq%20'{client}'");
    let grants = value(&stage, token, &path).await;
    let of_clients = grants.iter().find(|grant| grant["resourceId"] == id).unwrap();
    assert_eq!(of_clients["consentType"], "AllPrincipals");
    assert_eq!(of_clients["scope"], "VoIP VoIP.Join");

    let members = format!("/v1.0/groups/{FABRIKAM_CALLERS}/members");
    let groups = value(&stage, token, &format!("{members}/microsoft.graph.group")).await;
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0]["id"], FABRIKAM_NIGHT_SHIFT.to_string());
    let direct = value(&stage, token, &members).await;
    let all = value(
        &stage,
        token,
        &format!("/v1.0/groups/{FABRIKAM_CALLERS}/transitiveMembers"),
    )
    .await;
    let has = |list: &[Value], name: &str| list.iter().any(|found| found["displayName"] == name);
    assert!(!has(&direct, "Nestor Wilke") && has(&all, "Nestor Wilke") && has(&direct, "Adele Vance"));
    assert_eq!(direct[0]["@odata.type"], "#microsoft.graph.group");

    let skus = value(&stage, token, "/v1.0/subscribedSkus").await;
    assert_eq!(skus[0]["servicePlans"][0]["servicePlanName"], "AAD_PREMIUM_P2");
    let details = value(&stage, token, "/v1.0/users/adele@fabrikam.com/licenseDetails").await;
    assert_eq!(details[0]["skuPartNumber"], "SPE_E5");
    let organization = value(&stage, token, "/v1.0/organization").await;
    assert_eq!(organization[0]["id"], FABRIKAM.to_string());

    // Registrations are in the home tenant alone.
    assert!(value(&stage, token, "/v1.0/applications").await.is_empty());
    let answer = stage.ask("contoso.com", &fields).await.json();
    let token = answer["access_token"].as_str().unwrap();
    let path = format!("/v1.0/applications?$filter=appId eq '{CONTOSO_APP}'").replace(' ', "+");
    let found = value(&stage, token, &path).await;
    assert_eq!(found[0]["signInAudience"], "AzureADMultipleOrgs");
    assert_eq!(found[0]["requiredResourceAccess"][0]["resourceAppId"], CLIENTS);
    assert_eq!(found[0]["spa"]["redirectUris"][0], "http://localhost:3000");
}

#[tokio::test]
async fn a_tenant_without_premium_says_so() {
    let mut scenario = Scenario::demo();
    for tenant in &mut scenario.tenants {
        tenant.premium = false;
    }
    let stage = stage_of(scenario).await;
    let token = app(&stage, "Fabrikam", &["LicenseAssignment.Read.All"]);
    let skus = value(&stage, &token, "/v1.0/subscribedSkus").await;
    assert_eq!(skus[0]["skuPartNumber"], "O365_BUSINESS_ESSENTIALS");
}

#[tokio::test]
async fn each_surface_wants_its_permission() {
    let stage = stage().await;
    let id = |path: &str| path.replace("{group}", &FABRIKAM_CALLERS.to_string());
    let cases = [
        ("GET", PRINCIPALS, "Application.Read.All"),
        ("GET", "/v1.0/applications", "Application.Read.All"),
        ("GET", "/v1.0/oauth2PermissionGrants", "Directory.Read.All"),
        ("GET", "/v1.0/groups/{group}", "GroupMember.Read.All"),
        ("GET", "/v1.0/groups/{group}/members", "Group.Read.All"),
        ("GET", "/v1.0/subscribedSkus", "LicenseAssignment.Read.All"),
        ("GET", "/v1.0/organization", "Organization.Read.All"),
        (
            "GET",
            "/v1.0/users/adele@fabrikam.com/licenseDetails",
            "LicenseAssignment.Read.All",
        ),
    ];
    for (method, path, role) in cases {
        let path = id(path);
        let good = app(&stage, "Fabrikam", &[role]);
        assert_eq!(stage.send_as(&good, method, &path, "").await.status, 200, "{path}");
        let weak = app(&stage, "Fabrikam", &["User.ReadBasic.All"]);
        refused(
            &stage.send_as(&weak, method, &path, "").await,
            403,
            "Authorization_RequestDenied",
        );
        let scoped = stage.token("patti", json!({"audience": "graph", "scopes": [role]}));
        assert_eq!(stage.send_as(&scoped, method, &path, "").await.status, 200, "{path}");
        refused(
            &stage.send_as("x", method, &path, "").await,
            401,
            "InvalidAuthenticationToken",
        );
    }
    // Reading is not writing, and an administrator's client is not an administrator.
    let body = json!({"appId": CLIENTS}).to_string();
    let reader = app(&stage, "Fabrikam", &["Application.Read.All", "Directory.Read.All"]);
    refused(
        &stage.send_as(&reader, "POST", PRINCIPALS, &body).await,
        403,
        "Authorization_RequestDenied",
    );
    let writes = json!({"audience": "graph", "scopes": ["Application.ReadWrite.All"]});
    let adele = stage.token("adele", writes);
    refused(
        &stage.send_as(&adele, "POST", PRINCIPALS, &body).await,
        403,
        "Authorization_RequestDenied",
    );
    let adele = stage.token("adele", json!({"audience": "graph"}));
    refused(
        &get(&stage, &adele, PRINCIPALS).await,
        403,
        "Authorization_RequestDenied",
    );
}

#[tokio::test]
async fn an_administrator_of_each_tenant_has_a_token() {
    let stage = stage().await;
    for (name, tenant) in [("isaiah", CONTOSO), ("patti", FABRIKAM)] {
        let path = format!("/_emulator/users/{name}/token");
        let answer = stage.send("POST", &path, &[], r#"{"audience":"graph"}"#).await.json();
        let token = answer["access_token"].as_str().unwrap();
        let claims = claims(token);
        assert_eq!(claims["tid"], tenant.to_string());
        assert_eq!(claims["aud"], "https://graph.microsoft.com");
        assert!(claims["scp"].as_str().unwrap().contains("Directory.AccessAsUser.All"));
        assert_eq!(claims["wids"], json!(["62e90394-69f5-4237-9190-012177145e10"]));
        assert_eq!(
            value(&stage, token, "/v1.0/organization").await[0]["id"],
            tenant.to_string()
        );
    }
}

#[tokio::test]
async fn an_administrator_does_the_steps() {
    let stage = stage_of(Scenario::demo().undo(Step::ALL.iter().copied())).await;
    let (contoso, fabrikam) = (administrator(&stage, "isaiah"), administrator(&stage, "patti"));
    assert!(Step::ALL.iter().all(|step| !stage.emulator.is_step_done(*step)));

    let body = json!({"appId": CLIENTS}).to_string();
    for token in [&contoso, &fabrikam] {
        assert!(value(&stage, token, &by_app(CLIENTS)).await.is_empty());
        refused(
            &get(&stage, token, &format!("{PRINCIPALS}(appId='{CLIENTS}')")).await,
            404,
            "Request_ResourceNotFound",
        );
        let made = stage.send_as(token, "POST", PRINCIPALS, &body).await;
        assert_eq!((made.status, &made.json()["appId"]), (201, &json!(CLIENTS)));
        let again = stage.send_as(token, "POST", PRINCIPALS, &body).await;
        refused(&again, 409, "Request_MultipleObjectsWithSameKeyValue");
    }
    let unknown = json!({"appId": "00000000-0000-4000-8000-0000000000aa"}).to_string();
    refused(
        &stage.send_as(&contoso, "POST", PRINCIPALS, &unknown).await,
        400,
        "NoBackingApplicationObject",
    );
    assert!(stage.emulator.is_step_done(Step::AcsClientsPrincipal));

    let clients = value(&stage, &contoso, &by_app(CLIENTS)).await;
    let scope = clients[0]["oauth2PermissionScopes"].as_array().unwrap().iter();
    let voip: Vec<Value> = scope
        .filter(|scope| scope["value"].as_str().unwrap().starts_with("VoIP"))
        .map(|scope| json!({"id": scope["id"], "type": "Scope"}))
        .collect();
    for app_id in [CONTOSO_APP, CONTOSO_API] {
        let path = format!("/v1.0/applications(appId='{app_id}')");
        let before = get(&stage, &contoso, &path).await.json();
        let mut required = before["requiredResourceAccess"].as_array().unwrap().clone();
        required.push(json!({"resourceAppId": CLIENTS, "resourceAccess": voip}));
        let new = json!({"requiredResourceAccess": required}).to_string();
        let answer = stage.send_as(&contoso, "PATCH", &path, &new).await;
        assert_eq!(answer.status, 204);
        let after = get(&stage, &contoso, &path).await.json();
        assert_eq!(after["requiredResourceAccess"], json!(required));
    }
    assert!(stage.emulator.is_step_done(Step::Permissions));

    let clients = value(&stage, &fabrikam, &by_app(CLIENTS)).await;
    let id = clients[0]["id"].as_str().unwrap();
    let path = format!("{PRINCIPALS}/{id}/appRoleAssignedTo");
    let assign = |principal: String, role: &str| {
        json!({"principalId": principal, "resourceId": id, "appRoleId": role}).to_string()
    };
    let none = "00000000-0000-0000-0000-000000000000";
    let body = assign(FABRIKAM_CALLERS.to_string(), none);
    let made = stage.send_as(&fabrikam, "POST", &path, &body).await;
    assert_eq!((made.status, &made.json()["principalType"]), (201, &json!("Group")));
    refused(
        &stage.send_as(&fabrikam, "POST", &path, &body).await,
        400,
        "Request_BadRequest",
    );
    let role = assign(FABRIKAM_CALLERS.to_string(), CLIENTS);
    refused(
        &stage.send_as(&fabrikam, "POST", &path, &role).await,
        400,
        "Request_BadRequest",
    );
    let nobody = assign(CONTOSO.to_string(), none);
    refused(
        &stage.send_as(&fabrikam, "POST", &path, &nobody).await,
        404,
        "Request_ResourceNotFound",
    );
    assert!(stage.emulator.is_step_done(Step::GroupAssignment));
    assert!(!stage.emulator.is_step_done(Step::Consent) && !stage.emulator.is_step_done(Step::AcsAssignment));
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    let stage = stage().await;
    let token = administrator(&stage, "isaiah");
    let path = format!("/v1.0/applications(appId='{CONTOSO_APP}')");
    for bad in [
        json!({"signInAudience": "Everybody"}),
        json!({"requiredResourceAccess": [{"resourceAppId": "x", "resourceAccess": []}]}),
        json!({"requiredResourceAccess": [{"resourceAppId": CLIENTS, "resourceAccess": [{"id": CLIENTS, "type": "x"}]}]}),
        json!({"spa": []}),
        json!({"signInAudience": "AzureADMyOrg", "secret": 1}),
    ] {
        let answer = stage.send_as(&token, "PATCH", &path, &bad.to_string()).await;
        refused(&answer, 400, "Request_BadRequest");
    }
    refused(&stage.send_as(&token, "PATCH", &path, "{").await, 400, "BadRequest");
    assert_eq!(
        get(&stage, &token, &path).await.json()["signInAudience"],
        "AzureADMultipleOrgs"
    );
    let good = json!({"signInAudience": "AzureADMyOrg", "spa": {"redirectUris": []}, "publicClient": {"redirectUris": ["http://localhost"]}});
    assert_eq!(
        stage.send_as(&token, "PATCH", &path, &good.to_string()).await.status,
        204
    );
    let after = get(&stage, &token, &path).await.json();
    assert_eq!(
        (&after["signInAudience"], &after["spa"]["redirectUris"]),
        (&json!("AzureADMyOrg"), &json!([]))
    );
    refused(
        &get(&stage, &token, "/v1.0/groups/x").await,
        404,
        "Request_ResourceNotFound",
    );
    refused(&get(&stage, &token, "/v1.0/me").await, 404, "ResourceNotFound");
    refused(
        &stage.send_as(&token, "DELETE", &path, "").await,
        404,
        "ResourceNotFound",
    );
}

#[tokio::test]
async fn lists_come_in_pages_and_are_filtered() {
    let stage = stage().await;
    let token = administrator(&stage, "patti");
    let all = value(&stage, &token, PRINCIPALS).await;
    stage
        .emulator
        .set_settings(Settings {
            graph_page_size: 2,
            ..Settings::default()
        })
        .unwrap();
    let (mut next, mut seen) = (Some(format!("{PRINCIPALS}?$select=id")), Vec::new());
    while let Some(path) = next {
        let page = get(&stage, &token, &path).await.json();
        assert!(page["value"].as_array().unwrap().len() <= 2);
        seen.extend(page["value"].as_array().unwrap().clone());
        let link = page["@odata.nextLink"].as_str();
        next = link.map(|link| link.strip_prefix(&stage.emulator.origin()).unwrap().to_owned());
    }
    let ids: Vec<Value> = all.iter().map(|found| json!({"id": found["id"]})).collect();
    assert_eq!(seen, ids);
    let top = value(&stage, &token, &format!("{PRINCIPALS}?$top=1")).await;
    assert_eq!(top.len(), 1);
    for (query, code) in [
        ("$filter=appId", "BadRequest"),
        ("$filter=appid%20eq%20'x'", "BadRequest"),
        ("$filter=tags%20eq%20'x'", "Request_UnsupportedQuery"),
        ("$search=x", "Request_UnsupportedQuery"),
    ] {
        refused(&get(&stage, &token, &format!("{PRINCIPALS}?{query}")).await, 400, code);
    }
}

#[tokio::test]
async fn every_path_of_graph_has_its_faults_and_its_count() {
    let stage = stage().await;
    let token = administrator(&stage, "patti");
    let paths = [
        PRINCIPALS.to_owned(),
        format!("{PRINCIPALS}(appId='{CLIENTS}')"),
        "/v1.0/applications".to_owned(),
        "/v1.0/oauth2PermissionGrants".to_owned(),
        format!("/v1.0/groups/{FABRIKAM_CALLERS}"),
        "/v1.0/subscribedSkus".to_owned(),
        "/v1.0/organization".to_owned(),
    ];
    for path in &paths {
        stage.emulator.clear_journal();
        let fault = Fault::status(429).retry_after("7").times(1);
        stage.emulator.set_fault(Endpoint::Graph, fault).unwrap();
        let limited = get(&stage, &token, path).await;
        refused(&limited, 429, "TooManyRequests");
        assert_eq!(limited.header("retry-after"), Some("7"));
        stage
            .emulator
            .set_fault(Endpoint::Graph, Fault::status(503).times(1))
            .unwrap();
        refused(&get(&stage, &token, path).await, 503, "serviceNotAvailable");
        let broken = serde_json::from_value(json!({"broken_json": true, "latency_ms": 1, "times": 1})).unwrap();
        stage.emulator.set_fault(Endpoint::Graph, broken).unwrap();
        let answer = get(&stage, &token, path).await;
        assert!(serde_json::from_slice::<Value>(&answer.body).is_err(), "{path}");
        assert_eq!(get(&stage, &token, path).await.status, 200);
        assert_eq!(stage.emulator.count(Endpoint::Graph), 4, "{path}");
    }
}
