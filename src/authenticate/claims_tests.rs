use serde_json::{Value, json};

use super::*;
use crate::authenticate::rejection::Malformed;
use crate::authenticate::token::LIMITS;
use base::document::read_object;

const TENANT: &str = "11111111-0000-4000-8000-000000000001";
const USER: &str = "22222222-0000-4000-8000-000000000002";
const APP: &str = "33333333-0000-4000-8000-000000000003";
const GROUP: &str = "44444444-0000-4000-8000-000000000004";
const NOW: i64 = 1_800_000_000;

fn good() -> Value {
    json!({
        "tid": TENANT, "oid": USER, "azp": APP, "ver": "2.0", "scp": "VoIP VoIP.Join",
        "iss": "https://login.example/1/v2.0", "aud": "2a04943b-b6a7-4f65-8786-2bb6131b59f6",
        "exp": NOW + 3600, "nbf": NOW - 300, "iat": NOW - 300,
    })
}

fn outcome(changes: &Value) -> Result<Caller, Rejection> {
    outcome_where(&|_: TokenContext| true, changes)
}

fn outcome_where(acceptance: &dyn Acceptance, changes: &Value) -> Result<Caller, Rejection> {
    with_claims(changes, |claims, tenant, issuers, policy, now| {
        let outcome = check(claims, tenant, issuers, policy, acceptance, now);
        // A caller who was accepted before, in another way and while the token was good, is judged alike.
        let good = claims.exp.and_then(|exp| exp.checked_sub(Duration::from_secs(1)).ok());
        let before = good.map(|good| check(claims, tenant, issuers, policy, &|_: TokenContext| true, good));
        if let Some(Ok(caller)) = before {
            let kept = read(changes).unwrap().checked_again(&caller);
            assert_eq!(
                check_again(&kept, &caller, policy, acceptance, now),
                outcome,
                "{changes}"
            );
        }
        outcome
    })?
}

/// The good claims with `changes`, as a token has them.
fn read(changes: &Value) -> Result<SignedClaims, Rejection> {
    let mut payload = good().as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        if value == "(absent)" {
            payload.remove(name);
        } else {
            payload.insert(name.clone(), value.clone());
        }
    }
    let payload = Value::Object(payload).to_string();
    let members = read_object(payload.as_bytes(), LIMITS).unwrap();
    let claims = SignedClaims::from_members(members).checked();
    claims.map_err(Rejection::Malformed)
}

/// What `judge` makes of the good claims with `changes`.
fn with_claims<T>(
    changes: &Value,
    judge: impl FnOnce(&SignedClaims, TenantId, &[Box<str>], &Policy, Timestamp) -> T,
) -> Result<T, Rejection> {
    let policy = Policy::new(
        &[
            "2a04943b-b6a7-4f65-8786-2bb6131b59f6".to_owned(),
            "https://communication.azure.com/clients".to_owned(),
            "https://communication.azure.us/clients".to_owned(),
            "api://broker".to_owned(),
        ],
        &["VoIP".to_owned(), "VoIP.Join".to_owned(), "access".to_owned()],
        Duration::from_secs(60),
    );
    let issuers: [Box<str>; 2] = ["https://sts.example/1/".into(), "https://login.example/1/v2.0".into()];
    let claims = read(changes)?;
    let now = Timestamp::from_second(NOW).unwrap();
    Ok(judge(&claims, TENANT.parse().unwrap(), &issuers, &policy, now))
}

#[test]
fn what_is_accepted() {
    for changes in [
        json!({}),
        json!({"ver": "1.0", "iss": "https://sts.example/1/", "azp": "(absent)", "appid": APP,
               "aud": "https://communication.azure.com/clients"}),
        json!({"aud": "2A04943B-B6A7-4F65-8786-2BB6131B59F6"}),
        json!({"aud": ["2a04943b-b6a7-4f65-8786-2bb6131b59f6"]}),
        json!({"azp": APP.to_uppercase(), "appid": APP}),
        json!({"iss": "https://LOGIN.example/1/V2.0"}),
        json!({"idtyp": "user"}),
        json!({"nbf": "(absent)", "iat": "(absent)"}),
        // Within the skew, at both ends.
        json!({"exp": NOW - 59}),
        json!({"nbf": NOW + 60, "iat": NOW + 60}),
        json!({"exp": 1_800_000_100.75}),
        json!({"scp": "VoIP.Join"}),
    ] {
        assert!(outcome(&changes).is_ok(), "{changes}: {:?}", outcome(&changes));
    }
}

#[test]
fn what_is_refused_and_why() {
    let mistyped = |name| Rejection::Malformed(Malformed::Mistyped(name));
    let missing = Rejection::MissingClaim;
    let now = Timestamp::from_second(NOW).unwrap();
    let at = |offset| Timestamp::from_second(NOW + offset).unwrap();
    let cases: Vec<(Value, Rejection)> = vec![
        (json!({"iss": "(absent)"}), missing("iss")),
        (json!({"aud": "(absent)"}), missing("aud")),
        (json!({"exp": "(absent)"}), missing("exp")),
        (json!({"oid": "(absent)"}), missing("oid")),
        (json!({"azp": "(absent)"}), missing("azp")),
        (json!({"iss": 1}), mistyped("iss")),
        (json!({"aud": 1}), mistyped("aud")),
        (json!({"aud": ["a", 1]}), mistyped("aud")),
        (json!({"exp": "1800003600"}), mistyped("exp")),
        (
            json!({"exp": -1}),
            Rejection::Expired {
                expired_at: Timestamp::from_second(-1).unwrap(),
                now,
            },
        ),
        (json!({"exp": 1e300}), mistyped("exp")),
        (json!({"exp": u64::MAX}), mistyped("exp")),
        (json!({"nbf": null}), mistyped("nbf")),
        (json!({"iat": [1]}), mistyped("iat")),
        (json!({"oid": "alice"}), mistyped("oid")),
        (json!({"azp": true}), mistyped("azp")),
        (json!({"appid": "x"}), mistyped("appid")),
        (json!({"appid": USER}), Rejection::Malformed(Malformed::AmbiguousClient)),
        (json!({"scp": ["VoIP"]}), mistyped("scp")),
        (json!({"idtyp": 1}), mistyped("idtyp")),
        (json!({"groups": GROUP}), mistyped("groups")),
        (json!({"groups": [1]}), mistyped("groups")),
        (json!({"roles": "r"}), mistyped("roles")),
        (json!({"ver": 2}), mistyped("ver")),
        (json!({"_claim_names": "groups"}), mistyped("_claim_names")),
        (json!({"hasgroups": "true"}), mistyped("hasgroups")),
        (
            json!({"iss": "https://login.example/2/v2.0", "aud": "x", "exp": 1}),
            Rejection::InvalidIssuer {
                tenant: TENANT.parse().unwrap(),
                issuer: Untrusted::new("https://login.example/2/v2.0"),
            },
        ),
        (
            json!({"aud": "x", "exp": 1}),
            Rejection::InvalidAudience(Untrusted::new("x")),
        ),
        (json!({"aud": []}), Rejection::InvalidAudience(Untrusted::new(""))),
        (
            json!({"aud": "https://communication.azure.com/clients/"}),
            Rejection::InvalidAudience(Untrusted::new("https://communication.azure.com/clients/")),
        ),
        (
            json!({"exp": NOW - 60}),
            Rejection::Expired {
                expired_at: at(-60),
                now,
            },
        ),
        (
            json!({"exp": 1_799_999_000, "scp": ""}),
            Rejection::Expired {
                expired_at: at(-1000),
                now,
            },
        ),
        (
            json!({"nbf": NOW + 61}),
            Rejection::NotYetValid {
                claim: "nbf",
                valid_from: at(61),
                now,
            },
        ),
        (
            json!({"iat": NOW + 61}),
            Rejection::NotYetValid {
                claim: "iat",
                valid_from: at(61),
                now,
            },
        ),
        (
            json!({"scp": "(absent)", "oid": "(absent)"}),
            Rejection::NotDelegated(NotDelegated::NoScopes),
        ),
        (json!({"scp": " "}), Rejection::NotDelegated(NotDelegated::NoScopes)),
        (
            json!({"idtyp": "app"}),
            Rejection::NotDelegated(NotDelegated::IdentityType(Untrusted::new("app"))),
        ),
        (
            json!({"cnf": {"kid": "k"}}),
            Rejection::NotDelegated(NotDelegated::Bound),
        ),
        (
            json!({"scp": "voip"}),
            Rejection::InsufficientScope(Untrusted::new("voip")),
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(outcome(&changes), Err(expected), "{changes}");
    }
}

#[test]
fn groups_are_known_only_when_the_token_lists_them_all() {
    let listed = vec![GROUP.parse().unwrap()];
    for (changes, groups) in [
        (json!({}), Groups::Unknown { listed: vec![] }),
        (json!({"groups": []}), Groups::Known(vec![])),
        (
            json!({"groups": [GROUP, "CONTOSO\\Callers"]}),
            Groups::Known(listed.clone()),
        ),
        (
            json!({"groups": [GROUP], "_claim_names": {"groups": "src1"}}),
            Groups::Unknown { listed: listed.clone() },
        ),
        (
            json!({"groups": [GROUP], "hasgroups": true}),
            Groups::Unknown { listed: listed.clone() },
        ),
        (
            json!({"groups": [GROUP], "hasgroups": false}),
            Groups::Known(listed.clone()),
        ),
        (
            json!({"_claim_names": {"other": "src1"}}),
            Groups::Unknown { listed: vec![] },
        ),
    ] {
        assert_eq!(outcome(&changes).unwrap().groups(), &groups, "{changes}");
    }
}

#[test]
fn a_scope_counts_for_the_api_that_it_belongs_to() {
    for (audience, scope, counts) in [
        (json!("2a04943b-b6a7-4f65-8786-2bb6131b59f6"), "VoIP", true),
        (json!("2a04943b-b6a7-4f65-8786-2bb6131b59f6"), "access", false),
        (json!("api://broker"), "access", true),
        (json!("api://broker"), "VoIP", false),
        (json!("api://broker"), "VoIP access", true),
        (
            json!(["api://broker", "https://communication.azure.com/clients"]),
            "access",
            false,
        ),
        (
            json!(["api://broker", "https://communication.azure.com/clients"]),
            "VoIP",
            true,
        ),
    ] {
        let expected = if counts {
            Ok(())
        } else {
            Err(Rejection::InsufficientScope(Untrusted::new(scope)))
        };
        let outcome = outcome(&json!({"aud": audience, "scp": scope})).map(drop);
        assert_eq!(outcome, expected, "{audience} {scope}");
    }
}

#[test]
fn audiences_are_one_text_whichever_way_they_are_written() {
    let text = |aud: Value| outcome(&json!({ "aud": aud })).unwrap().audience().to_string();
    let (com, us) = (
        "https://communication.azure.com/clients",
        "https://communication.azure.us/clients",
    );
    let id = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
    assert_eq!(text(json!(com)), com);
    assert_eq!(text(json!([com, com])), com);
    assert_eq!(text(json!(id.to_uppercase())), id);
    assert_eq!(text(json!([us, com])), text(json!([com, us])));
    let all: std::collections::BTreeSet<String> = [
        json!(com),
        json!(us),
        json!(id),
        json!([com, us]),
        // Nobody here accepts it, ACS might.
        json!([com, "api://other"]),
        json!([com, "api://other", us]),
        json!([com, format!("api://other\", \"{us}")]),
        json!([com, ""]),
    ]
    .map(text)
    .into();
    assert_eq!(all.len(), 8, "{all:?}");
}

#[test]
fn a_token_that_is_not_wanted_is_one_for_another_audience() {
    let refused =
        |changes: Value| outcome_where(&|context: TokenContext| context.client_app.is_none(), &changes).map(drop);
    let audience = Err(Rejection::ForOtherPath(Untrusted::new(
        "2a04943b-b6a7-4f65-8786-2bb6131b59f6",
    )));
    // In its place: before the lifetime and all that follows, after the issuer.
    assert_eq!(refused(json!({})), audience);
    assert_eq!(refused(json!({"exp": 1, "scp": "", "oid": "(absent)"})), audience);
    assert!(matches!(
        refused(json!({"iss": "x"})),
        Err(Rejection::InvalidIssuer { .. })
    ));
    assert_eq!(refused(json!({"azp": "(absent)"})), Err(Rejection::MissingClaim("azp")));
}

#[test]
fn what_a_marker_says_beside_another_counts() {
    for (names, flag, overage) in [
        (json!({}), false, false),
        (json!({"groups": "src1"}), false, true),
        (json!({}), true, true),
        (json!({"groups": {"deep": [1]}}), true, true),
    ] {
        let groups = outcome(&json!({"groups": [GROUP], "_claim_names": names, "hasgroups": flag}))
            .unwrap()
            .groups()
            .clone();
        assert_eq!(matches!(groups, Groups::Unknown { .. }), overage, "{names} {flag}");
    }
    // Entra's own nested claims are passed over, whatever they hold.
    let nested = json!({"xms_cc": ["cp1"], "address": {"country": "DE", "x": [{"y": null}]}, "_claim_sources": {"src1": {"endpoint": "x"}}});
    assert!(outcome(&nested).is_ok());
}

#[test]
fn every_gate_that_fails_is_reported_and_agrees_with_the_check() {
    use crate::authenticate::gates::{GateStatus, id};
    let failing = |changes: &Value| -> Vec<&'static str> {
        let gates = with_claims(changes, |claims, tenant, issuers, policy, now| {
            gates::gates(claims, tenant, issuers, policy, &|_: TokenContext| true, now).gates
        });
        let gates = gates.unwrap();
        let ids: Vec<_> = gates.iter().map(|gate| gate.id).collect();
        assert_eq!(ids, &id::ALL[5..11]);
        let failing = gates.iter().filter(|gate| gate.status == GateStatus::Fail);
        failing.map(|gate| gate.id).collect()
    };
    for (changes, wanted) in [
        (json!({}), &[][..]),
        (json!({"iss": "https://evil.example"}), &[id::ISSUER]),
        (json!({"iss": "(absent)"}), &[id::ISSUER]),
        (json!({"aud": "api://other"}), &[id::AUDIENCE]),
        (json!({"aud": "(absent)"}), &[id::AUDIENCE]),
        (json!({"exp": NOW - 61}), &[id::LIFETIME]),
        (json!({"exp": "(absent)"}), &[id::LIFETIME]),
        (json!({"nbf": NOW + 61}), &[id::LIFETIME]),
        (json!({"scp": "(absent)"}), &[id::DELEGATED, id::SCOPES]),
        (json!({"idtyp": "app"}), &[id::DELEGATED]),
        (json!({"cnf": {}}), &[id::DELEGATED]),
        (json!({"oid": "(absent)"}), &[id::DELEGATED]),
        (json!({"azp": "(absent)"}), &[id::CLIENT_APP]),
        (json!({"scp": "Chat"}), &[id::SCOPES]),
        (
            json!({"iss": "x", "aud": "y", "exp": 1, "scp": "(absent)", "azp": "(absent)"}),
            &id::ALL[5..11],
        ),
    ] {
        assert_eq!(failing(&changes), wanted, "{changes}");
        assert_eq!(outcome(&changes).is_ok(), wanted.is_empty(), "{changes}");
    }
}

#[test]
fn gates_tell_what_is_compared_and_cut_what_comes_from_the_token() {
    let gates = |changes: &Value| {
        let judged = with_claims(changes, |claims, tenant, issuers, policy, now| {
            gates::gates(claims, tenant, issuers, policy, &|_: TokenContext| false, now)
        });
        judged.unwrap()
    };
    let long = format!("\u{1b}[31m{}", "a".repeat(5000));
    let judged = gates(&json!({"iss": long, "aud": ["2a04943b-b6a7-4f65-8786-2bb6131b59f6", long], "scp": long}));
    for gate in &judged.gates {
        assert!(gate.detail.len() < 600 && !gate.detail.contains('\u{1b}'), "{gate:?}");
    }
    assert!(
        judged.gates[0].detail.contains("https://sts.example/1/"),
        "{:?}",
        judged.gates[0]
    );
    assert!(
        judged.gates[1].detail.contains("not by the resource"),
        "{:?}",
        judged.gates[1]
    );
    assert!(
        judged.gates[5].detail.contains("VoIP VoIP.Join"),
        "{:?}",
        judged.gates[5]
    );
    assert!(judged.principal.is_some());
    assert!(gates(&json!({"oid": "(absent)"})).principal.is_none());
    assert!(gates(&json!({"azp": "(absent)"})).context.client_app.is_none());
}
