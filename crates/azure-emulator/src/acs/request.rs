//! What ACS's operations read from a request: the api-version and a JSON object.

use axum::body::Bytes;
use axum::extract::Request;
use http::{StatusCode, header};
use serde_json::{Map, Value};

use super::error::AcsError;
use crate::request::{query_parameter, read_body};

/// The api-versions that know the Entra exchange and assignments.
pub(super) const ENTRA_VERSIONS: &[&str] = &["2025-03-02-preview"];
/// The api-versions that know Teams Phone extension.
pub(super) const TEAMS_VERSIONS: &[&str] = &["2025-03-02-preview", "2025-06-30", "2026-09-23"];
/// The api-versions that know the exchange for Teams users by token, app and user.
pub(super) const TEAMS_USER_VERSIONS: &[&str] = &[
    "2022-06-01",
    "2022-10-01",
    "2023-10-01",
    "2025-03-02-preview",
    "2025-06-30",
    "2026-09-23",
];
/// The api-versions of the identity operations.
pub(super) const IDENTITY_VERSIONS: &[&str] = &[
    "2021-03-07",
    "2022-06-01",
    "2022-10-01",
    "2023-10-01",
    "2025-03-02-preview",
    "2025-06-30",
    "2026-09-23",
];

/// Only plain JSON.
pub(super) const JSON: &[&str] = &["application/json"];

/// Checks the `api-version` parameter and gives it back.
pub(super) fn api_version(uri: &http::Uri, supported: &[&'static str]) -> Result<&'static str, AcsError> {
    let Some(requested) = query_parameter(uri.query(), "api-version").filter(|version| !version.is_empty()) else {
        return Err(AcsError::new(
            StatusCode::BAD_REQUEST,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    };
    supported
        .iter()
        .find(|version| **version == requested)
        .copied()
        .ok_or_else(|| {
            let message = format!(
                "The HTTP resource that matches the request URI '{}' does not support the API version '{}'. The \
                 supported api-versions are '{}'.",
                uri.path(),
                requested.chars().take(64).collect::<String>(),
                supported.join(", ")
            );
            AcsError::new(StatusCode::BAD_REQUEST, "UnsupportedApiVersionValue", message)
        })
}

/// Reads a JSON object of one of these content types.
pub(super) async fn json_object(request: Request, types: &[&str]) -> Result<Map<String, Value>, AcsError> {
    let (content_type, body) = typed_body(request).await?;
    parse_object(content_type.as_deref(), &body, types)
}

/// The same where the contract leaves the body out at will: the SDKs' `createUser()` sends none, under the content
/// type of JSON.
pub(super) async fn optional_json_object(request: Request, types: &[&str]) -> Result<Map<String, Value>, AcsError> {
    let (content_type, body) = typed_body(request).await?;
    if body.is_empty() {
        return Ok(Map::new());
    }
    parse_object(content_type.as_deref(), &body, types)
}

/// The body, and its content type without parameters.
pub(super) async fn typed_body(request: Request) -> Result<(Option<String>, Bytes), AcsError> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .map(|text| text.trim().to_ascii_lowercase());
    let body = read_body(request).await.map_err(|_| AcsError::too_large())?;
    Ok((content_type, body))
}

pub(super) fn parse_object(
    content_type: Option<&str>,
    body: &[u8],
    types: &[&str],
) -> Result<Map<String, Value>, AcsError> {
    if !content_type.is_some_and(|found| types.contains(&found)) {
        return Err(AcsError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!("The content type must be {}.", types.join(" or ")),
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(AcsError::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequestBody",
            "The request body must be a JSON object.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions() {
        let check = |uri: &str| api_version(&uri.parse().unwrap(), ENTRA_VERSIONS).map_err(|error| error.code);
        assert_eq!(check("/x?api-version=2025-03-02-preview"), Ok("2025-03-02-preview"));
        assert_eq!(check("/x"), Err("MissingApiVersionParameter"));
        assert_eq!(check("/x?api-version="), Err("MissingApiVersionParameter"));
        assert_eq!(check("/x?api-version=2023-10-01"), Err("UnsupportedApiVersionValue"));
    }
}
