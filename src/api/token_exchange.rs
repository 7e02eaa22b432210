//! `POST /token` as OAuth 2.0 Token Exchange (RFC 8693).

use std::borrow::Cow;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::PRAGMA;
use jiff::Timestamp;
use serde::Serialize;
use url::Url;

use super::error::ApiError;
use super::{Api, answer};
use crate::cache::Token as _;
use crate::pipeline::{Asked, Issued};
use base::secret::BearerToken;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A form with content, beside an Authorization header.
pub(super) const BOTH_WAYS: ApiError =
    ApiError::InvalidRequest("Send the token as subject_token or in the Authorization header, not both ways.");

/// As many parameters as are read. RFC 8693 has nine, a client's own credentials are two more, and two may repeat.
const MAX_PARAMETERS: usize = 16;
/// As many bytes of parameters are decoded that are encoded at all. Tokens, by far the longest values, need no encoding.
const MAX_ENCODED_BYTES: usize = 16 * 1024;

/// The request has no Authorization header: with one it is not this form.
pub(super) async fn exchange(api: &Api, request: Request) -> Result<Response, ApiError> {
    let context = answer::context(&request)?;
    let (head, body) = request.into_parts();
    let body = api.bodies.read(&head.headers, body, context.deadline).await?;
    let asked = ExchangeRequest::read(&body, &api.settings.targets, &api.settings.scope_prefixes)?;
    drop(body);
    let presented = api.pipeline.look(asked.subject_token, None)?;
    let issued = api.issue(&context, presented, asked.asked).await?;
    let now = api.pipeline.clock.now();
    let mut response = Json(ExchangeAnswer::of(&issued, now)).into_response();
    response
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(answer::issued(&api.settings, &issued, response))
}

/// An ACS resource that this broker exchanges for.
#[derive(Debug, Clone)]
pub struct Target {
    endpoint: Url,
    name: Option<Box<str>>,
}

impl Target {
    /// The ACS resource at `endpoint`, with the name that the operator gave it, if any.
    #[must_use]
    pub fn new(endpoint: Url, name: Option<&str>) -> Self {
        Self {
            endpoint,
            name: name.map(Box::from),
        }
    }

    /// `resource` is the endpoint's URL, with or without a slash at its end.
    fn is_resource(&self, text: &str) -> bool {
        Url::parse(text).is_ok_and(|url| url == self.endpoint)
    }

    /// `audience` is the endpoint or the resource's name: the first label of its host, or the operator's for it.
    fn is_audience(&self, text: &str) -> bool {
        let label = match self.endpoint.host() {
            Some(url::Host::Domain(domain)) => domain.split('.').next(),
            _ => None,
        };
        let is_name = |name: &str| name.eq_ignore_ascii_case(text);
        self.is_resource(text) || label.is_some_and(is_name) || self.name.as_deref().is_some_and(is_name)
    }
}

#[derive(Debug)]
struct ExchangeRequest {
    subject_token: BearerToken,
    asked: Asked,
}

impl ExchangeRequest {
    /// Reads the form (RFC 8693 section 2.1, with RFC 6749 section 3.2's rules for parameters).
    ///
    /// `scope_prefixes` are what may stand before a scope's name.
    fn read(content: &[u8], targets: &[Target], scope_prefixes: &[String]) -> Result<Self, ApiError> {
        let mut parameters = Parameters::read(content)?;
        match parameters.take("grant_type").as_deref() {
            Some(GRANT_TYPE) => {}
            Some(_) => return Err(ApiError::UnsupportedGrantType),
            None => return Err(ApiError::InvalidRequest("grant_type is missing.")),
        }
        let subject_token = parameters
            .take("subject_token")
            .ok_or(ApiError::InvalidRequest("subject_token is missing."))?;
        match parameters.take("subject_token_type").as_deref() {
            Some(ACCESS_TOKEN_TYPE) => {}
            Some(_) => {
                return Err(ApiError::InvalidRequest(
                    "subject_token_type must be that of an access token.",
                ));
            }
            None => return Err(ApiError::InvalidRequest("subject_token_type is missing.")),
        }
        if parameters
            .take("requested_token_type")
            .is_some_and(|requested| requested != ACCESS_TOKEN_TYPE)
        {
            return Err(ApiError::InvalidRequest(
                "requested_token_type must be that of an access token.",
            ));
        }
        if parameters.take("actor_token").is_some() || parameters.take("actor_token_type").is_some() {
            return Err(ApiError::InvalidRequest("actor_token is not supported."));
        }
        let resource = parameters.target(targets)?;
        let scope = parameters.take("scope").map(|scope| {
            scope
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .map(|scope| {
                    let names = scope_prefixes.iter().filter_map(|prefix| scope.strip_prefix(&**prefix));
                    names.min_by_key(|name| name.len()).unwrap_or(scope)
                })
                .collect()
        });
        Ok(Self {
            subject_token: BearerToken::new(subject_token),
            asked: Asked {
                scope,
                resources: resource,
            },
        })
    }
}

struct Parameters<'c> {
    // All but the targets: the name, and what stands behind it.
    single: Vec<(Cow<'c, str>, &'c str)>,
    resources: Vec<Cow<'c, str>>,
    audiences: Vec<Cow<'c, str>>,
}

impl<'c> Parameters<'c> {
    /// Parameters without a value count as absent; unknown ones are ignored, but none may come twice except
    /// `resource` and `audience`. Only what is asked for is decoded.
    fn read(content: &'c [u8]) -> Result<Self, ApiError> {
        let mut parameters = Self {
            single: Vec::new(),
            resources: Vec::new(),
            audiences: Vec::new(),
        };
        // The content type's own characters are ASCII; what is not, is encoded.
        let content =
            std::str::from_utf8(content).map_err(|_| ApiError::InvalidRequest("The form is not UTF-8 text."))?;
        let pieces = content.split('&').filter(|piece| !piece.is_empty());
        let mut encoded = 0;
        for (count, piece) in pieces.enumerate() {
            if count == MAX_PARAMETERS {
                return Err(ApiError::InvalidRequest("There are more than 16 parameters."));
            }
            if is_encoded(piece) {
                encoded += piece.len();
                if encoded > MAX_ENCODED_BYTES {
                    return Err(ApiError::InvalidRequest("Too much of the form is percent-encoded."));
                }
            }
            let (name, rest) = piece.split_at(piece.find('=').unwrap_or(piece.len()));
            let name = decoded_name(name);
            match &*name {
                "resource" => parameters.resources.extend(decoded_value(rest)),
                "audience" => parameters.audiences.extend(decoded_value(rest)),
                _ if parameters.single.iter().any(|(other, _)| *other == name) => {
                    return Err(ApiError::InvalidRequest("A parameter is there twice."));
                }
                _ => parameters.single.push((name, rest)),
            }
        }
        Ok(parameters)
    }

    /// The places of the targets that every `resource` and `audience` names; `None` if there is neither. Each may
    /// repeat, but all must name one target.
    fn target(&self, targets: &[Target]) -> Result<Option<Vec<usize>>, ApiError> {
        if self.resources.is_empty() && self.audiences.is_empty() {
            return Ok(None);
        }
        let named: Vec<usize> = targets
            .iter()
            .enumerate()
            .filter(|(_, target)| {
                self.resources.iter().all(|resource| target.is_resource(resource))
                    && self.audiences.iter().all(|audience| target.is_audience(audience))
            })
            .map(|(index, _)| index)
            .collect();
        if named.is_empty() {
            Err(ApiError::InvalidTarget)
        } else {
            Ok(Some(named))
        }
    }

    fn take(&mut self, name: &str) -> Option<Cow<'c, str>> {
        let found = self.single.iter().find(|(own, _)| own == name);
        found.and_then(|(_, rest)| decoded_value(rest))
    }
}

fn is_encoded(text: &str) -> bool {
    text.contains('%') || text.contains('+')
}

/// `name`, in which there is no `=`, as text.
fn decoded_name(name: &str) -> Cow<'_, str> {
    if !is_encoded(name) {
        return Cow::Borrowed(name);
    }
    form_urlencoded::parse(name.as_bytes())
        .next()
        .map_or(Cow::Borrowed(""), |(name, _)| name)
}

/// The value in `=value`, if it is not empty.
fn decoded_value(rest: &str) -> Option<Cow<'_, str>> {
    let value = if is_encoded(rest) {
        form_urlencoded::parse(rest.as_bytes()).next()?.1
    } else {
        Cow::Borrowed(rest.strip_prefix('=')?)
    };
    Some(value).filter(|value| !value.is_empty())
}

/// RFC 8693 section 2.2.1.
#[derive(Serialize)]
struct ExchangeAnswer<'t> {
    access_token: &'t str,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: i64,
    scope: String,
}

impl<'t> ExchangeAnswer<'t> {
    fn of(issued: &'t Issued, now: Timestamp) -> Self {
        Self {
            access_token: issued.token().token().expose(),
            issued_token_type: ACCESS_TOKEN_TYPE,
            token_type: "Bearer",
            expires_in: issued.token().expires_on().duration_since(now).as_secs().max(0),
            scope: issued.scopes.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        ExchangeRequest::read(form.finish().as_bytes(), &targets(), &prefixes()).map_err(|error| {
            let told = error.told();
            (told.oauth, told.code)
        })
    }

    #[test]
    fn what_is_accepted() {
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
        assert_eq!(scoped.asked.scope, Some(Scopes::parse("VoIP VoIP.Join")));
        let scoped = read(&[("scope", "api://broker/access")]).unwrap();
        assert_eq!(scoped.asked.scope, Some(Scopes::parse("access")));
        for (name, value, named) in [
            ("audience", "contoso", vec![0]),
            ("audience", "north", vec![1]),
            ("audience", "northwind", vec![1]),
            (
                "resource",
                "https://northwind.unitedstates.communication.azure.com/",
                vec![1],
            ),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap().asked.resources, Some(named), "{value}");
        }
        assert_eq!(read(&[]).unwrap().asked.resources, None);
    }

    #[test]
    fn what_is_refused() {
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
        assert!(ExchangeRequest::read(form.as_bytes(), &targets(), &prefixes()).is_ok());
    }

    #[test]
    fn only_so_much_is_decoded() {
        let with = |value: &str| {
            let form = format!("grant_type={GRANT_TYPE}&subject_token={value}&subject_token_type={ACCESS_TOKEN_TYPE}");
            ExchangeRequest::read(form.as_bytes(), &targets(), &prefixes()).map(drop)
        };
        assert!(with(&"a".repeat(60_000)).is_ok());
        assert!(with(&format!("{}%2E", "a".repeat(16_000))).is_ok());
        let told = with(&"%41".repeat(6_000));
        assert!(matches!(
            told,
            Err(ApiError::InvalidRequest("Too much of the form is percent-encoded."))
        ));
        let names: Vec<String> = (0..12).map(|n| format!("&{}{n}=1", "%41".repeat(500))).collect();
        let names = names.concat();
        assert!(with(&format!("a{names}")).is_err());
    }

    #[test]
    fn names_are_the_same_however_they_are_encoded() {
        for form in ["x=1&%78=1", "a+b=1&a%20b=1", "=1&=2", "%ff=1&%fe=2", "é=1&%C3%A9=2"] {
            let error = ExchangeRequest::read(form.as_bytes(), &targets(), &prefixes()).unwrap_err();
            assert!(
                matches!(error, ApiError::InvalidRequest("A parameter is there twice.")),
                "{form}"
            );
        }
        let form = format!("grant%5Ftype={GRANT_TYPE}&subject_token=a=%3Db+c&subject_token_type={ACCESS_TOKEN_TYPE}");
        let read = ExchangeRequest::read(form.as_bytes(), &targets(), &prefixes()).unwrap();
        assert_eq!(read.subject_token.expose(), "a==b c");
    }

    proptest! {
        /// Nothing is read otherwise than the URL Standard says.
        #[test]
        fn agrees_with_the_common_parser(content in "[a-c=&%+0-9]{0,40}") {
            let expected: Vec<_> = form_urlencoded::parse(content.as_bytes()).collect();
            if let Ok(mut read) = Parameters::read(content.as_bytes()) {
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
            let _ = ExchangeRequest::read(&content, &targets(), &prefixes());
        }
    }
}
