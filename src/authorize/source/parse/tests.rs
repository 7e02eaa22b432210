//! Assignment files as operators write them and as ACS returns them.

use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::authorize::assignment::PrincipalType;
use base::clock::{Clock, SystemClock};
use config::IdentityScope;

const TENANT: &str = "10000000-0000-4000-8000-00000000000a";
const USER: &str = "20000000-0000-4000-8000-00000000000b";
const CLIENT: &str = "30000000-0000-4000-8000-00000000000c";

/// An assignment in JSON, good unless `changes` replace or (with an empty value) leave out a member.
fn entry(changes: &[(&str, &str)]) -> String {
    let good = [
        ("objectId", format!("\"{USER}\"")),
        ("tenantId", format!("\"{TENANT}\"")),
        ("principalType", "\"user\"".to_owned()),
        ("clientIds", format!("[\"{CLIENT}\"]")),
    ];
    let kept = good
        .into_iter()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    let replaced = changes.iter().filter(|(_, value)| !value.is_empty());
    let members = kept.chain(replaced.map(|(name, value)| (*name, (*value).to_owned())));
    let members: Vec<_> = members.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn json_problems(text: &str) -> Vec<String> {
    lines(parse(Format::Json, text))
}

fn lines(outcome: Result<Vec<Assignment>, Vec<AssignmentProblem>>) -> Vec<String> {
    outcome.unwrap_err().iter().map(ToString::to_string).collect()
}

fn good() -> Assignment {
    Assignment {
        object_id: USER.parse().unwrap(),
        tenant_id: TENANT.parse().unwrap(),
        principal_type: PrincipalType::User,
        client_ids: vec![CLIENT.parse().unwrap()],
        allowed_scopes: None,
    }
}

#[test]
fn formats_are_known_by_name() {
    assert_eq!(
        Format::from_path(Path::new("/etc/broker/assignments.toml")),
        Ok(Format::Toml)
    );
    assert_eq!(Format::from_path(Path::new("a.b.json")), Ok(Format::Json));
    for path in ["assignments", "assignments.yaml", ".toml", "toml", "a.toml.bak", ""] {
        assert_eq!(Format::from_path(Path::new(path)), Err(UnknownFormat), "{path}");
    }
}

#[test]
fn the_three_forms_hold_the_same() {
    let toml = format!(
        "[[assignments]]\nobjectId = '{USER}'\ntenantId = \"{}\"\nprincipalType = 'user'\nclientIds = ['{CLIENT}']",
        TENANT.to_uppercase()
    );
    assert_eq!(parse(Format::Toml, &toml), Ok(vec![good()]));
    let own = format!("{{\"assignments\":[{}]}}", entry(&[]));
    assert_eq!(parse(Format::Json, &own), Ok(vec![good()]));
    let acs = format!(
        "{{\"value\":[{}],\"nextLink\":null,\"total\":1}}",
        entry(&[("etag", "{\"a\":[1.5,true]}")])
    );
    assert_eq!(parse(Format::Json, &acs), Ok(vec![good()]));
    assert_eq!(parse(Format::Json, &format!("\u{feff}{own}")), Ok(vec![good()]));
    assert_eq!(parse(Format::Toml, &format!("\u{feff}{toml}")), Ok(vec![good()]));
}

#[test]
fn empty_sets() {
    for (format, text) in [
        (Format::Toml, ""),
        (Format::Toml, "# nobody yet\n"),
        (Format::Toml, "assignments = []"),
        (Format::Json, "{\"assignments\":[]}"),
        (Format::Json, "{\"value\":[]}"),
    ] {
        assert_eq!(parse(format, text), Ok(Vec::new()), "{text}");
    }
}

#[test]
fn groups_and_tenants() {
    let tenant = entry(&[
        ("objectId", &format!("\"{}\"", TENANT.to_uppercase())),
        ("principalType", "\"tenant\""),
    ]);
    let group = entry(&[
        ("principalType", "\"group\""),
        ("clientIds", &format!("[\"{CLIENT}\",\"{USER}\"]")),
    ]);
    let read = parse(Format::Json, &format!("{{\"assignments\":[{tenant},{group}]}}")).unwrap();
    assert_eq!(read[0].principal_type, PrincipalType::Tenant);
    assert_eq!(
        (read[1].principal_type, read[1].client_ids.len()),
        (PrincipalType::Group, 2)
    );
}

#[test]
fn one_broken_member() {
    for (changes, wanted) in [
        (&[("objectId", "")][..], "objectId: is missing"),
        (&[("tenantId", "")], "tenantId: is missing"),
        (&[("principalType", "")], "principalType: is missing"),
        (&[("clientIds", "")], "clientIds: is missing"),
        (
            &[("clientIds", "[]")],
            "clientIds: must list at least one client application",
        ),
        (&[("clientIds", "\"x\"")], "clientIds: is a string, not a list"),
        (&[("clientIds", "[\"x\"]")], "clientIds[0]: is not a GUID"),
        (&[("clientIds", "[7]")], "clientIds[0]: is a number, not a string"),
        (&[("objectId", "\"alice\"")], "objectId: is not a GUID"),
        (&[("objectId", "null")], "objectId: is null, not a string"),
        (
            &[("tenantId", "\"10000000000040008000000000000000\"")],
            "tenantId: is not a GUID",
        ),
        (
            &[("principalType", "\"User\"")],
            "principalType: must be \"user\", \"group\" or \"tenant\"",
        ),
        (
            &[("principalType", "\"application\"")],
            "principalType: must be \"user\", \"group\" or \"tenant\"",
        ),
        (
            &[("principalType", "\"tenant\"")],
            "objectId: must be the tenantId, since the assignment is for the tenant",
        ),
        (
            &[("tenantId", "\"x\""), ("tenantId", "\"y\"")],
            "tenantId: stands there twice",
        ),
    ] {
        for list in ["assignments", "value"] {
            let problems = json_problems(&format!("{{\"{list}\":[{}]}}", entry(changes)));
            assert_eq!(problems[0], format!("{list}[0].{wanted}"), "{problems:?}");
        }
    }
}

#[test]
fn invisible_characters_are_named() {
    for (member, text, named) in [
        (
            "objectId",
            format!("{USER}\u{a0}"),
            "assignments[0].objectId: is not a GUID; it holds U+00A0 NO-BREAK SPACE",
        ),
        (
            "tenantId",
            format!("{TENANT}\r"),
            "assignments[0].tenantId: is not a GUID; it holds U+000D CARRIAGE RETURN",
        ),
        (
            "principalType",
            "user\u{200b}".to_owned(),
            "it holds U+200B ZERO WIDTH SPACE",
        ),
    ] {
        let entry = entry(&[(member, &serde_json::to_string(&text).unwrap())]);
        let problems = first_problem(Format::Json, &format!("{{\"assignments\":[{entry}]}}"));
        assert!(problems.contains(named), "{problems}");
    }
    let ids = format!("[\"{CLIENT}\",\"\u{feff}{CLIENT}\"]");
    let problems = first_problem(
        Format::Json,
        &format!("{{\"assignments\":[{}]}}", entry(&[("clientIds", &ids)])),
    );
    assert!(
        problems.starts_with("assignments[0].clientIds[1]: is not a GUID; it holds U+FEFF"),
        "{problems}"
    );
    let problems = first_problem(Format::Toml, "[[assignments]]\nobjectId\u{a0}= 'x'\n");
    assert!(
        problems.starts_with("line 2: ") && problems.contains("U+00A0 NO-BREAK SPACE"),
        "{problems}"
    );
}

fn first_problem(format: Format, text: &str) -> String {
    parse(format, text).unwrap_err()[0].to_string()
}

#[test]
fn files_written_for_the_broker_are_strict() {
    for (member, wanted) in [
        (
            ("allowedScopes", "[]"),
            "assignments[0].allowedScopes: must list at least one scope; left out, it allows all",
        ),
        (
            ("allowedScopes", "\"chat\""),
            "assignments[0].allowedScopes: is a string, not a list",
        ),
        (
            ("allowedScopes", "null"),
            "assignments[0].allowedScopes: is null, not a list",
        ),
        (
            ("allowedScopes", "[\"chat\",\"Voip\"]"),
            "assignments[0].allowedScopes[1]: is not a scope of ACS identities; there are \"chat\"",
        ),
        (
            ("allowedScopes", "[7]"),
            "assignments[0].allowedScopes[0]: is a number, not a string",
        ),
        (("objectid", "\"x\""), "assignments[0].objectid: unknown key"),
        (("a\\nb", "1"), "assignments[0].\"a\\nb\": unknown key"),
    ] {
        let problems = json_problems(&format!("{{\"assignments\":[{}]}}", entry(&[member])));
        assert!(problems.len() == 1 && problems[0].starts_with(wanted), "{problems:?}");
        assert!(parse(Format::Json, &format!("{{\"value\":[{}]}}", entry(&[member]))).is_ok());
    }
    assert_eq!(
        json_problems("{\"assignments\":[],\"nextLink\":null}"),
        ["nextLink: unknown key"]
    );
    assert_eq!(
        lines(parse(Format::Toml, "value = []\n[[assignment]]")),
        ["assignment: unknown key", "value: unknown key"]
    );
}

#[test]
fn allowed_scopes_are_the_brokers_own() {
    let scoped = entry(&[("allowedScopes", "[\"voip.join\",\"chat\",\"chat\"]")]);
    let read = parse(Format::Json, &format!("{{\"assignments\":[{scoped}]}}")).unwrap();
    let names: Vec<_> = read[0]
        .allowed_scopes
        .unwrap()
        .iter()
        .map(IdentityScope::name)
        .collect();
    assert_eq!(names, ["chat", "voip.join"]);
    // In a list of ACS's it is a foreign member.
    let read = parse(Format::Json, &format!("{{\"value\":[{scoped}]}}")).unwrap();
    assert_eq!(read, [good()]);
    let toml = format!(
        "[[assignments]]\nobjectId = '{USER}'\ntenantId = '{TENANT}'\nprincipalType = 'user'\nclientIds = ['{CLIENT}']\n\
         allowedScopes = ['chat.join.limited']\n"
    );
    let read = parse(Format::Toml, &toml).unwrap();
    assert!(read[0].allowed_scopes.unwrap().contains(IdentityScope::ChatJoinLimited));
    // The name of the schema is for editors, in JSON alone.
    let with_schema = format!(
        "{{\"$schema\":\"./assignments.schema.json\",\"assignments\":[{}]}}",
        entry(&[])
    );
    assert_eq!(parse(Format::Json, &with_schema), Ok(vec![good()]));
    assert_eq!(
        lines(parse(Format::Toml, "\"$schema\" = 'x'")),
        ["\"$schema\": unknown key"]
    );
}

#[test]
fn whole_files_that_hold_no_list() {
    for (text, wanted) in [
        ("{}", "file: has neither \"assignments\" nor \"value\""),
        (
            "{\"assignments\":[],\"value\":[]}",
            "file: has both \"assignments\" and \"value\"",
        ),
        ("[]", "file: is a list, not an object with \"assignments\" or \"value\""),
        ("null", "file: is null, not an object with \"assignments\" or \"value\""),
        ("{\"assignments\":{}}", "assignments: is an object, not a list"),
        ("{\"value\":null}", "value: is null, not a list"),
        ("{\"value\":[],\"value\":[]}", "value: stands there twice"),
        ("{\"assignments\":[3]}", "assignments[0]: is a number, not an object"),
        (
            "{\"value\":[],\"nextLink\":\"https://x\"}",
            "nextLink: the list is incomplete: there are further pages",
        ),
        (
            "{\"value\":[],\"nextLink\":null,\"nextLink\":\"\"}",
            "nextLink: stands there twice",
        ),
        ("{\n\"value\":[,]}", "line 2: expected value"),
        ("", "line 1: EOF while parsing a value"),
        ("{\"value\":[]} x", "line 1: trailing characters"),
    ] {
        assert_eq!(json_problems(text), [wanted], "{text}");
    }
    let syntax = lines(parse(Format::Toml, "[[assignments]]\nobjectId = \n"));
    assert!(syntax.len() == 1 && syntax[0].starts_with("line 2: "), "{syntax:?}");
    assert_eq!(
        lines(parse(Format::Toml, "[assignments]")),
        ["assignments: is an object, not a list"]
    );
    let dates = lines(parse(Format::Toml, "assignments = [1979-05-27]"));
    assert_eq!(dates, ["assignments[0]: is a date or time, not an object"]);
}

#[test]
fn every_problem_is_reported_at_once() {
    let list = [
        entry(&[]),
        entry(&[("objectId", "\"x\""), ("clientIds", "[]")]),
        "7".to_owned(),
        // The same ids in another case, and a problem of its own.
        entry(&[
            ("objectId", &format!("\"{}\"", USER.to_uppercase())),
            ("principalType", "\"\""),
        ]),
        entry(&[]),
    ];
    let problems = json_problems(&format!("{{\"assignments\":[{}],\"x\":1}}", list.join(",")));
    assert_eq!(
        problems,
        [
            "x: unknown key",
            "assignments[1].objectId: is not a GUID",
            "assignments[1].clientIds: must list at least one client application",
            "assignments[2]: is a number, not an object",
            "assignments[3].principalType: must be \"user\", \"group\" or \"tenant\"",
            "assignments[3]: has the objectId and tenantId of assignments[0]",
            "assignments[4]: has the objectId and tenantId of assignments[0]",
        ]
    );
}

#[test]
fn the_same_object_id_in_two_tenants_is_no_duplicate() {
    let list = [entry(&[]), entry(&[("tenantId", &format!("\"{CLIENT}\""))])].join(",");
    assert_eq!(
        parse(Format::Json, &format!("{{\"assignments\":[{list}]}}"))
            .unwrap()
            .len(),
        2
    );
}

/// A hundred thousand assignments, in either format.
fn many() -> (String, String) {
    let (mut toml, mut json) = (String::new(), "{\"value\":[".to_owned());
    for index in 0..100_000 {
        let user = format!("20000000-0000-4000-8000-{index:012x}");
        write!(
            toml,
            "[[assignments]]\nobjectId = \"{user}\"\ntenantId = \"{TENANT}\"\n"
        )
        .unwrap();
        writeln!(toml, "principalType = \"user\"\nclientIds = [\"{CLIENT}\"]\n").unwrap();
        json.push_str(if index == 0 { "" } else { "," });
        json.push_str(&entry(&[("objectId", &format!("\"{user}\""))]));
    }
    json.push_str("]}");
    (toml, json)
}

#[test]
fn many_assignments_are_read_in_time() {
    let (toml, json) = many();
    for (format, text) in [(Format::Toml, toml), (Format::Json, json)] {
        let clock = SystemClock::new();
        assert_eq!(parse(format, &text).unwrap().len(), 100_000);
        let taken = clock.monotonic();
        println!("{format:?}: {taken:?}");
        // Without optimization, on a busy machine. What is caught here is a step per pair of assignments.
        assert!(taken < Duration::from_secs(30), "{format:?}: {taken:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), shape in "[\\[\\]{}\",:=.\\n a-z0-9\\\\-]{0,200}") {
        for text in [&text, &shape] {
            let _ = (parse(Format::Toml, text), parse(Format::Json, text));
        }
        let _ = parse(Format::Json, &format!("{{\"assignments\":[{{{shape}}}]}}"));
        let _ = parse(Format::Toml, &format!("[[assignments]]\n{shape}"));
    }
}
