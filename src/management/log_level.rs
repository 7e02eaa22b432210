//! `/loglevel`: the log's level, shown and changed while the broker runs.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::ORIGIN;
use http::{HeaderMap, StatusCode};

use super::{error, method_not_allowed};
use telemetry::LogLevel;

/// No filter is as long.
const MAX_FILTER_BYTES: usize = 4096;

/// `GET` shows the filter in force, `PUT` sets the one in the body, both as text.
pub(super) fn router(level: LogLevel) -> Router {
    Router::new()
        .route(
            "/loglevel",
            get(show)
                .put(set)
                .fallback(|| async { method_not_allowed("Use GET or PUT.", "GET, HEAD, PUT") }),
        )
        .layer(DefaultBodyLimit::max(MAX_FILTER_BYTES))
        .with_state(level)
}

async fn show(State(level): State<LogLevel>) -> String {
    level.text() + "\n"
}

async fn set(State(level): State<LogLevel>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    // Browsers say so with every PUT, those of a page included whose name resolves to this address by now.
    if headers.contains_key(ORIGIN) {
        return error(
            StatusCode::FORBIDDEN,
            "OriginNotAllowed",
            "Web pages may not set the level.",
        );
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = "No filter is as long; send at most 4096 bytes.";
            return error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", message);
        }
        Err(_) => return error(StatusCode::BAD_REQUEST, "InvalidBody", "The body did not arrive."),
    };
    let filter = str::from_utf8(&body).unwrap_or_default().trim();
    if filter.is_empty() || level.set(filter, "the log level was set").is_err() {
        // The body is not repeated: it is whatever was sent.
        return error(
            StatusCode::BAD_REQUEST,
            "InvalidFilter",
            "Send a filter such as info or info,acs_token_broker=debug.",
        );
    }
    (StatusCode::OK, level.text() + "\n").into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn filters_are_shown_and_set() {
        let level = LogLevel::new("info").unwrap();
        for (method, body, status, after) in [
            ("GET", "", 200, "info"),
            (
                "PUT",
                "info,acs_token_broker=debug\n",
                200,
                "info,acs_token_broker=debug",
            ),
            ("PUT", "a=b=c", 400, "info,acs_token_broker=debug"),
            ("PUT", "", 400, "info,acs_token_broker=debug"),
            ("PUT", "\u{0}", 400, "info,acs_token_broker=debug"),
            ("POST", "debug", 405, "info,acs_token_broker=debug"),
            ("PUT", "off", 200, "off"),
        ] {
            let request = Request::builder().method(method).uri("/loglevel");
            let request = request.body(Body::from(body)).unwrap();
            let response = router(level.clone()).oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{method} {body:?}");
            if status == 200 {
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, format!("{after}\n"));
            }
            assert_eq!(level.text(), after);
        }
        let long = "a".repeat(MAX_FILTER_BYTES + 1);
        let request = Request::put("/loglevel").body(Body::from(long)).unwrap();
        let response = router(level).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(code(response).await, "PayloadTooLarge");
    }

    async fn code(response: Response) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
        body["error"]["code"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn web_pages_set_nothing() {
        let level = LogLevel::new("info").unwrap();
        // A page's own origin after its name was pointed here, one from elsewhere, and a sandboxed one.
        for origin in ["http://rebound.example:8081", "https://evil.example", "null"] {
            let request = Request::put("/loglevel").header("origin", origin);
            let request = request.body(Body::from("off")).unwrap();
            let response = router(level.clone()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin}");
            assert_eq!(code(response).await, "OriginNotAllowed");
            assert_eq!(level.text(), "info");
        }
    }
}
