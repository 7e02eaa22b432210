//! What Entra's error objects mean: from `claims`, AADSTS codes, `suberror` and `error` to an [`EntraError`].
//!
//! RFC 6749 section 5.2; "Microsoft Entra authentication and authorization error codes"; "Claims challenges, claims
//! requests and client capabilities".

use jiff::Timestamp;
use serde::Deserialize;

use super::super::Response;
use super::super::redact::harmless_without;
use super::error::{EntraError, EntraSaid};

/// No claims challenge that Entra sends is as long; it goes into a header.
const MAX_CLAIMS: usize = 4096;

/// What a code, or an `error` without a known code, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Interaction,
    Consent,
    Forbidden,
    Rejected,
    Broker,
    Limited,
    Unavailable,
}

#[derive(Deserialize)]
struct Body {
    error: String,
    #[serde(default)]
    error_description: String,
    #[serde(default)]
    error_codes: Vec<serde_json::Value>,
    #[serde(default)]
    suberror: serde_json::Value,
    #[serde(default)]
    claims: serde_json::Value,
}

/// What a 4xx other than 429 means. `secrets` are what was sent and must not be told.
pub(super) fn of(response: &Response, secrets: &[&str], now: Timestamp) -> EntraError {
    let Ok(body) = serde_json::from_slice::<Body>(&response.body) else {
        return EntraError::InvalidResponse(format!("status {} without an error object", response.status.as_u16()));
    };
    let codes: Vec<u32> = body
        .error_codes
        .iter()
        .filter_map(|code| u32::try_from(code.as_u64()?).ok())
        .chain(code_in(&body.error_description))
        .collect();
    let said = EntraSaid {
        error: harmless_without(&body.error, secrets),
        code: codes.first().copied(),
        description: harmless_without(&body.error_description, secrets),
    };
    if let Some(claims) = body.claims.as_str().filter(|claims| !claims.is_empty()) {
        return EntraError::ClaimsChallenge {
            claims: is_claims_request(claims).then(|| claims.to_owned()),
            said,
        };
    }
    match meaning(&body, &codes) {
        Some(Meaning::Interaction) => EntraError::ClaimsChallenge { claims: None, said },
        Some(Meaning::Consent) => EntraError::ConsentRequired(said),
        Some(Meaning::Forbidden) => EntraError::UserForbidden(said),
        Some(Meaning::Rejected) => EntraError::TokenRejected(said),
        Some(Meaning::Broker) => EntraError::BrokerRejected(said),
        Some(Meaning::Limited) => EntraError::Limited {
            retry_after: response.asks_to_wait(now),
        },
        Some(Meaning::Unavailable) => EntraError::Unavailable {
            cause: said.to_string(),
            retry_after: response.asks_to_wait(now),
        },
        None => EntraError::InvalidResponse(format!("status {}: {said}", response.status.as_u16())),
    }
}

/// Codes are finer than errors, but for two: Entra says itself whose credential is refused, and who must act.
fn meaning(body: &Body, codes: &[u32]) -> Option<Meaning> {
    let by_code = codes.iter().find_map(|code| code_means(*code));
    match (body.error.as_str(), by_code) {
        // Also of an `invalid_client`: the tenant lacks a service principal.
        (_, Some(Meaning::Consent)) => Some(Meaning::Consent),
        ("invalid_client", _) => Some(Meaning::Broker),
        ("interaction_required", _) => Some(Meaning::Interaction),
        (_, Some(meaning)) => Some(meaning),
        (_, None) if body.suberror.as_str() == Some("consent_required") => Some(Meaning::Consent),
        (error, None) => error_means(error),
    }
}

/// `AADSTS` and a number, as descriptions begin.
fn code_in(description: &str) -> Option<u32> {
    let (_, rest) = description.split_once("AADSTS")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// A claims request is a JSON object (OpenID Connect Core 1.0 section 5.5). Anything else is not passed on.
fn is_claims_request(claims: &str) -> bool {
    claims.len() <= MAX_CLAIMS
        && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(claims).is_ok_and(|map| !map.is_empty())
}

fn code_means(code: u32) -> Option<Meaning> {
    Some(match code {
        // Second factors, their registration, expired passwords, device and sign-in prompts.
        16000 | 50055 | 50058 | 50072 | 50074 | 50076 | 50079 | 50097 | 50125 | 50127 | 50129 | 50140 | 50144
        | 50158 | 50187 | 53004 | 53010 | 50078 | 530_031 => Meaning::Interaction,
        // The user, his administrator or the whole tenant has not let the app in.
        65001 | 65004 | 90008 | 90094 | 90095 | 90099 | 500_011 | 500_014 | 650_051 | 650_052 | 650_056 | 700_016
        | 7_000_112 | 7_000_229 => Meaning::Consent,
        // Not assigned, disabled, deleted, locked, or blocked by conditional access.
        50020 | 50034 | 50053 | 50057 | 50105 | 50177 | 50178 | 53000 | 53001 | 53002 | 53003 | 53009 | 53011
        | 500_341 | 500_212 | 500_213 | 530_032 | 530_033 | 530_034 | 530_035 => Meaning::Forbidden,
        // The presented token: forged, for another app, over, revoked, or of a session that is.
        50013 | 50089 | 50132 | 50133 | 50173 | 70008 | 70043 | 70044 | 500_131 | 500_132 | 500_133 | 500_136
        | 500_137 | 700_082 | 700_084 => Meaning::Rejected,
        // The broker's secret, certificate, federated token, registration or settings.
        50012 | 50049 | 50194 | 65002 | 65005 | 70001 | 70002 | 70011 | 70021 | 70025 | 70030 | 90002 | 90023
        | 90112 | 500_021 | 501_461 | 700_005 | 700_021 | 700_022 | 700_023 | 700_024 | 700_025 | 700_027 | 700_030
        | 700_211 | 700_212 | 700_213 | 700_222 | 700_223 | 700_224 | 700_226 | 700_229 | 700_230 | 700_231
        | 700_232 | 700_236 | 700_238 | 900_023 | 900_382 | 7_000_113 | 7_000_114 | 7_000_215 | 7_000_216
        | 7_000_218 | 7_000_222 => Meaning::Broker,
        // "The server terminated an operation because it encountered a loop."
        50196 => Meaning::Limited,
        90006 | 90012 | 90020 | 90024 | 90033 => Meaning::Unavailable,
        _ => return None,
    })
}

fn error_means(error: &str) -> Option<Meaning> {
    Some(match error {
        "interaction_required" | "login_required" => Meaning::Interaction,
        "consent_required" => Meaning::Consent,
        "access_denied" => Meaning::Forbidden,
        "invalid_grant" => Meaning::Rejected,
        "invalid_client"
        | "unauthorized_client"
        | "invalid_request"
        | "invalid_scope"
        | "invalid_resource"
        | "invalid_target"
        | "unsupported_grant_type" => Meaning::Broker,
        "temporarily_unavailable" | "server_error" => Meaning::Unavailable,
        _ => return None,
    })
}
