//! How a fault changes an answer; pure but for reading the answer's body.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::acs::token::expires_on_text;
use super::endpoint::Endpoint;
use super::faults::{Fault, parse_offset};
use super::graph::error::error_body;

/// Makes the connection close instead of sending the response that carries it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUp;

/// The answer that stands in for the real one, if the fault has one.
pub(crate) fn stand_in(fault: &Fault, endpoint: Endpoint, now: Timestamp) -> Option<Response> {
    if fault.drop_connection {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(HangUp);
        return Some(response);
    }
    if let Some(location) = &fault.redirect {
        let location = HeaderValue::from_str(location).ok()?;
        return Some((StatusCode::FOUND, [(header::LOCATION, location)]).into_response());
    }
    let status = StatusCode::from_u16(fault.status?).ok()?;
    let mut response = match &fault.body {
        Some(Value::String(text)) => text.clone().into_response(),
        Some(body) => Json(body).into_response(),
        None => Json(usual_body(status, endpoint, now)).into_response(),
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(value) = fault.content_type.as_ref().and_then(|text| text.parse().ok()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    if let Some(value) = fault.retry_after.as_ref().and_then(|text| text.parse().ok()) {
        headers.insert(header::RETRY_AFTER, value);
    }
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    Some(response)
}

/// What Azure sends with a status, in the shape of the side that answers.
fn usual_body(status: StatusCode, endpoint: Endpoint, now: Timestamp) -> Value {
    if endpoint.is_entra() {
        let error = match status.as_u16() {
            429 | 500.. => "temporarily_unavailable",
            _ => "invalid_request",
        };
        return json!({
            "error": error,
            "error_description": "AADSTS90033: A transient error has occurred. Please try again.",
            "error_codes": [90033],
        });
    }
    if endpoint == Endpoint::Graph {
        let code = match status.as_u16() {
            401 => "InvalidAuthenticationToken",
            403 => "Authorization_RequestDenied",
            404 => "Request_ResourceNotFound",
            429 => "TooManyRequests",
            503 => "serviceNotAvailable",
            504 => "timeout",
            500.. => "generalException",
            _ => "Request_BadRequest",
        };
        return error_body(code, "Emulated fault.", now);
    }
    let (code, message) = match status.as_u16() {
        401 => ("Denied", "Denied by the resource provider."),
        403 => ("Forbidden", "The caller is not permitted to perform this operation."),
        404 => ("NotFound", "The resource was not found."),
        429 => ("TooManyRequests", "Too many requests. Try again later."),
        503 => ("ServiceUnavailable", "The service is temporarily unavailable."),
        504 => ("GatewayTimeout", "The service did not answer in time."),
        500.. => ("InternalServerError", "An internal error has occurred."),
        _ => ("BadRequest", "The request is invalid."),
    };
    json!({"error": {"code": code, "message": message}})
}

/// Spoils a good answer; an error passes as it is.
pub(crate) async fn spoil(fault: &Fault, response: Response, now: Timestamp) -> Response {
    if !fault.spoils() || !response.status().is_success() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The emulator's own answers are small.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut text = match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut value) => {
            spoil_json(fault, &mut value, now);
            value.to_string().into_bytes()
        }
        Err(_) => bytes.to_vec(),
    };
    if fault.broken_json {
        text.truncate(text.len() / 2);
    }
    if fault.wrong_content_type {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        parts.headers.insert(header::CONTENT_TYPE, html);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(text))
}

fn spoil_json(fault: &Fault, value: &mut Value, now: Timestamp) {
    if fault.empty_key_set {
        value["keys"] = json!([]);
    }
    if let Some(expires_on) = value.pointer_mut("/accessToken/expiresOn") {
        spoil_end(fault, expires_on, now);
    } else if let Some(expires_on) = value.pointer_mut("/expiresOn") {
        spoil_end(fault, expires_on, now);
    }
    if let Some(path) = &fault.missing_field {
        remove(value, path);
    }
    if let (Some(bytes), Value::Object(members)) = (fault.oversize, value) {
        members.insert("padding".to_owned(), Value::String("x".repeat(bytes)));
    }
}

fn spoil_end(fault: &Fault, expires_on: &mut Value, now: Timestamp) {
    let seconds = if fault.past_expires_on {
        Some(-60)
    } else {
        fault.lifetime
    };
    let end = match seconds {
        Some(seconds) => now
            .as_second()
            .checked_add(seconds)
            .and_then(|end| Timestamp::from_second(end).ok()),
        None => expires_on.as_str().and_then(|text| text.parse().ok()),
    };
    let offset = fault.expires_on_offset.as_deref().unwrap_or("+00:00");
    if let (Some(end), Some(seconds)) = (end, parse_offset(offset)) {
        *expires_on = json!(expires_on_text(end, seconds, offset));
    }
}

/// Takes out the member at a dotted path, if there is one.
fn remove(value: &mut Value, path: &str) {
    let (parent, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (format!("/{}", parent.replace('.', "/")), name),
        None => (String::new(), path),
    };
    match value.pointer_mut(&parent) {
        Some(Value::Object(members)) => {
            members.remove(name);
        }
        Some(Value::Array(items)) => {
            if let Ok(index) = name.parse::<usize>()
                && index < items.len()
            {
                items.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spoiled(fault: Fault, value: Value) -> (Option<String>, Vec<u8>) {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let response = spoil(&fault, Json(value).into_response(), now).await;
        let kind = response.headers()["content-type"].to_str().ok().map(str::to_owned);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (kind, body.to_vec())
    }

    #[tokio::test]
    async fn good_answers_are_spoiled_as_asked() {
        let good = || json!({"accessToken": {"token": "t", "expiresOn": "2026-01-01T01:00:00.0000000+00:00"}});
        let cases = [
            (json!({"past_expires_on": true}), "2025-12-31T23:59:00.0000000+00:00"),
            (json!({"lifetime": 90}), "2026-01-01T00:01:30.0000000+00:00"),
            (
                json!({"expires_on_offset": "-07:00"}),
                "2025-12-31T18:00:00.0000000-07:00",
            ),
            (json!({"expires_on_offset": "Z"}), "2026-01-01T01:00:00.0000000Z"),
        ];
        for (fault, expected) in cases {
            let (_, body) = spoiled(serde_json::from_value(fault).unwrap(), good()).await;
            let value: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["accessToken"]["expiresOn"], expected);
        }

        let fault = serde_json::from_value(json!({"missing_field": "accessToken.token"})).unwrap();
        let value: Value = serde_json::from_slice(&spoiled(fault, good()).await.1).unwrap();
        assert!(value["accessToken"].get("token").is_none());

        let fault = serde_json::from_value(json!({"broken_json": true, "wrong_content_type": true})).unwrap();
        let (kind, body) = spoiled(fault, good()).await;
        assert!(serde_json::from_slice::<Value>(&body).is_err());
        assert_eq!(kind.as_deref(), Some("text/html; charset=utf-8"));

        let fault = serde_json::from_value(json!({"oversize": 5000})).unwrap();
        assert!(spoiled(fault, good()).await.1.len() >= 5000);

        let fault = serde_json::from_value(json!({"missing_field": "keys.0.kid"})).unwrap();
        let (_, body) = spoiled(fault, json!({"keys": [{"kid": "a", "n": "b"}]})).await;
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({"keys": [{"n": "b"}]})
        );
    }
}
