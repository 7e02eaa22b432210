//! The form of a token exchange request.

use std::borrow::Cow;

use super::{ACCESS_TOKEN_TYPE, GRANT_TYPE, Target};
use crate::api::error::ApiError;
use crate::pipeline::Requested;
use crate::route::ResourceName;
use base::secret::BearerToken;

/// As many parameters as are read. RFC 8693 has nine, a client's own credentials are two more, and two may repeat.
const MAX_PARAMETERS: usize = 16;
/// As many bytes of parameters are decoded that are encoded at all. Tokens, by far the longest values, need no encoding.
const MAX_ENCODED_BYTES: usize = 16 * 1024;

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
        let mut parameters = Parameters::parse(content)?;
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
            requested: Requested { scope, resources },
        })
    }
}

/// The parameters of a form, in `application/x-www-form-urlencoded`.
struct Parameters<'c> {
    // All but `resource` and `audience`: the name, and the rest of the parameter from `=` on.
    single: Vec<(Cow<'c, str>, &'c str)>,
    resources: Vec<Cow<'c, str>>,
    audiences: Vec<Cow<'c, str>>,
}

impl<'c> Parameters<'c> {
    /// Parameters without a value count as absent; unknown ones are ignored, but none may come twice except
    /// `resource` and `audience`. A value is decoded when it is taken.
    fn parse(content: &'c [u8]) -> Result<Self, ApiError> {
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

    /// The names of the targets that every `resource` and `audience` names; `None` if there is neither. Each may
    /// repeat, but all must name one target.
    fn target_names(&self, targets: &[Target]) -> Result<Option<Vec<ResourceName>>, ApiError> {
        if self.resources.is_empty() && self.audiences.is_empty() {
            return Ok(None);
        }
        let is_meant = |target: &&Target| {
            self.resources.iter().all(|resource| target.is_resource(resource))
                && self.audiences.iter().all(|audience| target.is_audience(audience))
        };
        let names: Vec<ResourceName> = targets
            .iter()
            .filter(is_meant)
            .map(|target| target.name.clone())
            .collect();
        if names.is_empty() {
            Err(ApiError::InvalidTarget)
        } else {
            Ok(Some(names))
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

#[cfg(test)]
mod tests;
