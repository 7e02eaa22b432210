//! `POST /explain`: at which gates a token passes or fails, for operators who ask why a caller is refused.
//!
//! Nobody upstream is asked, no token is issued, and none stands in the answer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::header::{AUTHORIZATION, CACHE_CONTROL, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::{error, method_not_allowed};
use crate::authenticate::gates::{Gate, Outcome};
use crate::pipeline::TokenPipeline;
use base::secret::BearerToken;

/// How a browser says who asks (Fetch Metadata Request Headers, section 2.4).
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[derive(Serialize)]
struct Explanation {
    outcome: Outcome,
    gates: Vec<Gate>,
}

/// The one route.
pub(super) fn router(pipeline: Arc<TokenPipeline>) -> Router {
    let only_post = || async { method_not_allowed("Use POST.", "POST") };
    Router::new()
        .route("/explain", post(explain).fallback(only_post))
        .with_state(pipeline)
}

async fn explain(State(pipeline): State<Arc<TokenPipeline>>, headers: HeaderMap) -> Response {
    if is_from_a_page(&headers) {
        return error(
            StatusCode::FORBIDDEN,
            "OriginNotAllowed",
            "Web pages may not ask about tokens.",
        );
    }
    let token = match bearer(&headers) {
        Ok(token) => token,
        Err(refusal) => return refusal.into_response(),
    };
    let gates = pipeline.explain(&token);
    let outcome = Outcome::of(&gates);
    let explanation = Json(Explanation { outcome, gates });
    ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], explanation).into_response()
}

/// Whether a web page asks, one included whose name resolves to this address by now: browsers say so with every POST.
fn is_from_a_page(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    headers.contains_key(ORIGIN) || sites.any(|site| site != "none" && site != "same-origin")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoToken {
    Missing,
    Several,
}

impl IntoResponse for NoToken {
    fn into_response(self) -> Response {
        match self {
            Self::Missing => {
                let message = "Send the token in question as Authorization: Bearer.";
                let mut response = error(StatusCode::UNAUTHORIZED, "AuthenticationRequired", message);
                let challenge = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                response
            }
            Self::Several => error(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "Send one Authorization header with one token.",
            ),
        }
    }
}

/// The token in question (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Result<BearerToken, NoToken> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(NoToken::Missing)?;
    if values.next().is_some() {
        return Err(NoToken::Several);
    }
    let text = value.to_str().map_err(|_| NoToken::Missing)?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let token = rest.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() {
        return Err(NoToken::Missing);
    }
    if token.contains([' ', '\t', ',']) {
        return Err(NoToken::Several);
    }
    Ok(BearerToken::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_bearer_token_or_a_reason() {
        for (values, wanted) in [
            (&["Bearer a.b.c"][..], Ok("a.b.c")),
            (&["bearer  a.b.c "], Ok("a.b.c")),
            (&["Bearer x"], Ok("x")),
            (&[], Err(NoToken::Missing)),
            (&["Bearer "], Err(NoToken::Missing)),
            (&["Basic abc"], Err(NoToken::Missing)),
            (&["Bearer a, Bearer b"], Err(NoToken::Several)),
            (&["Bearer a", "Bearer b"], Err(NoToken::Several)),
        ] {
            let fields: Vec<_> = values.iter().map(|value| (AUTHORIZATION, *value)).collect();
            let token = bearer(&headers(&fields));
            assert_eq!(
                token.as_ref().map(BearerToken::expose),
                wanted.as_ref().copied(),
                "{values:?}"
            );
        }
    }

    #[test]
    fn pages_are_known_by_what_browsers_send() {
        for (fields, is_page) in [
            (&[][..], false),
            (&[(SEC_FETCH_SITE, "none")], false),
            (&[(SEC_FETCH_SITE, "same-origin")], false),
            (&[(SEC_FETCH_SITE, "cross-site")], true),
            (&[(SEC_FETCH_SITE, "same-site")], true),
            (&[(SEC_FETCH_SITE, "none"), (SEC_FETCH_SITE, "cross-site")], true),
            (&[(ORIGIN, "null")], true),
            (&[(ORIGIN, "http://rebound.example:8081")], true),
            (
                &[(ORIGIN, "http://localhost:8081"), (SEC_FETCH_SITE, "same-origin")],
                true,
            ),
        ] {
            assert_eq!(is_from_a_page(&headers(fields)), is_page, "{fields:?}");
        }
    }
}
