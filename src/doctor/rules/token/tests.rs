//! Each gate as it passes and as it fails.

use base::secret::BearerToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::load::{Environment, load};
use serde_json::{Value, json};

use super::*;
use crate::authenticate::Malformed;
use base::ids::TenantId;

const TENANT: &str = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11";
const ISSUER: &str = "https://login.example/8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11/v2.0";
const NOW: i64 = 1_800_000_000;

fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    let text = format!(
        "entra.tenants = [{{ id = \"{TENANT}\" }}]\nassignments.file = \"assignments.toml\"\n\
         exchange.endpoint = \"https://contoso.communication.azure.com\"\n"
    );
    std::fs::write(&file, text).unwrap();
    load(Some(&file), &Environment::default()).unwrap().config
}

fn claims() -> Value {
    json!({"tid": TENANT, "iss": ISSUER, "aud": "2a04943b-b6a7-4f65-8786-2bb6131b59f6", "exp": NOW + 3600, "nbf": NOW - 60,
        "iat": NOW - 60, "oid": "33333333-0000-4000-8000-000000000001", "azp": "22222222-0000-4000-8000-000000000001",
        "scp": "VoIP openid"})
}

fn read(header: &Value, payload: &Value) -> Option<Claims> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    Claims::read(&BearerToken::new(format!("{}.{}.c2ln", part(header), part(payload))))
}

struct Case {
    header: Value,
    payload: Value,
    seen: Seen,
    resource: Option<String>,
    covered: Covered,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            header: json!({"alg": "RS256", "kid": "k"}),
            payload: claims(),
            seen: Seen::Accepted,
            resource: Some("the resource".to_owned()),
            covered: Covered::By("the user's own assignment".to_owned()),
        }
    }
}

impl Case {
    fn gates(self) -> Vec<Check> {
        gates(&TokenLook {
            config: &config(),
            seen: self.seen,
            claims: read(&self.header, &self.payload),
            issuers: Some(vec![ISSUER.into()]),
            resource: self.resource,
            covered: self.covered,
            now: Timestamp::from_second(NOW).unwrap(),
        })
    }

    fn failed(self) -> Vec<&'static str> {
        let checks = self.gates();
        let failed = checks.iter().filter(|check| check.status == Status::Fail);
        failed
            .map(|check| {
                assert!(check.fix.is_some(), "{check:?}");
                check.id.name()
            })
            .collect()
    }
}

fn with(change: &Value) -> Case {
    let mut payload = claims();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            payload.as_object_mut().unwrap().remove(name);
        } else {
            payload[name] = value.clone();
        }
    }
    Case {
        payload,
        ..Case::default()
    }
}

#[test]
fn a_good_token_passes_every_gate() {
    let checks = Case::default().gates();
    assert!(checks.iter().all(|check| check.status == Status::Pass), "{checks:#?}");
    assert_eq!(checks.len(), 13);
}

#[test]
fn each_claim_has_its_gate() {
    for (change, gate) in [
        (json!({"iss": "https://evil.example"}), "token.issuer"),
        (json!({"iss": null}), "token.issuer"),
        (
            json!({"aud": "00000003-0000-0000-c000-000000000000", "scp": "VoIP"}),
            "token.audience",
        ),
        (json!({"exp": NOW - 61}), "token.lifetime"),
        (json!({"exp": null}), "token.lifetime"),
        (json!({"nbf": NOW + 61}), "token.lifetime"),
        (json!({"iat": NOW + 61}), "token.lifetime"),
        (json!({"idtyp": "app"}), "token.delegated"),
        (json!({"cnf": {}}), "token.delegated"),
        (json!({"oid": null}), "token.delegated"),
        (json!({"azp": null}), "token.client_app"),
        (json!({"scp": "Other"}), "token.scopes"),
    ] {
        let failed = with(&change).failed();
        assert!(failed.contains(&gate), "{change}: {failed:?}");
        // A token for another API has no scope of ACS's either.
        assert!(failed.len() == 1 || gate == "token.audience", "{change}: {failed:?}");
    }
}

#[test]
fn all_that_fail_are_reported_with_what_is_compared() {
    let case = with(&json!({"iss": "x", "aud": "y", "exp": 1, "scp": "z", "azp": null, "oid": null}));
    let case = Case {
        resource: None,
        covered: Covered::Not(Denied::NoAssignment),
        ..case
    };
    let checks = case.gates();
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .map(|check| check.id.name())
        .collect();
    assert_eq!(
        failed,
        [
            "token.issuer",
            "token.audience",
            "token.lifetime",
            "token.delegated",
            "token.client_app",
            "token.scopes",
            "token.route",
            "token.assignment"
        ]
    );
    let audience = checks.iter().find(|check| check.id == CheckId::TokenAudience).unwrap();
    assert!(
        audience.summary.contains("`y`") && audience.summary.contains("2a04943b-b6a7-4f65-8786-2bb6131b59f6"),
        "{audience:?}"
    );
}

#[test]
fn after_a_gate_up_to_the_signature_the_rest_is_skipped() {
    let tenant: TenantId = TENANT.parse().unwrap();
    let kid = || Untrusted::new("k");
    for (seen, gate) in [
        (Rejection::Malformed(Malformed::Critical), "token.well_formed"),
        (
            Rejection::UnsupportedAlgorithm(Untrusted::new("none")),
            "token.algorithm",
        ),
        (Rejection::UnknownTenant(Untrusted::new("t")), "token.tenant"),
        (Rejection::NoKeyId, "token.key"),
        (Rejection::UnknownKey { tenant, kid: kid() }, "token.key"),
        (Rejection::InvalidSignature { tenant, kid: kid() }, "token.signature"),
    ] {
        let case = Case {
            seen: Seen::Refused(seen),
            ..with(&json!({"aud": "y"}))
        };
        let checks = case.gates();
        let failed: Vec<_> = checks.iter().filter(|check| check.status == Status::Fail).collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0].id.name(), gate);
        let later = checks.iter().skip_while(|check| check.status != Status::Fail).skip(1);
        assert!(
            later.map(|check| check.status).all(|status| status == Status::Skip),
            "{gate}"
        );
    }
    // Unreadable, and of another tenant, whatever the service was asked.
    let unreadable = Case {
        payload: json!([]),
        ..Case::default()
    };
    assert_eq!(unreadable.failed(), ["token.well_formed"]);
    assert_eq!(
        with(&json!({"tid": "11111111-0000-4000-8000-000000000001"})).failed(),
        ["token.tenant"]
    );
}

#[test]
fn what_the_service_refuses_never_passes() {
    let seen = Seen::Refused(Rejection::MissingClaim("iss"));
    let case = Case {
        seen,
        ..Case::default()
    };
    assert_eq!(case.failed(), ["token.issuer"]);
}

#[test]
fn offline_the_claims_are_looked_at_all_the_same() {
    let case = Case {
        seen: Seen::KeyNotLookedFor,
        ..with(&json!({"aud": "y"}))
    };
    let checks = case.gates();
    let status = |id| checks.iter().find(|check| check.id == id).map(|check| check.status);
    assert_eq!(status(CheckId::TokenKey), Some(Status::Skip));
    assert_eq!(status(CheckId::TokenSignature), Some(Status::Skip));
    assert_eq!(status(CheckId::TokenAudience), Some(Status::Fail));
}
