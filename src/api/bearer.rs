//! The bearer token in the Authorization header (RFC 6750 section 2.1). The query is never read for one.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use memchr::memchr3;

use super::error::ApiError;
use base::secret::BearerToken;

/// The presented token.
pub(super) fn from_headers(headers: &HeaderMap) -> Result<BearerToken, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(ApiError::AuthenticationRequired)?;
    if values.next().is_some() {
        return Err(ApiError::InvalidRequest("Send one Authorization header."));
    }
    // No field's value has control characters, so that this is `to_str`, only faster.
    let text = Some(value.as_bytes()).filter(|value| value.is_ascii());
    let text = text
        .and_then(|text| std::str::from_utf8(text).ok())
        .ok_or(ApiError::InvalidRequest("The Authorization header is not ASCII."))?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let token = rest.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() {
        return Err(ApiError::AuthenticationRequired);
    }
    if memchr3(b' ', b'\t', b',', token.as_bytes()).is_some() {
        return Err(ApiError::InvalidRequest(
            "The Authorization header holds more than one token.",
        ));
    }
    Ok(BearerToken::copied(token))
}

/// Whether the request has a client's own credentials: HTTP Basic, which OAuth libraries use unless they are configured
/// otherwise (RFC 6749 section 2.3.1).
pub(super) fn has_basic(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split_at_checked(5);
        scheme.is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case(b"Basic") && matches!(rest, [] | [b' ', ..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_or_a_reason() {
        for (values, token) in [
            (&["Bearer a.b.c"][..], Ok("a.b.c")),
            (&["bearer a.b.c"][..], Ok("a.b.c")),
            (&["BEARER  a.b.c "][..], Ok("a.b.c")),
            (&[][..], Err("AuthenticationRequired")),
            (&[""][..], Err("AuthenticationRequired")),
            (&["Bearer"][..], Err("AuthenticationRequired")),
            (&["Bearer "][..], Err("AuthenticationRequired")),
            (&["Basic dXNlcjpwYXNz"][..], Err("AuthenticationRequired")),
            (&["a.b.c"][..], Err("AuthenticationRequired")),
            (&["DPoP a.b.c"][..], Err("AuthenticationRequired")),
            (&["Bearer a.b.c d.e.f"][..], Err("InvalidRequest")),
            (&["Bearer a.b.c, Bearer d.e.f"][..], Err("InvalidRequest")),
            (&["Bearer a.b.c", "Bearer a.b.c"][..], Err("InvalidRequest")),
            (&["Basic x", "Bearer a.b.c"][..], Err("InvalidRequest")),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let outcome = from_headers(&headers);
            let outcome = outcome
                .as_ref()
                .map(BearerToken::expose)
                .map_err(|error| error.response().code);
            assert_eq!(outcome, token, "{values:?}");
        }
    }
}
