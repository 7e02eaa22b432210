//! What a request's head says, as far as telemetry may show it: nothing that a caller makes up.

use axum::extract::Request;
use http::{Method, Version};

use ::serve::Connected;

/// What a method that is none of RFC 9110's or RFC 5789's is called in telemetry.
const OTHER_METHOD: &str = "_OTHER";

/// What telemetry may show of a request's first line and connection.
pub(super) struct Head {
    pub(super) method: &'static str,
    pub(super) route: Option<&'static str>,
    pub(super) scheme: &'static str,
    pub(super) version: &'static str,
}

impl Head {
    pub(super) fn from_request(request: &Request) -> Self {
        Self {
            method: known_method(request.method()),
            route: super::route_of(request.uri().path()),
            // Always there, but in a test without a socket.
            scheme: request
                .extensions()
                .get()
                .map_or("http", |connected: &Connected| connected.scheme.as_str()),
            version: protocol_version(request.version()),
        }
    }

    /// The route's path as it is below `base_path`.
    pub(super) fn path(&self, base_path: &str) -> Option<String> {
        self.route.map(|route| format!("{base_path}{route}"))
    }

    /// `{method} {route}`; an unknown method is called HTTP in a span's name (semantic conventions for HTTP spans).
    pub(super) fn span_name(&self) -> String {
        let verb = if self.method == OTHER_METHOD {
            "HTTP"
        } else {
            self.method
        };
        self.route
            .map_or_else(|| verb.to_owned(), |route| format!("{verb} {route}"))
    }
}

fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => OTHER_METHOD,
    }
}

/// The listener speaks no other.
fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
