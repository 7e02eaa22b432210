//! The administrators' steps: one missing at a time, and a Graph that refuses, limits, is slow or lies.

use azure_emulator::scenario::{CONTOSO, FABRIKAM, FABRIKAM_CALLERS};
use serde_json::{Value, json};

use super::{ACS_PRINCIPAL, Clinic, good_graph};
use crate::support::fake::{Gate, Reply};

/// A Graph that is good but for one path.
fn but(clinic: &Clinic, path: &str, change: impl FnOnce(&mut Value)) {
    let mut answer = good_graph()[path].clone();
    change(&mut answer);
    clinic.graph.on(path, Reply::json(&answer));
}

fn restore(clinic: &Clinic) {
    for (path, reply) in good_graph() {
        clinic.graph.on(&path, Reply::json(&reply));
    }
}

/// A path with what is missing there, the checks that find it, and who must act.
type Missing<'a> = (&'a str, &'a dyn Fn(&mut Value), &'a [&'a str], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_step_is_named() {
    let clinic = Clinic::open().await;
    let assigned = format!("/v1.0/servicePrincipals/{ACS_PRINCIPAL}/appRoleAssignedTo");
    let group = format!("/v1.0/groups/{FABRIKAM_CALLERS}");
    let empty = |answer: &mut Value| answer["value"] = json!([]);
    let cases: [Missing<'_>; 6] = [
        (
            "/v1.0/applications",
            &|answer| answer["value"][0]["signInAudience"] = json!("AzureADMyOrg"),
            &["graph.app_account_type"],
            "app_tenant_admin",
        ),
        (
            "/v1.0/applications",
            &|answer| answer["value"][0]["requiredResourceAccess"] = json!([]),
            &["graph.app_permissions"],
            "app_tenant_admin",
        ),
        (
            "/v1.0/oauth2PermissionGrants",
            &empty,
            &["graph.consent"],
            "user_tenant_admin",
        ),
        (&assigned, &empty, &["graph.group_assigned"], "user_tenant_admin"),
        ("/v1.0/subscribedSkus", &empty, &["graph.license"], "user_tenant_admin"),
        (
            "/v1.0/servicePrincipals",
            &|answer| {
                answer["value"].as_array_mut().unwrap().remove(0);
            },
            &["graph.acs_clients_principal", "graph.consent", "graph.group_assigned"],
            "user_tenant_admin",
        ),
    ];
    for (path, change, failed, who) in cases {
        but(&clinic, path, change);
        let report = clinic.report(&[]).await;
        report.failed(failed);
        // The fake is every tenant's Graph, so each of them is the home of the application.
        let who_acts = report.check(failed[failed.len() - 1])["who"].as_str().unwrap();
        assert!(
            who_acts == who || who_acts == "app_tenant_admin",
            "{failed:?}: {who_acts}"
        );
        restore(&clinic);
    }
    clinic.graph.on(&group, Reply::status(404));
    let report = clinic.report(&[]).await;
    report.failed(&["graph.group_exists"]);
    assert_eq!(
        report.check("graph.group_exists")["subject"],
        FABRIKAM_CALLERS.to_string()
    );
    restore(&clinic);
    but(&clinic, &format!("{group}/members"), |answer| {
        answer["value"] = json!([{"@odata.type": "#microsoft.graph.group"}]);
    });
    assert_eq!(clinic.report(&[]).await.check("graph.group_assigned")["status"], "warn");
    restore(&clinic);
    but(&clinic, "/v1.0/oauth2PermissionGrants", |answer| {
        answer["value"][0]["consentType"] = json!("Principal");
    });
    but(&clinic, "/v1.0/applications", |answer| {
        answer["value"][0]["spa"] = json!(null);
    });
    let report = clinic.report(&[]).await;
    report.failed(&[]);
    assert_eq!(report.with("warn"), ["graph.app_redirect_uris", "graph.consent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_missing_at_once() {
    let clinic = Clinic::open().await;
    for path in good_graph().keys() {
        clinic.graph.on(path, Reply::json(&json!({"value": []})));
    }
    clinic
        .graph
        .on(&format!("/v1.0/groups/{FABRIKAM_CALLERS}"), Reply::status(404));
    clinic.emulator.set_assignments([]);
    let report = clinic.report(&[]).await;
    report.failed(&[
        "acs.assignments",
        "graph.acs_clients_principal",
        "graph.consent",
        "graph.group_exists",
        "graph.group_assigned",
        "graph.license",
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_refuses_limits_or_lies_decides_nothing() {
    let clinic = Clinic::open().await;
    let paths: Vec<String> = good_graph().into_keys().collect();
    let all = |reply: &Reply| {
        for path in &paths {
            clinic.graph.on(path, reply.clone());
        }
    };
    let denied = json!({"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges to complete the operation."}});
    all(&Reply::json(&denied).but_status(403));
    let report = clinic.report(&[]).await;
    report.failed(&[]);
    for (id, permission) in [
        ("graph.acs_clients_principal", "Application.Read.All"),
        ("graph.group_exists", "Directory.Read.All"),
        ("graph.license", "LicenseAssignment.Read.All"),
    ] {
        let check = report.check(id);
        assert_eq!(check["status"], "skip", "{check}");
        assert!(check["summary"].as_str().unwrap().contains(permission), "{check}");
    }
    all(&Reply::json(&json!({"error": {"code": "InvalidAuthenticationToken", "message": "m"}})).but_status(401));
    clinic.report(&[]).await.failed(&["graph.token"]);
    for reply in [
        Reply::status(429).header("retry-after", "30"),
        Reply::status(200)
            .header("content-type", "text/html")
            .body("<html>sign in</html>"),
        Reply::json(&json!({"value": "none"})),
        Reply::json(&json!({"value": [], "@odata.nextLink": "https://evil.example/next"})),
        Reply::status(500),
    ] {
        all(&reply);
        let report = clinic.report(&[]).await;
        report.failed(&[]);
        assert_eq!(
            report.check("graph.acs_clients_principal")["status"],
            "warn",
            "{:#}",
            report.json
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_does_not_answer_is_not_waited_for_long() {
    let clinic = Clinic::open().await;
    let gate = Gate::closed();
    let answer = Reply::json(&good_graph()["/v1.0/subscribedSkus"]).behind(&gate);
    clinic.graph.on("/v1.0/subscribedSkus", answer);
    let report = clinic.report(&[]).await;
    report.failed(&[]);
    assert_eq!(report.with("warn"), ["graph.license"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_token_is_of_one_tenant() {
    use crate::support::forge::b64;
    let clinic = Clinic::open().await;
    let token = |claims: Value| format!("{}.{}.{}", b64(r#"{"alg":"RS256"}"#), b64(claims.to_string()), b64("s"));
    let file = clinic.write("graph-token", &token(json!({"tid": FABRIKAM.to_string()})));
    let report = clinic.report(&["--graph-token-file", &file]).await;
    report.failed(&[]);
    let of = |id: &str, tenant: uuid::Uuid| {
        let check = report
            .checks()
            .iter()
            .find(|check| check["id"] == id && check["subject"] == tenant.to_string());
        check.unwrap()["status"].clone()
    };
    assert_eq!(
        (of("graph.token", FABRIKAM), of("graph.token", CONTOSO)),
        (json!("pass"), json!("skip"))
    );
    assert_eq!(of("graph.acs_clients_principal", CONTOSO), "skip");
    let sent = clinic.graph.calls();
    assert!(
        sent.iter()
            .all(|call| call.headers["authorization"].to_str().unwrap().contains("Bearer "))
    );
    // The application's home need not be listed.
    let home = "11111111-0000-4000-8000-00000000000c";
    let file = clinic.write("graph-token", &token(json!({"tid": home})));
    let report = clinic.report(&["--graph-token-file", &file]).await;
    assert_eq!(report.check("graph.app_permissions")["subject"], home);
    let file = clinic.write("graph-token", "no-token");
    assert_eq!(clinic.run(&["--graph-token-file", &file]).await.code, Some(2));
    // The pages of a list are followed.
    let mut first = good_graph()["/v1.0/oauth2PermissionGrants"].clone();
    let grants = first["value"].take();
    first["value"] = json!([]);
    first["@odata.nextLink"] = json!(format!("{}/v1.0/next", clinic.graph.origin()));
    clinic.graph.on("/v1.0/oauth2PermissionGrants", Reply::json(&first));
    clinic.graph.on("/v1.0/next", Reply::json(&json!({ "value": grants })));
    let report = clinic.report(&[]).await;
    report.failed(&[]);
    assert_eq!(report.check("graph.consent")["status"], "pass");
}
