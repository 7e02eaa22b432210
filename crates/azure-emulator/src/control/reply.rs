//! What all controls have in common: errors, and a JSON body that may be left out.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::request::{read_body, too_large};

/// An error of a control. There is no contract of Azure's to follow here; ours is `{"error":{"code","message"}}`.
pub(super) fn problem(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    let message: String = message.into();
    (status, Json(json!({"error": {"code": code, "message": message}}))).into_response()
}

pub(super) fn bad_request(message: impl Into<String>) -> Response {
    problem(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

/// Reads a JSON object whatever the content type says, for people with curl; no body is an empty object.
pub(super) async fn optional_json<T: serde::de::DeserializeOwned + Default>(request: Request) -> Result<T, Response> {
    let body = read_body(request).await.map_err(|_| too_large())?;
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // By way of a map: serde would take a list for a struct too.
    serde_json::from_slice::<Map<String, Value>>(&body)
        .and_then(|members| T::deserialize(Value::Object(members)))
        .map_err(|error| bad_request(error.to_string()))
}
