//! Answers of ACS: a token, or a list of assignments whose pages stand one a line. What is taken from them is what they say, and
//! no page leads the broker away from its endpoint.
#![no_main]

use std::collections::HashSet;

use acs_token_broker_fuzz::{holds_no_token, response};
use azure::acs::{Granted, read_access_token, read_grant};
use azure::acs_assignments::{PrincipalType, read_pages};
use azure::azure_error::read_error;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use url::Url;

const ENDPOINT: &str = "https://contoso.communication.azure.com/access/entra/assignments?api-version=1";

fuzz_target!(|data: &[u8]| {
    let Some((&kind, body)) = data.split_first() else {
        return;
    };
    let answer = response(200, kind, body);
    for (granted, is_whole) in [
        (read_grant(&answer), true),
        (read_access_token(&answer, "8:acs:1"), false),
    ] {
        match granted {
            Ok(granted) => is_what_it_says(&granted, body, is_whole),
            Err(failure) => holds_no_token(&failure.describe("ACS", "this resource")),
        }
    }
    if let Some(error) = read_error(&answer) {
        holds_no_token(&error.to_string());
    }
    let first = Url::parse(ENDPOINT).expect("a URL");
    let pages = body.split(|byte| *byte == b'\n').map(|page| response(200, kind, page));
    match read_pages(first.clone(), pages.collect()) {
        Ok((assignments, addresses)) => {
            let mut seen = HashSet::new();
            for assignment in assignments {
                assert!(seen.insert((assignment.tenant_id, assignment.object_id)) && !assignment.client_ids.is_empty());
                let is_tenant = assignment.object_id == assignment.tenant_id.as_object_id();
                assert!(is_tenant || assignment.principal_type != PrincipalType::Tenant);
            }
            let mut asked = HashSet::new();
            for address in addresses {
                assert_eq!(address.origin(), first.origin());
                assert!(address.username().is_empty() && address.password().is_none());
                assert!(asked.insert(address), "a page that was read before");
            }
        }
        Err(error) => holds_no_token(&error.to_string()),
    }
});

fn is_what_it_says(granted: &Granted, body: &[u8], is_whole: bool) {
    // The broker does not look into texts that it does not want.
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let token = if is_whole { &body["accessToken"] } else { &body };
    assert!(!granted.token.expose().is_empty() && !granted.identity_id.is_empty());
    assert_eq!(token["token"], granted.token.expose());
    assert_eq!(token["expiresOn"], *granted.expires_on_text);
    assert_eq!(
        granted.expires_on_text.parse::<Timestamp>().ok(),
        Some(granted.expires_on)
    );
    assert!(!is_whole || body["identity"]["id"] == *granted.identity_id);
}
