//! Pages: text made harmless, one layout, and the headers that keep a page to itself.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};

use crate::jwt::sha256;
use crate::site::Origin;
use base::untrusted::push_html;

const STYLE: &str = include_str!("style.css");
/// Posts the form of a `form_post` response, which is all the script that there is.
const SCRIPT: &str = "document.forms[0].submit()";

static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| hash_source(STYLE));
static SCRIPT_SOURCE: LazyLock<String> = LazyLock::new(|| hash_source(SCRIPT));

/// A source expression for what is in the page (Content Security Policy Level 3, 2.3.1).
fn hash_source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(sha256(text.as_bytes())))
}

/// Markup: what is pushed as text is escaped.
#[derive(Debug, Default, Clone)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup, as it is.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, for content or a quoted attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        push_html(&mut self.0, text);
        self
    }

    /// Adds a hidden field.
    pub(super) fn hidden(&mut self, name: &str, value: &str) -> &mut Self {
        self.raw("<input type=\"hidden\" name=\"")
            .text(name)
            .raw("\" value=\"")
            .text(value)
            .raw("\">\n")
    }

    /// Adds other markup.
    pub(super) fn append(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }
}

/// A page of the emulator's own, which no other page may frame. Its forms go to the emulator, and on to where a user is
/// sent back: browsers hold redirects against the policy too.
pub(super) fn page(status: StatusCode, title: &str, body: &Html, then: Option<&Origin>) -> Response {
    let mut policy = format!(
        "default-src 'none'; style-src {}; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
        *STYLE_SOURCE
    );
    if let Some(origin) = then {
        // Writing to a string cannot fail.
        let _ = write!(policy, " {}", origin.as_csp_source());
    }
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>")
        .text(title)
        .raw("</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n<style>")
        .raw(STYLE)
        .raw("</style>\n</head>\n<body>\n<main>\n")
        .append(body)
        .raw("</main>\n<footer><p>The Entra emulator of acs-token-broker. Nobody here is real, and no password is asked for.</p></footer>\n")
        .raw("</body>\n</html>\n");
    let mut response = answer(status, html, &policy);
    let deny = HeaderValue::from_static("DENY");
    response.headers_mut().insert(header::X_FRAME_OPTIONS, deny);
    response
}

/// The page of a `form_post` response: it posts itself to the client (OAuth 2.0 Form Post Response Mode). It may be framed,
/// since a silent sign-in is.
pub(super) fn posting_page(redirect_uri: &str, origin: &Origin, fields: &[(&str, String)]) -> Response {
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Signing in</title>\n</head>\n<body>\n")
        .raw("<form method=\"post\" action=\"")
        .text(redirect_uri)
        .raw("\">\n");
    for (name, value) in fields {
        html.hidden(name, value);
    }
    html.raw("<noscript><button>Continue</button></noscript>\n</form>\n<script>")
        .raw(SCRIPT)
        .raw("</script>\n</body>\n</html>\n");
    let policy = format!(
        "default-src 'none'; script-src {}; base-uri 'none'; form-action {}",
        *SCRIPT_SOURCE,
        origin.as_csp_source()
    );
    answer(StatusCode::OK, html, &policy)
}

fn answer(status: StatusCode, html: Html, policy: &str) -> Response {
    let mut response = (status, axum::response::Html(html.0)).into_response();
    // The sources are digests and origins, which are ASCII.
    if let Ok(policy) = HeaderValue::from_str(policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    with_common_headers(response)
}

/// The headers of every answer to a browser that signs in.
pub(super) fn with_common_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut html = Html::default();
        html.hidden("state", "\"><script>'&");
        assert_eq!(
            html.0,
            "<input type=\"hidden\" name=\"state\" value=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">\n"
        );
    }
}
