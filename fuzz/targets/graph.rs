//! An answer of Microsoft Graph. Nobody becomes a member of a group that was not asked for, or that the answer does not list.
#![no_main]

use acs_token_broker_fuzz::{answer, holds_no_token};
use azure::graph::read_answer;
use base::ids::ObjectId;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((response, body)) = answer(data, &[200, 400, 401, 403, 404, 429, 500, 503]) else {
        return;
    };
    let (status, is_json) = (response.status, response.is_json());
    let asked: Vec<ObjectId> = (1..4)
        .map(|number| {
            format!("{number:08x}-0000-4000-8000-000000000000")
                .parse()
                .expect("a GUID")
        })
        .collect();
    match read_answer(response, &asked, Timestamp::UNIX_EPOCH) {
        Ok(members) => {
            assert!(status == 200 && is_json);
            // The broker does not look into texts that it does not want.
            let Ok(body) = serde_json::from_slice::<Value>(body) else {
                return;
            };
            let listed: Vec<&str> = body["value"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            for member in members {
                let is_member = |listed: &&str| listed.eq_ignore_ascii_case(&member.to_string());
                assert!(asked.contains(&member) && listed.iter().any(is_member));
            }
        }
        Err(error) => holds_no_token(&error.to_string()),
    }
});
