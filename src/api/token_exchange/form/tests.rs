use std::sync::Arc;

use proptest::prelude::*;
use url::Url;

use super::*;
use base::ids::Scopes;

fn targets() -> Vec<Target> {
    let url = |text| Url::parse(text).unwrap();
    vec![
        Target::new(url("https://contoso.communication.azure.com"), None),
        Target::new(
            url("https://northwind.unitedstates.communication.azure.com"),
            Some("north"),
        ),
    ]
}

fn prefixes() -> Vec<String> {
    ["https://communication.azure.com/clients/", "api://broker/"]
        .map(str::to_owned)
        .into()
}

fn read(changes: &[(&str, &str)]) -> Result<ExchangeRequest, (&'static str, &'static str)> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    let good = [
        ("grant_type", GRANT_TYPE),
        ("subject_token", "a.b.c"),
        ("subject_token_type", ACCESS_TOKEN_TYPE),
    ];
    for (name, value) in good {
        if !changes.iter().any(|(changed, _)| *changed == name) {
            form.append_pair(name, value);
        }
    }
    for (name, value) in changes.iter().filter(|(_, value)| *value != "(absent)") {
        form.append_pair(name, value);
    }
    ExchangeRequest::parse(form.finish().as_bytes(), &targets(), &prefixes()).map_err(|error| {
        let response = error.response();
        (response.oauth, response.code)
    })
}

#[test]
fn accepted_forms() {
    for changes in [
        &[][..],
        &[("requested_token_type", ACCESS_TOKEN_TYPE)],
        &[("resource", "https://contoso.communication.azure.com")],
        &[("resource", "https://contoso.communication.azure.com/")],
        &[
            ("resource", "https://contoso.communication.azure.com"),
            ("resource", "https://contoso.communication.azure.com"),
        ],
        &[("audience", "contoso")],
        &[
            ("audience", "Contoso"),
            ("resource", "https://contoso.communication.azure.com"),
        ],
        &[("audience", "https://contoso.communication.azure.com")],
        &[("resource", "")],
        &[("actor_token", "")],
        &[("client_id", "whatever")],
    ] {
        assert!(read(changes).is_ok(), "{changes:?}");
    }
    let scoped = read(&[("scope", "https://communication.azure.com/clients/VoIP.Join VoIP")]).unwrap();
    assert_eq!(scoped.requested.scope, Some(Scopes::parse("VoIP VoIP.Join")));
    let scoped = read(&[("scope", "api://broker/access")]).unwrap();
    assert_eq!(scoped.requested.scope, Some(Scopes::parse("access")));
    for (name, value, named) in [
        ("audience", "contoso", None),
        ("audience", "north", Some("north")),
        ("audience", "northwind", Some("north")),
        (
            "resource",
            "https://northwind.unitedstates.communication.azure.com/",
            Some("north"),
        ),
    ] {
        let resources = read(&[(name, value)]).unwrap().requested.resources;
        assert_eq!(resources, Some(vec![named.map(Arc::from)]), "{value}");
    }
    assert_eq!(read(&[]).unwrap().requested.resources, None);
}

#[test]
fn refused_forms() {
    let invalid = ("invalid_request", "InvalidRequest");
    for (changes, expected) in [
        (&[("grant_type", "(absent)")][..], invalid),
        (&[("grant_type", "")], invalid),
        (
            &[("grant_type", "client_credentials")],
            ("unsupported_grant_type", "InvalidRequest"),
        ),
        (&[("subject_token", "(absent)")], invalid),
        (&[("subject_token_type", "(absent)")], invalid),
        (
            &[("subject_token_type", "urn:ietf:params:oauth:token-type:jwt")],
            invalid,
        ),
        (
            &[("requested_token_type", "urn:ietf:params:oauth:token-type:id_token")],
            invalid,
        ),
        (&[("actor_token", "a.b.c")], invalid),
        (&[("actor_token_type", ACCESS_TOKEN_TYPE)], invalid),
        (&[("scope", "VoIP"), ("scope", "VoIP")], invalid),
        (&[("subject_token", "a"), ("subject_token", "b")], invalid),
        (&[("x", "1"), ("x", "1")], invalid),
        (&[("x", ""), ("x", "")], invalid),
        (
            &[("resource", "https://fabrikam.communication.azure.com")],
            ("invalid_target", "InvalidRequest"),
        ),
        (
            &[("resource", "http://contoso.communication.azure.com")],
            ("invalid_target", "InvalidRequest"),
        ),
        (&[("resource", "contoso")], ("invalid_target", "InvalidRequest")),
        (
            &[("audience", "contoso.communication.azure.com")],
            ("invalid_target", "InvalidRequest"),
        ),
        (&[("audience", "fabrikam")], ("invalid_target", "InvalidRequest")),
        (
            &[("audience", "contoso"), ("audience", "north")],
            ("invalid_target", "InvalidRequest"),
        ),
        (
            &[
                ("resource", "https://contoso.communication.azure.com"),
                ("resource", "https://other.example"),
            ],
            ("invalid_target", "InvalidRequest"),
        ),
    ] {
        assert_eq!(read(changes).map(|_| ()), Err(expected), "{changes:?}");
    }
}

#[test]
fn a_form_has_sixteen_parameters_at_most() {
    let named = |count: usize| (0..count).map(|n| (format!("n{n}"), "1")).collect::<Vec<_>>();
    for (more, accepted) in [(0, true), (13, true), (14, false), (20_000, false)] {
        let more = named(more);
        let changes: Vec<(&str, &str)> = more.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let outcome = read(&changes).map(|_| ());
        let expected = if accepted {
            Ok(())
        } else {
            Err(("invalid_request", "InvalidRequest"))
        };
        assert_eq!(outcome, expected, "{}", changes.len());
    }
    // What stands between two `&` and is nothing is no parameter.
    let form = format!(
        "&&&grant_type={GRANT_TYPE}{}&subject_token=a&subject_token_type={ACCESS_TOKEN_TYPE}&",
        "&".repeat(50)
    );
    assert!(ExchangeRequest::parse(form.as_bytes(), &targets(), &prefixes()).is_ok());
}

#[test]
fn percent_encoded_content_is_bounded() {
    let with = |value: &str| {
        let form = format!("grant_type={GRANT_TYPE}&subject_token={value}&subject_token_type={ACCESS_TOKEN_TYPE}");
        ExchangeRequest::parse(form.as_bytes(), &targets(), &prefixes()).map(drop)
    };
    assert!(with(&"a".repeat(60_000)).is_ok());
    assert!(with(&format!("{}%2E", "a".repeat(4_000))).is_ok());
    let outcome = with(&"%41".repeat(1_400));
    assert!(matches!(
        outcome,
        Err(ApiError::InvalidRequest("Too much of the form is percent-encoded."))
    ));
    let names: Vec<String> = (0..12).map(|n| format!("&{}{n}=1", "%41".repeat(500))).collect();
    let names = names.concat();
    assert!(with(&format!("a{names}")).is_err());
}

#[test]
fn what_is_not_ascii_is_bounded() {
    let with = |value: &[u8]| {
        let mut form = format!("subject_token_type={ACCESS_TOKEN_TYPE}&subject_token=a.b.c&grant_type=").into_bytes();
        form.extend_from_slice(value);
        match ExchangeRequest::parse(&form, &targets(), &prefixes()) {
            Err(ApiError::InvalidRequest(reason)) => reason,
            outcome => panic!("{outcome:?}"),
        }
    };
    assert_eq!(with("é".repeat(2_100).as_bytes()), "Too much of the form is not ASCII.");
    assert_eq!(with(b"\xe9"), "The form is not UTF-8 text.");
    let form = "x=é&grant_type=é".as_bytes();
    let outcome = ExchangeRequest::parse(form, &targets(), &prefixes());
    assert!(matches!(outcome, Err(ApiError::UnsupportedGrantType)), "{outcome:?}");
}

#[test]
fn what_is_costly_to_read_is_bounded() {
    let refusal = |name: &str, value: &str| read(&[(name, value)]).map(|_| ());
    let invalid = Err(("invalid_request", "InvalidRequest"));
    let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    for (scope, expected) in [
        (names(64), Ok(())),
        (names(65), invalid),
        ("a".repeat(MAX_SCOPE_BYTES), Ok(())),
        ("a".repeat(MAX_SCOPE_BYTES + 1), invalid),
    ] {
        assert_eq!(refusal("scope", &scope), expected, "{}", scope.len());
    }
    let name = |bytes: usize| refusal(&"n".repeat(bytes), "1");
    assert_eq!((name(MAX_NAME_BYTES), name(MAX_NAME_BYTES + 1)), (Ok(()), invalid));
    let resource = |bytes: usize| {
        let url = "https://contoso.communication.azure.com/";
        refusal(
            "resource",
            &format!("{url}{}.", "./".repeat((bytes - url.len() - 1) / 2)),
        )
    };
    assert_eq!(
        (resource(MAX_RESOURCE_BYTES - 1), resource(MAX_RESOURCE_BYTES + 1)),
        (Ok(()), Err(("invalid_target", "InvalidRequest")))
    );
    let many = vec![("resource", "https://contoso.communication.azure.com/"); 7];
    assert_eq!(read(&many).map(|_| ()), Ok(()));
    let empty = |count: usize| Parameters::parse("&".repeat(count).as_bytes()).map(|_| ());
    assert!(empty(MAX_EMPTY).is_ok() && empty(MAX_EMPTY + 1).is_err());
}

#[test]
fn repeated_names_are_found_in_any_encoding() {
    for form in ["x=1&%78=1", "a+b=1&a%20b=1", "=1&=2", "%ff=1&%fe=2", "é=1&%C3%A9=2"] {
        let error = ExchangeRequest::parse(form.as_bytes(), &targets(), &prefixes()).unwrap_err();
        assert!(
            matches!(error, ApiError::InvalidRequest("A parameter is there twice.")),
            "{form}"
        );
    }
    let form = format!("grant%5Ftype={GRANT_TYPE}&subject_token=a=%3Db+c&subject_token_type={ACCESS_TOKEN_TYPE}");
    let read = ExchangeRequest::parse(form.as_bytes(), &targets(), &prefixes()).unwrap();
    assert_eq!(read.subject_token.expose(), "a==b c");
}

proptest! {
    /// The result is that of the URL Standard's parser.
    #[test]
    fn agrees_with_the_common_parser(content in "[a-c=&%+0-9]{0,40}") {
        let expected: Vec<_> = form_urlencoded::parse(content.as_bytes()).collect();
        if let Ok(read) = Parameters::parse(content.as_bytes()) {
            for (name, value) in expected {
                prop_assert_eq!(read.take(&name).unwrap_or_default(), value);
            }
        } else {
            let names: std::collections::BTreeSet<_> = expected.iter().map(|(name, _)| name).collect();
            prop_assert!(names.len() < expected.len() || expected.len() > MAX_PARAMETERS);
        }
    }

    #[test]
    fn arbitrary_forms_never_panic(content in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ExchangeRequest::parse(&content, &targets(), &prefixes());
    }
}
