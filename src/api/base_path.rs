//! `server.base_path`: the path below which all public paths stand, taken off before anything looks at the rest.

use axum::extract::Request;
use http::Uri;
use http::uri::PathAndQuery;

use ::serve::Handler;

/// What a path outside `base_path` becomes: none of the routes.
const OUTSIDE: PathAndQuery = PathAndQuery::from_static("/");

/// `handler` below `base_path` and nowhere else. The path is cut before anything else sees it, so routes, logs and metrics
/// know one name for each.
pub(super) fn mounted(handler: Handler, base_path: &str) -> Handler {
    if base_path.is_empty() {
        return handler;
    }
    let base_path: Box<str> = base_path.into();
    Handler::new(move |mut request: Request| {
        *request.uri_mut() = below(&base_path, request.uri());
        handler.answer(request)
    })
}

/// `uri` without `base_path` at the beginning of its path.
fn below(base_path: &str, uri: &Uri) -> Uri {
    let inner = uri
        .path_and_query()
        .and_then(|whole| whole.as_str().strip_prefix(base_path))
        .filter(|rest| rest.starts_with('/'))
        .and_then(|rest| rest.parse().ok());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(inner.unwrap_or(OUTSIDE));
    // A path in place of another leaves the parts as consistent as they were; where there is no path at all, nothing is
    // served.
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(OUTSIDE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_is_served() {
        for (uri, inner) in [
            ("/broker/token", "/token"),
            (
                "/broker//access/entra/:exchangeAccessToken?api-version=1",
                "//access/entra/:exchangeAccessToken?api-version=1",
            ),
            (
                "http://contoso.com/broker/token?a=/broker",
                "http://contoso.com/token?a=/broker",
            ),
            ("/broker/broker/token", "/broker/token"),
            ("/broker", "/"),
            ("/broker?a=b", "/"),
            ("/brokers/token", "/"),
            ("/token", "/"),
            ("//broker/token", "/"),
            ("/Broker/token", "/"),
            ("/%62roker/token", "/"),
            ("/", "/"),
            ("*", "/"),
            ("contoso.com:443", "/"),
        ] {
            assert_eq!(below("/broker", &uri.parse().unwrap()).to_string(), inner, "{uri}");
        }
    }
}
