//! What error objects mean.

use serde_json::{Value, json};

use super::super::EntraError;
use super::{coded, error};

#[test]
fn each_code_has_one_meaning() {
    // As documented, with the `error` that Entra sends beside it; then for a user, and for the app itself.
    let table = [
        (
            "interaction_required",
            &[50076, 50079, 50158, 50072, 50074, 53004, 50078][..],
            "entra_claims_challenge",
        ),
        ("interaction_required", &[65001, 65004][..], "entra_consent_required"),
        (
            "invalid_grant",
            &[65001, 65004, 90094, 650_056],
            "entra_consent_required",
        ),
        (
            "invalid_client",
            &[650_052, 650_051, 500_011, 7_000_229],
            "entra_consent_required",
        ),
        ("invalid_resource", &[500_011], "entra_consent_required"),
        ("invalid_resource", &[500_014], "entra_user_forbidden"),
        (
            "unauthorized_client",
            &[7_000_112, 53005, 1_000_031],
            "entra_user_forbidden",
        ),
        // An app that is disabled is no fault of the credential.
        ("invalid_client", &[7_000_112, 500_014], "entra_user_forbidden"),
        ("unauthorized_client", &[700_016], "entra_consent_required"),
        (
            "invalid_grant",
            &[
                50005, 50014, 50020, 50034, 50053, 50057, 50105, 50131, 51004, 53000, 53001, 53002, 53003, 53005,
                53009, 53011, 54000, 90072, 130_007, 135_011, 500_212, 500_213, 500_341, 500_571, 530_002, 530_003,
                530_004, 530_021, 530_031, 530_032, 530_033, 530_034, 530_035, 530_084, 700_003, 1_000_104,
            ],
            "entra_user_forbidden",
        ),
        // Conditional access's codes that are not listed.
        (
            "invalid_grant",
            &[53007, 53099, 530_001, 530_999],
            "entra_user_forbidden",
        ),
        // Without claims, another sign-in would end the same way.
        (
            "interaction_required",
            &[
                50005, 50105, 50131, 53000, 53001, 53002, 53003, 53005, 53011, 530_021, 530_084, 90072, 50057,
            ],
            "entra_user_forbidden",
        ),
        // These ask the user to register for a second factor.
        ("invalid_grant", &[53004, 53010, 50072, 50079], "entra_claims_challenge"),
        ("interaction_required", &[50173], "entra_claims_challenge"),
        // An error of SAML's; `error` decides.
        ("invalid_grant", &[90020], "entra_token_rejected"),
        ("invalid_request", &[90020], "entra_broker_rejected"),
        (
            "invalid_grant",
            &[
                50013, 50027, 50173, 70008, 70043, 70044, 500_131, 500_133, 700_082, 123_456,
            ],
            "entra_token_rejected",
        ),
        // Whose assertion is malformed, only the error says.
        ("invalid_client", &[50027], "entra_broker_rejected"),
        ("invalid_request", &[50027], "entra_broker_rejected"),
        (
            "invalid_client",
            &[
                7_000_215, 7_000_222, 7_000_218, 700_027, 700_024, 700_023, 70021, 700_211, 700_212, 700_213, 50012,
            ],
            "entra_broker_rejected",
        ),
        (
            "invalid_request",
            &[70021, 700_222, 90023, 900_144],
            "entra_broker_rejected",
        ),
        ("unauthorized_client", &[50194, 123_456], "entra_broker_rejected"),
        ("invalid_scope", &[70011], "entra_broker_rejected"),
        ("invalid_grant", &[50196], "entra_limited"),
        ("temporarily_unavailable", &[90033, 90006, 123_456], "entra_unavailable"),
        ("something_new", &[123_456], "entra_invalid_response"),
    ];
    for (name, codes, meaning) in table {
        for &code in codes {
            for status in [400, 401, 403] {
                let outcome = error(status, &coded(name, code));
                assert_eq!(outcome.name(), meaning, "{name} {code}");
                let alone = match meaning {
                    "entra_limited" | "entra_unavailable" | "entra_invalid_response" => meaning,
                    _ => "entra_broker_rejected",
                };
                assert_eq!(outcome.without_user().name(), alone, "{name} {code}");
            }
            // The description alone has the code too.
            let mut body = coded(name, code);
            body.as_object_mut().unwrap().remove("error_codes");
            assert_eq!(error(400, &body).name(), meaning, "{name} {code}");
        }
    }
    for (name, meaning) in [
        ("interaction_required", "entra_claims_challenge"),
        ("login_required", "entra_claims_challenge"),
        ("consent_required", "entra_consent_required"),
        ("access_denied", "entra_user_forbidden"),
        ("invalid_grant", "entra_token_rejected"),
        ("invalid_client", "entra_broker_rejected"),
        ("server_error", "entra_unavailable"),
    ] {
        assert_eq!(error(400, &json!({"error": name})).name(), meaning, "{name}");
    }
}

#[test]
fn the_finest_word_counts() {
    for (suberror, meaning) in [
        ("basic_action", "entra_claims_challenge"),
        ("additional_action", "entra_claims_challenge"),
        ("user_password_expired", "entra_claims_challenge"),
        ("device_authentication_failed", "entra_claims_challenge"),
        ("consent_required", "entra_consent_required"),
        ("message_only", "entra_user_forbidden"),
        ("protection_policy_required", "entra_user_forbidden"),
        ("bad_token", "entra_token_rejected"),
        ("token_expired", "entra_token_rejected"),
        ("client_mismatch", "entra_token_rejected"),
        // An unknown one says nothing.
        ("something_new", "entra_token_rejected"),
    ] {
        for code in [1, 70000] {
            let mut body = coded("invalid_grant", code);
            body["suberror"] = json!(suberror);
            assert_eq!(error(400, &body).name(), meaning, "{suberror} {code}");
        }
        // A listed code is finer than any.
        let mut body = coded("interaction_required", 50057);
        body["suberror"] = json!(suberror);
        assert_eq!(error(400, &body).name(), "entra_user_forbidden", "{suberror}");
    }
    let body = |error_name: &str, codes: Value, description: &str, suberror: Value| json!({"error": error_name, "error_codes": codes, "error_description": description, "suberror": suberror});
    for (body, meaning, code) in [
        // As it was seen: the generic code in the list, the fine one in the text alone.
        (
            body(
                "unauthorized_client",
                json!([70000]),
                "AADSTS53005: Application needs to enforce Intune",
                json!("protection_policy_required"),
            ),
            "entra_user_forbidden",
            53005,
        ),
        (
            body("invalid_grant", json!([70000]), "AADSTS50057: disabled", Value::Null),
            "entra_user_forbidden",
            50057,
        ),
        (
            body(
                "invalid_grant",
                json!([70000]),
                "AADSTS70000: AADSTS50076: mfa",
                Value::Null,
            ),
            "entra_claims_challenge",
            50076,
        ),
        // Older answers put a generic code around the fine one.
        (
            body(
                "invalid_grant",
                json!([70002, 50013]),
                "AADSTS70002: Error validating credentials. AADSTS50013: no",
                Value::Null,
            ),
            "entra_token_rejected",
            50013,
        ),
        (
            body("invalid_client", json!([70002]), "AADSTS70002: secret", Value::Null),
            "entra_broker_rejected",
            70002,
        ),
        (
            body("invalid_grant", json!([70000]), "AADSTS70000: no", Value::Null),
            "entra_token_rejected",
            70000,
        ),
        (
            body("invalid_grant", json!([70000, 987_654]), "no code", Value::Null),
            "entra_token_rejected",
            70000,
        ),
        // Types that are not as documented.
        (
            body("invalid_grant", json!(["53003"]), "", Value::Null),
            "entra_user_forbidden",
            53003,
        ),
        (
            body("invalid_grant", Value::Null, "AADSTS53003: no", json!(5)),
            "entra_user_forbidden",
            53003,
        ),
        (
            body("invalid_grant", json!(53003), "AADSTS53003", json!([])),
            "entra_user_forbidden",
            53003,
        ),
        (
            json!({"error": "invalid_grant", "error_description": null, "error_codes": [53003]}),
            "entra_user_forbidden",
            53003,
        ),
    ] {
        let outcome = error(400, &body);
        assert_eq!(outcome.name(), meaning, "{body}");
        assert!(outcome.to_string().contains(&format!("AADSTS{code} ")), "{outcome}");
    }
}

#[test]
fn an_administrator_is_shown_what_to_do() {
    for (body, shown) in [
        (
            coded("invalid_grant", 53000),
            "; DeviceNotCompliant; to do: the user takes a device",
        ),
        (
            coded("invalid_grant", 50105),
            "assigns the user to the broker's enterprise application",
        ),
        (coded("invalid_client", 7_000_222), "to do: write a valid client secret"),
        (coded("invalid_client", 700_211), "compare issuer, subject and audience"),
        (
            coded("invalid_grant", 530_999),
            "; to do: an administrator of the user's tenant finds the policy",
        ),
        (
            coded("invalid_grant", 65001),
            "; DelegationDoesNotExist; to do: an administrator of the user's tenant consents",
        ),
        (json!({"error": "invalid_grant"}), "to do: the user signs in again"),
    ] {
        let outcome = error(400, &body).to_string();
        assert!(outcome.contains(shown), "{outcome}");
    }
    let unavailable = error(400, &coded("temporarily_unavailable", 90033)).to_string();
    assert!(unavailable.contains("MsodsServiceUnavailable"), "{unavailable}");
}

#[test]
fn claims_are_passed_on_if_they_are_a_claims_request() {
    let good = r#"{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}"#;
    let long = json!({"access_token": "x".repeat(5000)}).to_string();
    for (claims, passed) in [
        (good, Some(good)),
        ("{}", None),
        ("[]", None),
        ("{", None),
        ("\"text\"", None),
        (&long, None),
    ] {
        for (name, code, without) in [
            ("interaction_required", 50076, "entra_claims_challenge"),
            ("invalid_grant", 53003, "entra_user_forbidden"),
            ("invalid_client", 1, "entra_broker_rejected"),
        ] {
            let mut body = coded(name, code);
            body["claims"] = json!(claims);
            match (error(400, &body), passed) {
                (EntraError::ClaimsChallenge { claims: outcome, .. }, Some(_)) => {
                    assert_eq!(outcome.as_deref(), passed);
                }
                // What could not be passed on asks for nothing.
                (outcome, None) => assert_eq!(outcome.name(), without, "{body}"),
                (outcome, Some(_)) => panic!("{body}: {outcome}"),
            }
        }
    }
    for none in [json!(""), json!(null), json!({"a": 1})] {
        let mut body = coded("invalid_grant", 50013);
        body["claims"] = none;
        assert_eq!(error(400, &body).name(), "entra_token_rejected");
    }
}
