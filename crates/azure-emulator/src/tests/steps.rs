//! What a missing step of an administrator looks like: in the sign-in, at the token endpoint, at ACS, in the controls.

use serde_json::{Value, json};

use super::support::{Answer, Stage, changed, entra_error, stage};
use crate::Step;
use crate::scenario::{CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_APP, FABRIKAM};

const VOIP: &str = "https://communication.azure.com/clients/VoIP";
const DEFAULT: &str = "https://communication.azure.com/clients/.default";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The password grant for a user of Fabrikam.
async fn password(stage: &Stage, user: &str, scope: &str) -> Answer {
    let (client, login) = (CONTOSO_APP.to_string(), format!("{user}@fabrikam.com"));
    let fields = [
        ("grant_type", "password"),
        ("client_id", client.as_str()),
        ("scope", scope),
        ("username", login.as_str()),
        ("password", "Emulated-Pa55"),
    ];
    stage.ask("fabrikam.com", &fields).await
}

async fn on_behalf(stage: &Stage, user: &str) -> Answer {
    let (client, incoming) = (CONTOSO_API.to_string(), stage.token(user, json!({"audience": "api"})));
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("client_id", client.as_str()),
        ("client_secret", CONTOSO_API_SECRET),
        ("assertion", incoming.as_str()),
        ("requested_token_use", "on_behalf_of"),
        ("scope", DEFAULT),
    ];
    stage.ask("fabrikam.com", &fields).await
}

/// The authorization request of a page, sent with what its form says.
async fn authorize(stage: &Stage, changes: &[(&str, &str)]) -> Answer {
    let client = CONTOSO_APP.to_string();
    let fields = [
        ("client_id", client.as_str()),
        ("response_type", "code"),
        ("redirect_uri", "http://localhost:3000/auth"),
        ("scope", VOIP),
        ("code_challenge", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"),
        ("code_challenge_method", "S256"),
    ];
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(changed(&fields, changes));
    let path = format!("/{FABRIKAM}/oauth2/v2.0/authorize");
    stage.send("POST", &path, &[FORM], &form.finish()).await
}

fn sent_back(answer: &Answer) -> String {
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.header("location").unwrap().to_owned()
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

async fn step(stage: &Stage, method: &str, step: Step) {
    let answer = stage
        .send(method, &format!("/_emulator/steps/{}", step.name()), &[], "")
        .await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn steps_are_done_and_undone_while_it_runs() {
    let stage = stage().await;
    for &one in Step::ALL {
        assert!(stage.emulator.is_step_done(one), "{one:?}");
        step(&stage, "DELETE", one).await;
        let listed = stage.get("/_emulator/steps").await.json();
        let undone: Vec<&Value> = listed
            .as_array()
            .unwrap()
            .iter()
            .filter(|found| found["done"] == false)
            .collect();
        assert_eq!(undone.len(), 1, "{listed}");
        assert_eq!(undone[0]["step"], one.name());
        step(&stage, "PUT", one).await;
        assert!(stage.emulator.is_step_done(one), "{one:?}");
        assert_eq!(password(&stage, "adele", VOIP).await.status, 200);
        assert_eq!(stage.exchange(&stage.token("adele", json!({}))).await.status, 200);
    }
    let unknown = stage.send("PUT", "/_emulator/steps/other", &[], "").await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (404, &json!("StepNotFound"))
    );
}

#[tokio::test]
async fn without_the_principal_there_is_no_token() {
    let stage = stage().await;
    stage.emulator.set_step(Step::AcsClientsPrincipal, false);
    for answer in [password(&stage, "adele", VOIP).await, on_behalf(&stage, "adele").await] {
        assert_eq!(entra_error(&answer), (400, "invalid_client".to_owned(), 650_052));
        let text = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(text.contains(&format!("your organization '{FABRIKAM}' lacks a service principal for")));
    }
    let location = sent_back(&authorize(&stage, &[("_user", "adele")]).await);
    assert!(
        location.contains("error=invalid_client") && location.contains("AADSTS650052"),
        "{location}"
    );
    // The broker's own API is another one.
    let own = format!("api://{CONTOSO_API}/access");
    assert_eq!(password(&stage, "adele", &own).await.status, 200);
}

#[tokio::test]
async fn without_consent_the_sign_in_asks_for_it() {
    let stage = stage().await;
    stage.emulator.set_step(Step::Consent, false);
    for answer in [password(&stage, "adele", VOIP).await, on_behalf(&stage, "adele").await] {
        assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 65001));
        assert_eq!(answer.json()["suberror"], "consent_required");
    }
    let silent = authorize(&stage, &[("prompt", "none"), ("login_hint", "adele")]).await;
    assert!(sent_back(&silent).contains("error=consent_required"));
    let page = authorize(&stage, &[("_user", "adele")]).await;
    assert_eq!(page.status, 200);
    assert!(text(&page).contains("Permissions requested"));
    // A user consents for themselves alone.
    let given = authorize(&stage, &[("_user", "adele"), ("_consent", "given")]).await;
    assert!(sent_back(&given).contains("code="));
    assert_eq!(password(&stage, "adele", VOIP).await.status, 200);
    assert_eq!(password(&stage, "adele", DEFAULT).await.status, 200);
    assert_eq!(entra_error(&password(&stage, "alex", VOIP).await).2, 65001);
    assert!(!stage.emulator.is_step_done(Step::Consent));
    let patti = stage.token("patti", json!({"audience": "graph"}));
    let grants = stage
        .send_as(&patti, "GET", "/v1.0/oauth2PermissionGrants", "")
        .await
        .json();
    let of_adele: Vec<&Value> = grants["value"].as_array().unwrap().iter().collect();
    assert_eq!(of_adele.len(), 1, "{grants}");
    assert_eq!(
        (&of_adele[0]["consentType"], &of_adele[0]["scope"]),
        (&json!("Principal"), &json!("VoIP"))
    );
    // Contoso's own consent holds, and so do the broker's roles at Graph.
    let diego = stage.token("diego", json!({}));
    assert_eq!(stage.exchange(&diego).await.status, 200);
}

#[tokio::test]
async fn a_group_that_is_not_assigned_is_blocked() {
    let stage = stage().await;
    stage.emulator.set_step(Step::GroupAssignment, false);
    for answer in [password(&stage, "adele", VOIP).await, on_behalf(&stage, "adele").await] {
        assert_eq!(entra_error(&answer), (400, "invalid_grant".to_owned(), 50105));
    }
    let silent = authorize(&stage, &[("prompt", "none"), ("login_hint", "adele")]).await;
    let silent = sent_back(&silent);
    assert!(
        silent.contains("error=interaction_required") && silent.contains("AADSTS50105"),
        "{silent}"
    );
    let page = authorize(&stage, &[("_user", "adele")]).await;
    assert!(text(&page).contains("AADSTS50105"));
    // A user who is assigned themselves is not.
    assert_eq!(password(&stage, "alex", VOIP).await.status, 200);
    // With a token all the same, ACS does not learn of the group.
    let refused = stage.exchange(&stage.token("adele", json!({}))).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["innererror"]["code"]),
        (403, &json!("NoAssignment"))
    );
    assert_eq!(stage.exchange(&stage.token("alex", json!({}))).await.status, 200);

    // Where assignment is not required, there is a token, which ACS refuses.
    let patti = stage.token("patti", json!({"audience": "graph"}));
    let path = "/v1.0/servicePrincipals(appId='2a04943b-b6a7-4f65-8786-2bb6131b59f6')";
    let body = r#"{"appRoleAssignmentRequired":false}"#;
    assert_eq!(stage.send_as(&patti, "PATCH", path, body).await.status, 204);
    let answer = password(&stage, "adele", VOIP).await;
    assert_eq!(answer.status, 200);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(stage.exchange(&token).await.status, 403);
}

#[tokio::test]
async fn without_the_assignment_acs_refuses() {
    let stage = stage().await;
    stage.emulator.set_step(Step::AcsAssignment, false);
    assert_eq!(password(&stage, "adele", VOIP).await.status, 200);
    for (user, status) in [("adele", 403), ("alex", 403), ("diego", 200)] {
        assert_eq!(
            stage.exchange(&stage.token(user, json!({}))).await.status,
            status,
            "{user}"
        );
    }
    assert_eq!(stage.emulator.scenario().assignments.len(), 3, "the broker's own stay");
}

#[tokio::test]
async fn permissions_that_are_not_listed_cannot_be_consented_to() {
    let stage = stage().await;
    stage.emulator.set_step(Step::Permissions, false);
    assert_eq!(
        password(&stage, "adele", DEFAULT).await.status,
        200,
        "a consent outlives the list"
    );
    stage.emulator.set_step(Step::Consent, false);
    let answer = password(&stage, "adele", DEFAULT).await;
    assert_eq!(entra_error(&answer), (400, "invalid_client".to_owned(), 650_057));
    let consent = format!("/{FABRIKAM}/adminconsent?client_id={CONTOSO_APP}");
    assert_eq!(
        stage.send("POST", &consent, &[FORM], "_consent=given").await.status,
        200
    );
    assert!(!stage.emulator.is_step_done(Step::Consent), "nothing of ACS was listed");
}

#[tokio::test]
async fn the_consent_url_works() {
    let stage = stage().await;
    stage.emulator.set_step(Step::Consent, false);
    for app in [CONTOSO_APP, CONTOSO_API] {
        let path = format!("/{FABRIKAM}/adminconsent?client_id={app}");
        let page = stage.get(&path).await;
        assert_eq!(page.status, 200);
        for part in [
            "Azure Communication Services Clients",
            "VoIP",
            "Patti Fernandez",
            "Accept",
        ] {
            assert!(text(&page).contains(part), "{part}");
        }
        assert!(!stage.emulator.is_step_done(Step::Consent) || app == CONTOSO_API);
        let form = format!("client_id={app}&_consent=given");
        let path = "/fabrikam.com/adminconsent";
        let done = stage.send("POST", path, &[FORM], &form).await;
        assert!(done.status == 200 && text(&done).contains("The permissions are granted"));
    }
    assert!(stage.emulator.is_step_done(Step::Consent));
    assert_eq!(password(&stage, "adele", VOIP).await.status, 200);
    assert_eq!(on_behalf(&stage, "adele").await.status, 200);

    // With an address to go to, and to a page that declines.
    let path =
        format!("/{FABRIKAM}/adminconsent?client_id={CONTOSO_APP}&redirect_uri=http://localhost:3000/done&state=s");
    let location = sent_back(&stage.send("POST", &path, &[FORM], "_consent=given").await);
    assert_eq!(
        location,
        format!("http://localhost:3000/done?admin_consent=True&tenant={FABRIKAM}&state=s")
    );
    let location = sent_back(&stage.send("POST", &path, &[FORM], "_cancel=yes").await);
    assert!(location.contains("error=access_denied"));

    for (path, code) in [
        (format!("/{FABRIKAM}/adminconsent"), "AADSTS900144"),
        (format!("/{FABRIKAM}/adminconsent?client_id=x"), "AADSTS700016"),
        (format!("/nobody/adminconsent?client_id={CONTOSO_APP}"), "AADSTS90002"),
        (format!("/common/adminconsent?client_id={CONTOSO_APP}"), "AADSTS50059"),
        (
            format!("/{FABRIKAM}/adminconsent?client_id={CONTOSO_APP}&redirect_uri=https://evil.example/"),
            "AADSTS50011",
        ),
    ] {
        let answer = stage.get(&path).await;
        assert!(answer.status == 400 && text(&answer).contains(code), "{path}");
    }
    stage.emulator.set_step(Step::AcsClientsPrincipal, false);
    let answer = stage
        .get(&format!("/{FABRIKAM}/adminconsent?client_id={CONTOSO_APP}"))
        .await;
    assert!(answer.status == 400 && text(&answer).contains("AADSTS650052"));
}
