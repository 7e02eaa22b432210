use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    members: 256,
    elements: 1024,
};

fn outcome(text: &[u8]) -> Result<(), JsonFault> {
    read_object(text, LIMITS).map(drop)
}

#[test]
fn only_one_object_without_duplicates_is_accepted() {
    use JsonFault::{DuplicateMember, NotAnObject, Syntax};
    for (text, fault) in [
        (r"", Syntax),
        (r"{", Syntax),
        (r"{} {}", Syntax),
        ("{\"a\":\"\u{1}\"}", Syntax),
        (r#"{"a":1e999}"#, Syntax),
        (r#"{"a":"\ud800"}"#, Syntax),
        (r#"{"\ud800":1}"#, Syntax),
        (r#"{"a":01}"#, Syntax),
        (r#"{"a":1,}"#, Syntax),
        (r"[]", NotAnObject),
        (r#""text""#, NotAnObject),
        (r"null", NotAnObject),
        (r#"{"a":1,"a":1}"#, DuplicateMember),
        (r#"{"a":1,"\u0061":2}"#, DuplicateMember),
        (r#"{"\u0061":1,"a":2}"#, DuplicateMember),
        (r#"{"a":{"b":1,"b":2}}"#, DuplicateMember),
        (r#"{"a":[{"b":1,"b":2}]}"#, DuplicateMember),
        (r#"{"a":{"b":1,"c":{"d":1}},"a":1}"#, DuplicateMember),
    ] {
        assert_eq!(outcome(text.as_bytes()), Err(fault), "{text}");
    }
    for text in [
        r"{}",
        // A name is an object's own: others may have it too, within it and beside it.
        r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}],"c":{"b":1}}"#,
        r#"{"a":"\ud83d\ude00","b":-0.5e-3,"c":18446744073709551615}"#,
    ] {
        assert_eq!(outcome(text.as_bytes()), Ok(()), "{text}");
    }
    assert_eq!(outcome(b"{\"a\":\"\xff\"}"), Err(Syntax));
    assert_eq!(outcome(b"{\"\xff\":1}"), Err(Syntax));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(outcome(deep.as_bytes()), Err(Syntax));
}

/// Of any number of names, wherever in the object the second of two equal ones stands.
#[test]
fn a_name_is_found_again_among_few_and_among_many() {
    for count in [2, FEW - 1, FEW, FEW + 1, FEW + 2, 3 * FEW] {
        let mut text = String::from("{");
        for number in 0..count {
            write!(text, "\"n{number}\":{{\"n0\":1,\"x\":[]}},").unwrap();
        }
        assert_eq!(outcome(format!("{text}\"n\":1}}").as_bytes()), Ok(()), "{count}");
        for again in [0, count / 2, count - 1] {
            let twice = format!("{text}\"n{again}\":1}}");
            assert_eq!(
                outcome(twice.as_bytes()),
                Err(JsonFault::DuplicateMember),
                "{again} of {count}"
            );
        }
    }
}

#[test]
fn members_and_elements_are_bounded_whatever_they_are_of() {
    let member = |n: usize| format!("\"n{n}\":1,");
    let escaped_member = |n: usize| format!("\"\\u0041{n}\":1,");
    let members = |count: usize| (0..count).map(member).collect::<Vec<_>>().concat();
    let objects = |count: usize| "{\"a\":1},".repeat(count);
    let numbers = |count: usize| "1,".repeat(count);
    let empty = |count: usize| "{},".repeat(count);
    let escaped = |count: usize| (0..count).map(escaped_member).collect::<Vec<_>>().concat();
    for (text, outcome_of) in [
        (format!("{{{}\"x\":1}}", members(255)), Ok(())),
        (format!("{{{}\"x\":1}}", members(256)), Err(JsonFault::TooMany)),
        (format!("{{\"x\":[{}1]}}", objects(255)), Ok(())),
        (format!("{{\"x\":[{}1]}}", objects(256)), Err(JsonFault::TooMany)),
        (format!("{{\"x\":[{}1]}}", empty(255)), Ok(())),
        (format!("{{\"x\":[{}1]}}", empty(256)), Err(JsonFault::TooMany)),
        (format!("{{{}\"\\u0042\":1}}", escaped(31)), Ok(())),
        (format!("{{{}\"\\u0042\":1}}", escaped(32)), Err(JsonFault::TooMany)),
        (format!("{{\"x\":[{}1]}}", numbers(1023)), Ok(())),
        (format!("{{\"x\":[{}1]}}", numbers(1024)), Err(JsonFault::TooMany)),
        (
            format!("{{\"x\":[{}1],\"y\":[{}1]}}", numbers(600), numbers(600)),
            Err(JsonFault::TooMany),
        ),
    ] {
        assert_eq!(outcome(text.as_bytes()), outcome_of, "{}", text.len());
    }
}

#[test]
fn a_value_is_read_as_it_stands() {
    let text = |text: &'static str| Node::Text(text.into());
    for (json, node) in [
        ("null", Node::Null),
        ("true", Node::Bool(true)),
        ("-7", Node::Integer(-7)),
        ("1.5", Node::Float(1.5)),
        ("18446744073709551615", Node::Float(18_446_744_073_709_551_615.0)),
        (r#""plain""#, text("plain")),
        (r#""esc\u0061ped""#, text("escaped")),
        (
            r#"["a","\u0062",1,[2]]"#,
            Node::List(vec![
                text("a"),
                text("b"),
                Node::Integer(1),
                Node::List(vec![Node::Integer(2)]),
            ]),
        ),
        ("{}", Node::Object(vec![])),
    ] {
        let object = format!(r#"{{"name":{json}}}"#);
        let members = read_object(object.as_bytes(), LIMITS).unwrap();
        assert_eq!(members, [("name".into(), node)], "{json}");
    }
}

proptest! {
    #[test]
    fn agrees_with_serde_json_where_names_are_unique(names in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..40)) {
        let text = serde_json::to_vec(&names).unwrap();
        prop_assert_eq!(outcome(&text), Ok(()));
    }

    #[test]
    fn takes_no_text_that_serde_json_does_not(text in "[{}\\[\\]:,\"a1 \\\\-]{0,40}") {
        let taken = outcome(text.as_bytes());
        let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
        match taken {
            Ok(()) => prop_assert!(parsed.is_ok()),
            Err(JsonFault::Syntax | JsonFault::NotAnObject) => prop_assert!(parsed.is_err()),
            Err(JsonFault::DuplicateMember | JsonFault::TooMany) => {}
        }
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = outcome(&bytes);
    }
}
