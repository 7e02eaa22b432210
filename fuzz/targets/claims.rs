//! The claims of a token whose signature is good: a header in the first line, a payload behind it. Whoever becomes a caller
//! fulfils every rule, as another reader of the same JSON sees it.
#![no_main]

use acs_token_broker_fuzz::is_a_line;
use std::time::Duration;

use base::ids::TenantId;
use base::secret::BearerToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use broker::authenticate::fuzzing::Unverified;
use broker::authenticate::{Caller, Groups, Policy};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ISSUER: &str = "https://login.example/11111111-0000-4000-8000-000000000001/v2.0";
const AUDIENCE: &str = "api://broker";
const APP: &str = "22222222-0000-4000-8000-000000000002";
const SCOPES: [&str; 2] = ["access", "VoIP"];
const NOW: i64 = 1_800_000_000;
const SKEW: i64 = 300;

fuzz_target!(|text: &str| {
    let Some((header, payload)) = text.split_once('\n') else {
        return;
    };
    let [header, payload_part] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
    let token = BearerToken::new(format!("{header}.{payload_part}.c2lnbmF0dXJl"));
    let Ok(unverified) = Unverified::parse(&token) else {
        return;
    };
    let Ok(tenant) = unverified.tid().parse::<TenantId>() else {
        return;
    };
    let policy = Policy::new(
        &[AUDIENCE, APP].map(str::to_owned),
        &SCOPES.map(str::to_owned),
        Duration::from_secs(SKEW.unsigned_abs()),
    );
    let now = Timestamp::from_second(NOW).expect("a date");
    match unverified.trusted().check(tenant, &[ISSUER.into()], &policy, now) {
        Ok(caller) => fulfils_every_rule(&serde_json::from_str(payload).expect("JSON"), &caller),
        Err(rejection) => is_a_line(&rejection.to_string()),
    }
});

fn fulfils_every_rule(claims: &Value, caller: &Caller) {
    let text = |name: &str| claims[name].as_str();
    let is = |id: &dyn ToString, name: &str| text(name).is_some_and(|text| text.eq_ignore_ascii_case(&id.to_string()));
    assert!(is(&caller.tenant(), "tid") && is(&ISSUER, "iss") && is(&caller.object_id(), "oid"));
    let audiences = match &claims["aud"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    };
    assert!(
        audiences
            .iter()
            .any(|audience| *audience == AUDIENCE || audience.eq_ignore_ascii_case(APP))
    );
    let seconds = |name: &str| claims.get(name).map(|seconds| seconds.as_f64().expect("a number"));
    let expires = seconds("exp").expect("an end");
    assert!(expires.floor() > (NOW - SKEW) as f64);
    assert_eq!(caller.token_expires_on().as_second(), expires.floor() as i64);
    for begins in [seconds("nbf"), seconds("iat")].into_iter().flatten() {
        assert!(begins.floor() <= (NOW + SKEW) as f64);
    }
    let scopes: Vec<&str> = text("scp").expect("scopes").split(' ').collect();
    // `VoIP` is one of ACS's scopes, and means nothing at another API; `access` is the other way round.
    let required = if caller.addressee().is_acs() { "VoIP" } else { "access" };
    assert!(scopes.contains(&required) && caller.scopes().contains(required));
    assert!(caller.scopes().iter().all(|scope| scopes.contains(&scope)));
    assert!(claims.get("idtyp").is_none_or(|kind| kind == "user") && claims.get("cnf").is_none());
    let apps = ["azp", "appid"].into_iter().filter(|name| claims.get(name).is_some());
    let apps: Vec<&str> = apps.collect();
    assert!(!apps.is_empty() && apps.iter().all(|name| is(&caller.client_app(), name)));
    let groups = claims["groups"].as_array();
    let overage = claims["_claim_names"].get("groups").is_some() || claims["hasgroups"] == true;
    match caller.groups() {
        Groups::Known(_) => assert!(groups.is_some() && !overage),
        Groups::Unknown { .. } => assert!(groups.is_none() || overage),
    }
    for group in caller.groups().listed() {
        let group = group.to_string();
        let listed = groups.into_iter().flatten().filter_map(Value::as_str);
        assert!(listed.into_iter().any(|listed| listed.eq_ignore_ascii_case(&group)));
    }
}
