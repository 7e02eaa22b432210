//! Which requests a broker for development answers: those that name this machine.
//!
//! A web page whose name was pointed to a loopback address (DNS rebinding) is of the same origin as the broker to its
//! browser, so that CORS does not stop it. Its requests still name the page's own host.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{HOST, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::json;

use ::serve::Handler;
use base::loopback::is_loopback_host;

/// An answer's code, as a header.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// The handler behind the check. The hosts of `origins` count as this machine. No code of the API's says this, since no
/// deployed broker does.
pub(super) fn this_machine_only(handler: Handler, origins: &[String]) -> Handler {
    let hosts: Arc<[String]> = origins.iter().filter_map(|origin| host_of(origin)).collect();
    Handler::new(move |request: Request| {
        let answer = names_this_machine(&request, &hosts).then(|| handler.answer(request));
        async move {
            if let Some(answer) = answer {
                return answer.await;
            }
            tracing::warn!("refused a request whose Host is not this machine");
            refusal()
        }
    })
}

fn host_of(origin: &str) -> Option<String> {
    let uri: Uri = origin.parse().ok()?;
    Some(uri.host()?.to_owned())
}

/// Whether every host that it names is this machine or one of `added`; it must name one.
fn names_this_machine(request: &Request, added: &[String]) -> bool {
    let is_known = |host: &str| {
        let name = host.parse::<Authority>().ok();
        let is_added = |name: Authority| added.iter().any(|added| added.eq_ignore_ascii_case(name.host()));
        is_loopback_host(host) || name.is_some_and(is_added)
    };
    let fields = request.headers().get_all(HOST).iter().map(HeaderValue::to_str);
    let authority = request.uri().authority().map(|authority| Ok(authority.as_str()));
    let mut hosts = fields.chain(authority).peekable();
    hosts.peek().is_some() && hosts.all(|host| host.is_ok_and(is_known))
}

fn refusal() -> Response {
    const CODE: &str = "Forbidden";
    let message = "The Host header must name this machine, such as localhost or 127.0.0.1.";
    let body = axum::Json(json!({ "error": { "code": CODE, "message": message } }));
    let mut response = (StatusCode::FORBIDDEN, body).into_response();
    let headers = response.headers_mut();
    headers.insert(ERROR_CODE, HeaderValue::from_static(CODE));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn every_name_counts() {
        let added = [host_of("https://app.contoso.com").unwrap()];
        for (uri, hosts, expected) in [
            ("/token", &["localhost:8080"][..], true),
            ("/token", &["127.0.0.1:8080"][..], true),
            // HTTP/2
            ("http://localhost:8080/token", &[][..], true),
            ("http://attacker.example/token", &[][..], false),
            ("/token", &["attacker.example"][..], false),
            ("/token", &[][..], false),
            ("/token", &["localhost", "attacker.example"][..], false),
            ("http://attacker.example/token", &["localhost"][..], false),
            ("http://localhost/token", &["attacker.example"][..], false),
            ("/token", &["app.contoso.com"][..], true),
            ("/token", &["APP.contoso.com:8443"][..], true),
            ("/token", &["app.contoso.com.attacker.example"][..], false),
        ] {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(names_this_machine(&request, &added), expected, "{uri} {hosts:?}");
        }
    }
}
