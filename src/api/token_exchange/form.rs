//! The form of a token exchange request.

use std::borrow::Cow;

use memchr::{memchr, memchr3};
use url::Url;

use super::{ACCESS_TOKEN_TYPE, GRANT_TYPE, Target};
use crate::api::error::ApiError;
use crate::pipeline::Requested;
use crate::route::ResourceName;
use base::ids::Scopes;
use base::secret::BearerToken;

// Whatever stands in a form is read before it is known who sent it, so each of these keeps the work below that of a
// signature check (`benches/refusals.rs`).

/// As many parameters as are read. RFC 8693 has nine, a client's own credentials are two more, and two may repeat.
const MAX_PARAMETERS: usize = 16;
/// As many times as there may be nothing between two `&`.
const MAX_EMPTY: usize = 256;
/// The longest name. RFC 8693's longest has 20 bytes.
const MAX_NAME_BYTES: usize = 256;
/// As many bytes of parameters are decoded that are not plain text. Tokens, by far the longest values, are.
const MAX_ENCODED_BYTES: usize = 4 * 1024;
/// As many bytes of URLs are parsed, of all resources together: a host has 253 bytes at most.
const MAX_RESOURCE_BYTES: usize = 300;
/// The longest list of scopes, in bytes and in names.
const MAX_SCOPE_BYTES: usize = 1024;
const MAX_SCOPES: usize = 64;

const TOO_MANY: ApiError = ApiError::InvalidRequest("There are more than 16 parameters.");

/// The parameters of a token exchange request (RFC 8693 section 2.1) that this broker acts on.
#[derive(Debug)]
pub(super) struct ExchangeRequest {
    pub(super) subject_token: BearerToken,
    pub(super) requested: Requested,
}

impl ExchangeRequest {
    /// Parses the form (RFC 8693 section 2.1, with RFC 6749 section 3.2's rules for parameters).
    ///
    /// `scope_prefixes` are what may stand before a scope's name.
    pub(super) fn parse(content: &[u8], targets: &[Target], scope_prefixes: &[String]) -> Result<Self, ApiError> {
        let parameters = Parameters::parse(content)?;
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
        let resources = parameters.target_names(targets)?;
        let scope = parameters.take("scope");
        let scope = scope.map(|scope| scopes(&scope, scope_prefixes)).transpose()?;
        Ok(Self {
            subject_token: BearerToken::new(subject_token),
            requested: Requested { scope, resources },
        })
    }
}

/// The scopes that `text` lists, without what of `prefixes` stands before their names.
fn scopes(text: &str, prefixes: &[String]) -> Result<Scopes, ApiError> {
    const TOO_LONG: ApiError = ApiError::InvalidRequest("scope is too long.");
    if text.len() > MAX_SCOPE_BYTES {
        return Err(TOO_LONG);
    }
    let names: Vec<&str> = text.split(' ').filter(|scope| !scope.is_empty()).collect();
    if names.len() > MAX_SCOPES {
        return Err(TOO_LONG);
    }
    let without_prefix = |scope| {
        let names = prefixes.iter().filter_map(|prefix| str::strip_prefix(scope, prefix));
        names.min_by_key(|name| name.len()).unwrap_or(scope)
    };
    Ok(names.into_iter().map(without_prefix).collect())
}

/// The parameters of a form, in `application/x-www-form-urlencoded`: each with its name and what follows that.
struct Parameters<'c>(Vec<(Cow<'c, str>, Text<'c>)>);

/// A part of a form, as it was sent.
#[derive(Clone, Copy)]
struct Text<'c> {
    bytes: &'c [u8],
    // It is ASCII, and nothing in it is encoded.
    is_plain: bool,
}

impl<'c> Parameters<'c> {
    /// Parameters without a value count as absent; unknown ones are ignored, but none may come twice except
    /// `resource` and `audience`. A value is decoded when it is taken.
    fn parse(mut content: &'c [u8]) -> Result<Self, ApiError> {
        let mut parameters: Vec<(Cow<'c, str>, Text<'c>)> = Vec::new();
        let (mut empty, mut encoded) = (0, 0);
        while !content.is_empty() {
            let (piece, is_encoded, rest) = split_parameter(content);
            content = rest;
            if piece.is_empty() {
                empty += 1;
                if empty > MAX_EMPTY {
                    return Err(TOO_MANY);
                }
                continue;
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(TOO_MANY);
            }
            let is_plain = !is_encoded && piece.is_ascii();
            if !is_plain {
                encoded += piece.len();
                if encoded > MAX_ENCODED_BYTES {
                    return Err(ApiError::InvalidRequest(if is_encoded {
                        "Too much of the form is percent-encoded."
                    } else {
                        "Too much of the form is not ASCII."
                    }));
                }
                // The content type's own characters are ASCII; what is not, is encoded.
                std::str::from_utf8(piece).map_err(|_| ApiError::InvalidRequest("The form is not UTF-8 text."))?;
            }
            let (name, rest) = piece.split_at(memchr(b'=', piece).unwrap_or(piece.len()));
            if name.len() > MAX_NAME_BYTES {
                return Err(ApiError::InvalidRequest("The name of a parameter is too long."));
            }
            let name = Text { bytes: name, is_plain }.decoded();
            let may_repeat = matches!(&*name, "resource" | "audience");
            if !may_repeat && parameters.iter().any(|(other, _)| *other == name) {
                return Err(ApiError::InvalidRequest("A parameter is there twice."));
            }
            parameters.push((name, Text { bytes: rest, is_plain }));
        }
        Ok(Self(parameters))
    }

    /// The names of the targets that every `resource` and `audience` names; `None` if there is neither. Each may
    /// repeat, but all must name one target: the URL of its endpoint, or as audience its name.
    fn target_names(&self, targets: &[Target]) -> Result<Option<Vec<ResourceName>>, ApiError> {
        let mut meant: Vec<&Target> = targets.iter().collect();
        let mut bytes = 0;
        for (name, text) in &self.0 {
            let is_audience = name == "audience";
            if !is_audience && name != "resource" {
                continue;
            }
            let Some(value) = text.value() else {
                continue;
            };
            bytes += value.len();
            let url = (bytes <= MAX_RESOURCE_BYTES).then(|| Url::parse(&value).ok());
            let url = url.flatten();
            meant.retain(|target| url.as_ref() == Some(&target.endpoint) || is_audience && target.has_name(&value));
            // The first that names none decides: what comes after it is not parsed.
            if meant.is_empty() {
                return Err(ApiError::InvalidTarget);
            }
        }
        Ok((bytes > 0).then(|| meant.into_iter().map(|target| target.name.clone()).collect()))
    }

    fn take(&self, name: &str) -> Option<Cow<'c, str>> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.and_then(|(_, text)| text.value())
    }
}

/// The text up to the first `&`, whether anything in it is encoded, and the text after it.
fn split_parameter(content: &[u8]) -> (&[u8], bool, &[u8]) {
    let first = memchr3(b'&', b'%', b'+', content);
    let is_encoded = first.is_some_and(|at| content[at] != b'&');
    let end = match first {
        Some(at) if is_encoded => memchr(b'&', &content[at..]).map(|end| at + end),
        end => end,
    };
    match end {
        Some(end) => (&content[..end], is_encoded, &content[end + 1..]),
        None => (content, is_encoded, &[]),
    }
}

impl<'c> Text<'c> {
    /// The text of a name, in which there is no `=`.
    fn decoded(self) -> Cow<'c, str> {
        if self.is_plain {
            // ASCII is UTF-8.
            return Cow::Borrowed(std::str::from_utf8(self.bytes).unwrap_or_default());
        }
        form_urlencoded::parse(self.bytes).next().unwrap_or_default().0
    }

    /// The value in `=value`, if it is not empty.
    fn value(self) -> Option<Cow<'c, str>> {
        let value = if self.is_plain {
            let bytes = self.bytes.strip_prefix(b"=")?;
            Self { bytes, ..self }.decoded()
        } else {
            form_urlencoded::parse(self.bytes).next()?.1
        };
        Some(value).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests;
