//! The form of a token exchange (RFC 8693). What is accepted says the same to another reader of the same form.
#![no_main]

use std::borrow::Cow;

use acs_token_broker_fuzz::is_a_line;
use broker::api::Target;
use broker::api::fuzzing::form;
use libfuzzer_sys::fuzz_target;
use url::Url;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const PREFIX: &str = "api://broker/";
const ENDPOINTS: [(&str, Option<&str>); 2] = [
    ("https://contoso.communication.azure.com", None),
    ("https://northwind.communication.azure.com", Some("north")),
];

fuzz_target!(|content: &[u8]| {
    let targets = ENDPOINTS.map(|(endpoint, name)| Target::new(Url::parse(endpoint).expect("a URL"), name));
    let (token, requested) = match form(content, &targets, &[PREFIX.to_owned()]) {
        Ok(read) => read,
        Err(error) => return is_a_line(&error.to_string()),
    };
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(content).collect();
    let all = |name: &str| -> Vec<&str> {
        let pairs = pairs.iter().filter(|(own, _)| own == name);
        pairs
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
            .collect()
    };
    assert!(pairs.len() <= 16);
    for (index, (name, _)) in pairs.iter().enumerate() {
        let again = pairs[..index].iter().any(|(other, _)| other == name);
        assert!(!again || name == "resource" || name == "audience", "{name} twice");
    }
    assert_eq!(all("grant_type"), [GRANT_TYPE]);
    assert_eq!(all("subject_token"), [token.expose()]);
    assert_eq!(all("subject_token_type"), [TOKEN_TYPE]);
    assert!(
        all("requested_token_type")
            .iter()
            .all(|requested| *requested == TOKEN_TYPE)
    );
    assert!(all("actor_token").is_empty() && all("actor_token_type").is_empty());
    let scope = all("scope");
    assert_eq!(requested.scope.is_some(), !scope.is_empty());
    for scope in scope
        .iter()
        .flat_map(|scope| scope.split(' '))
        .filter(|scope| !scope.is_empty())
    {
        let name = scope.strip_prefix(PREFIX).unwrap_or(scope);
        assert!(
            requested.scope.as_ref().is_some_and(|scopes| scopes.contains(name)),
            "{scope}"
        );
    }
    let (urls, names) = (all("resource"), all("audience"));
    let expected = ENDPOINTS.iter().filter(|(endpoint, name)| {
        let endpoint = Url::parse(endpoint).expect("a URL");
        let label = endpoint.host_str().and_then(|host| host.split('.').next());
        let is_url = |text: &&&str| Url::parse(text).is_ok_and(|url| url == endpoint);
        let is_name = |text: &&&str| {
            [label, *name]
                .into_iter()
                .flatten()
                .any(|own| own.eq_ignore_ascii_case(text))
        };
        urls.iter().all(|text| is_url(&text)) && names.iter().all(|text| is_url(&text) || is_name(&text))
    });
    let expected: Vec<Option<&str>> = expected.map(|(_, name)| *name).collect();
    match requested.resources {
        None => assert!(urls.is_empty() && names.is_empty()),
        Some(resources) => {
            assert!(!resources.is_empty());
            assert_eq!(resources.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        }
    }
});
