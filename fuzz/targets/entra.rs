//! An answer of Entra's token endpoint. What is taken from it is what it says, and no message tells what the broker sent.
#![no_main]

use acs_token_broker_fuzz::{SECRET, answer, is_a_line};
use azure::entra::{EntraError, read_answer};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// What was sent for the user.
const ASSERTION: &str = "assertion3";

fuzz_target!(|data: &[u8]| {
    let Some((response, body)) = answer(data, &[400, 200, 401, 403, 429, 500, 302]) else {
        return;
    };
    let status = response.status;
    let now = Timestamp::UNIX_EPOCH;
    match read_answer(response, &[SECRET, ASSERTION], now) {
        Ok(grant) => {
            assert_eq!(status, 200);
            // The broker does not look into texts that it does not want.
            let Ok(body) = serde_json::from_slice::<Value>(body) else {
                return;
            };
            assert_eq!(body["access_token"], grant.access_token.expose());
            assert_eq!(body["scope"].as_str(), grant.scope.as_deref());
            assert!(
                body["token_type"]
                    .as_str()
                    .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
            );
            assert!(grant.expires_on > now);
        }
        Err(error) => {
            let message = error.to_string();
            is_a_line(&message);
            assert!(!message.contains(SECRET) && !message.contains(ASSERTION), "{message}");
            if let EntraError::ClaimsChallenge {
                claims: Some(claims), ..
            } = &error
            {
                assert!(serde_json::from_str::<Value>(claims).is_ok_and(|claims| claims.is_object()));
            }
        }
    }
});
