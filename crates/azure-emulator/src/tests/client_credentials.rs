use serde_json::json;

use super::support::{Pairs, changed, claims, entra_error, stage};
use crate::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET, CONTOSO_APP, FABRIKAM};

const GRAPH: &str = "https://graph.microsoft.com/.default";

#[tokio::test]
async fn an_app_gets_tokens_for_itself() {
    let stage = stage().await;
    let id = CONTOSO_API.to_string();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("client_secret", CONTOSO_API_SECRET),
        ("scope", GRAPH),
    ];
    let answer = stage.ask("fabrikam.com", &fields).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert!(body.get("scope").is_none(), "Entra returns no scope here");
    let graph = claims(body["access_token"].as_str().unwrap());
    assert_eq!(graph["aud"], "https://graph.microsoft.com");
    assert_eq!(graph["iss"], format!("{}/sts/{FABRIKAM}/", stage.emulator.origin()));
    assert_eq!((&graph["appid"], &graph["idtyp"]), (&json!(id), &json!("app")));
    assert_eq!(graph["roles"], json!(stage.emulator.scenario().api_app.graph_roles));
    assert_eq!(graph["roles"][0], "GroupMember.Read.All");
    assert_eq!(graph["tid"], FABRIKAM.to_string());
    assert!(graph.get("scp").is_none() && graph["oid"] == graph["sub"]);

    // The same app is another service principal elsewhere, and always the same one there.
    let contoso = stage.ask(&CONTOSO.to_string(), &fields).await.json();
    assert_ne!(claims(contoso["access_token"].as_str().unwrap())["oid"], graph["oid"]);
    let again = stage.ask("fabrikam.com", &fields).await.json();
    assert_eq!(claims(again["access_token"].as_str().unwrap())["oid"], graph["oid"]);

    for scope in [
        "https://communication.azure.com/.default",
        "https://communication.azure.com//.default",
    ] {
        let answer = stage
            .ask("contoso.com", &changed(&fields, &[("scope", scope)]))
            .await
            .json();
        let token = claims(answer["access_token"].as_str().unwrap());
        assert_eq!(token["aud"], "https://communication.azure.com");
        assert!(token.get("roles").is_none());
    }

    let app = CONTOSO_APP.to_string();
    let cases: [(Pairs<'_>, u16, &str, u64); 9] = [
        (
            &[("scope", "https://graph.microsoft.com/User.Read.All")],
            400,
            "invalid_scope",
            1_002_012,
        ),
        (
            &[(
                "scope",
                "https://graph.microsoft.com/.default https://graph.microsoft.com/User.Read",
            )],
            400,
            "invalid_scope",
            1_002_012,
        ),
        (
            &[("scope", "https://elsewhere.example/.default")],
            400,
            "invalid_resource",
            500_011,
        ),
        (&[("scope", "")], 400, "invalid_request", 900_144),
        (&[("client_secret", "")], 401, "invalid_client", 7_000_218),
        (&[("client_secret", "wrong")], 401, "invalid_client", 7_000_215),
        (
            &[("client_id", &app), ("client_secret", "")],
            401,
            "invalid_client",
            7_000_218,
        ),
        (&[("client_id", &app)], 401, "invalid_client", 700_025),
        (&[("client_id", "x")], 400, "unauthorized_client", 700_016),
    ];
    for (changes, status, error, code) in cases {
        let answer = stage.ask("fabrikam.com", &changed(&fields, changes)).await;
        assert_eq!(entra_error(&answer), (status, error.to_owned(), code), "{changes:?}");
    }

    // Without consent a token is issued all the same, and opens nothing.
    stage.emulator.set_consent("Fabrikam", false).unwrap();
    let answer = stage.ask("fabrikam.com", &fields).await.json();
    assert!(claims(answer["access_token"].as_str().unwrap()).get("roles").is_none());
}
