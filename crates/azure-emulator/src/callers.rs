//! Who may call the emulator: programs on this machine, and pages on this machine; no page from elsewhere.
//!
//! A page whose name was pointed to a loopback address (DNS rebinding) is of the same origin as the emulator to its
//! browser, but its requests still name its own host. A page that calls across origins names itself in `Origin`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::json;

use super::site::Site;

/// Lets a request pass, or answers 403.
pub(super) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    match permitted(&site, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(message) => {
            tracing::warn!(reason = message, "the emulator refused a caller");
            let body = json!({"error": {"code": "Forbidden", "message": message}});
            (StatusCode::FORBIDDEN, axum::Json(body)).into_response()
        }
    }
}

fn permitted(site: &Site, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let fields = headers.get_all(header::HOST).iter().map(HeaderValue::to_str);
    let authority = uri.authority().map(|authority| Ok(authority.as_str()));
    let mut hosts = fields.chain(authority).peekable();
    if hosts.peek().is_none() || !hosts.all(|host| host.is_ok_and(|host| site.is_own_host(host))) {
        return Err("The Host header must name this machine, such as localhost or 127.0.0.1.");
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    // A browser hides the origin of a form that was posted by a page without a referrer; that it is the emulator's
    // own is then recognized by a header that no page can set (Fetch Metadata Request Headers).
    let own_form = || {
        headers
            .get("sec-fetch-site")
            .is_some_and(|value| value.as_bytes() == b"same-origin")
    };
    let friendly = |origin: &HeaderValue| match origin.to_str() {
        Ok("null") => own_form(),
        Ok(origin) => site.is_friendly(origin),
        Err(_) => false,
    };
    if origins.all(friendly) {
        Ok(())
    } else {
        Err("Only pages on this machine may call the emulator; `dev --origin` lets another origin in.")
    }
}

#[cfg(test)]
mod tests {
    use base::clock::SystemClock;

    use super::*;
    use crate::clock::MovableClock;
    use crate::site::Origin;

    /// URI, header fields, whether the caller is let in.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);

    #[test]
    fn foreign_pages_are_kept_out() {
        let site = Site {
            clock: Arc::new(MovableClock::over(SystemClock::shared())),
            origin: String::new(),
            tls_origin: None,
            origins: vec![Origin::parse("https://app.contoso.com").unwrap()],
        };
        let same = ("sec-fetch-site", "same-origin");
        let cross = ("sec-fetch-site", "cross-site");
        let cases: &[Case<'_>] = &[
            ("/", &[("host", "localhost:8090")], true),
            ("/", &[("host", "127.0.0.1:8090")], true),
            ("/", &[], false),
            ("http://localhost:8090/", &[], true),
            ("http://evil.example/", &[], false),
            ("http://evil.example/", &[("host", "localhost")], false),
            ("/", &[("host", "evil.example:8090")], false),
            ("/", &[("host", "localhost"), ("host", "evil.example")], false),
            ("/", &[("host", "localhost"), ("origin", "http://localhost:3000")], true),
            (
                "/",
                &[("host", "localhost"), ("origin", "https://app.contoso.com")],
                true,
            ),
            ("/", &[("host", "app.contoso.com")], true),
            ("/", &[("host", "localhost"), ("origin", "https://evil.example")], false),
            (
                "/",
                &[
                    ("host", "localhost"),
                    ("origin", "http://localhost"),
                    ("origin", "null"),
                ],
                false,
            ),
            ("/", &[("host", "localhost"), ("origin", "null")], false),
            ("/", &[("host", "localhost"), ("origin", "null"), cross], false),
            ("/", &[("host", "localhost"), ("origin", "null"), same], true),
            (
                "/",
                &[("host", "localhost"), ("origin", "https://evil.example"), same],
                false,
            ),
        ];
        for (uri, fields, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in *fields {
                headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
            }
            let uri = uri.parse().unwrap();
            assert_eq!(permitted(&site, &uri, &headers).is_ok(), *expected, "{uri} {fields:?}");
        }
    }
}
