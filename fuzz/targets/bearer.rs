//! The Authorization header, a field a line: exactly what the grammar of RFC 6750 allows, once, gives a token.
#![no_main]

use acs_token_broker_fuzz::{fields, is_a_line};
use broker::api::fuzzing::bearer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let headers = fields("authorization", data);
    let mut values = headers.get_all("authorization").iter();
    let expected = match (values.next(), values.next()) {
        (Some(one), None) => one
            .to_str()
            .ok()
            .or_else(|| std::str::from_utf8(one.as_bytes()).ok())
            .and_then(expected),
        _ => None,
    };
    match bearer(&headers) {
        Ok(token) => assert_eq!(Some(token.expose()), expected),
        Err(error) => {
            assert_eq!(expected, None);
            is_a_line(&error.to_string());
            assert!(["AuthenticationRequired", "InvalidRequest"].contains(&error.response().code));
        }
    }
});

fn expected(value: &str) -> Option<&str> {
    let token = value.get(6..)?.strip_prefix(' ')?.trim_matches(' ');
    let is_one = !token.is_empty() && !token.contains([' ', '\t', ',']);
    (value.is_ascii() && value[..6].eq_ignore_ascii_case("bearer") && is_one).then_some(token)
}
