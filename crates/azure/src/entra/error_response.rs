//! What Entra's error objects mean: from `claims`, AADSTS codes, `suberror` and `error` to an [`EntraError`].
//!
//! RFC 6749 section 5.2; "Microsoft Entra authentication and authorization error codes"; "Claims challenges, claims
//! requests and client capabilities". The codes themselves are the table in `codes`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::super::redact::harmless_without;
use super::super::{Response, UpstreamFailure};
use super::codes::{self, ErrorClass, Refusal, Row};
use super::error::{Advice, EntraError, EntraErrorResponse};

/// No claims challenge that Entra sends is as long; it goes into a header.
const MAX_CLAIMS: usize = 4096;

/// Only `error` has to be there, and be a text; of another type than documented, the others are as absent.
#[derive(Deserialize)]
struct Body {
    error: String,
    #[serde(default)]
    error_description: Value,
    #[serde(default)]
    error_codes: Value,
    #[serde(default)]
    suberror: Value,
    #[serde(default)]
    claims: Value,
}

/// The class of an error response, and the code that decided it.
struct Classified {
    class: ErrorClass,
    row: Option<&'static Row>,
}

/// What a 4xx other than 429 means. `secrets` are what was sent and must not be shown.
pub(super) fn read(response: &Response, secrets: &[&str], now: Timestamp) -> EntraError {
    let Ok(body) = serde_json::from_slice::<Body>(&response.body) else {
        let fault = format!("status {} without an error object", response.status.as_u16());
        return EntraError::Upstream(UpstreamFailure::InvalidResponse(fault));
    };
    let description = body.error_description.as_str().unwrap_or_default();
    let codes = all_codes(&body, description);
    let classified = classify(&body, &codes);
    let row = classified.as_ref().and_then(|classified| classified.row);
    let described = |class: Option<ErrorClass>| EntraErrorResponse {
        error: harmless_without(&body.error, secrets),
        // The code that decided says most; among unlisted ones a generic one comes last.
        code: row.map(|row| row.code).or_else(|| most_specific(&codes)),
        description: harmless_without(description, secrets),
        advice: class.map(|class| {
            Box::new(Advice {
                name: row.map(|row| row.name),
                to_do: row.map_or_else(|| codes::to_do(class), |row| row.to_do),
            })
        }),
    };
    if let Some(claims) = body.claims.as_str().filter(|claims| is_claims_request(claims)) {
        return EntraError::ClaimsChallenge {
            claims: Some(claims.into()),
            response: described(Some(ErrorClass::SignIn)),
        };
    }
    let Some(Classified { class, .. }) = classified else {
        let fault = format!("status {}: {}", response.status.as_u16(), described(None));
        return EntraError::Upstream(UpstreamFailure::InvalidResponse(fault));
    };
    let details = described(Some(class));
    match class {
        ErrorClass::SignIn => EntraError::ClaimsChallenge {
            claims: None,
            response: details,
        },
        ErrorClass::Consent => EntraError::ConsentRequired(details),
        ErrorClass::Forbidden(refusal) => EntraError::UserForbidden {
            refusal,
            response: details,
        },
        ErrorClass::Rejected => EntraError::TokenRejected(details),
        ErrorClass::Broker => EntraError::BrokerRejected(details),
        ErrorClass::Limited => EntraError::Upstream(UpstreamFailure::limited(response, now)),
        ErrorClass::Unavailable => {
            EntraError::Upstream(UpstreamFailure::unavailable(response, now).explained(details.to_string()))
        }
    }
}

/// The finest word counts: a listed code, wherever it stands; `suberror`; the number of an unlisted code, where its
/// range says something; a code that Entra puts around finer ones; and last `error`, which Entra chooses differently
/// from flow to flow.
fn classify(body: &Body, codes: &[u32]) -> Option<Classified> {
    let rows = || codes.iter().filter_map(|code| codes::row(*code));
    if let Some(row) = rows().find(|row| !row.coarse) {
        return Some(Classified {
            class: refined_by_error(row.class, &body.error),
            row: Some(row),
        });
    }
    let without_row = |class| Classified { class, row: None };
    if let Some(class) = body.suberror.as_str().and_then(class_of_suberror) {
        return Some(without_row(class));
    }
    if codes.iter().any(|code| codes::is_conditional_access(*code)) {
        return Some(without_row(ErrorClass::Forbidden(Refusal::Policy)));
    }
    if let Some(row) = rows().next() {
        return Some(Classified {
            class: refined_by_error(row.class, &body.error),
            row: Some(row),
        });
    }
    class_of_error(&body.error).map(without_row)
}

/// Two errors say who a code is about, where the code alone would blame the user's token.
fn refined_by_error(class: ErrorClass, error: &str) -> ErrorClass {
    match (error, class) {
        // The assertion that is refused is the broker's own.
        ("invalid_client", ErrorClass::SignIn | ErrorClass::Rejected) => ErrorClass::Broker,
        ("interaction_required", ErrorClass::Rejected) => ErrorClass::SignIn,
        _ => class,
    }
}

/// All codes, those of `error_codes` first. The finer one may stand in the description alone.
fn all_codes(body: &Body, description: &str) -> Vec<u32> {
    let listed = body.error_codes.as_array().into_iter().flatten();
    let listed = listed.filter_map(|code| match code {
        Value::String(text) => text.trim_start_matches("AADSTS").parse().ok(),
        code => u32::try_from(code.as_u64()?).ok(),
    });
    listed.chain(codes_in(description)).collect()
}

/// `AADSTS` and a number, as descriptions begin; older ones hold several.
fn codes_in(description: &str) -> impl Iterator<Item = u32> {
    description.split("AADSTS").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// The code to show where none decided.
fn most_specific(codes: &[u32]) -> Option<u32> {
    let coarse = |code: &u32| codes::row(*code).is_some_and(|row| row.coarse);
    codes.iter().find(|code| !coarse(code)).or(codes.first()).copied()
}

/// A claims request is a JSON object (OpenID Connect Core 1.0 section 5.5). Anything else is not passed on, and says
/// nothing.
fn is_claims_request(claims: &str) -> bool {
    claims.len() <= MAX_CLAIMS
        && serde_json::from_str::<serde_json::Map<String, Value>>(claims).is_ok_and(|map| !map.is_empty())
}

/// MSAL's reading of `suberror`: "Understanding `MsalUiRequiredException`".
fn class_of_suberror(suberror: &str) -> Option<ErrorClass> {
    Some(match suberror {
        "basic_action"
        | "additional_action"
        | "user_password_expired"
        | "password_reset_required"
        | "device_authentication_failed" => ErrorClass::SignIn,
        "consent_required" => ErrorClass::Consent,
        // "Issue cannot be resolved": Entra has no more than a message for the user.
        "message_only" => ErrorClass::Forbidden(Refusal::Policy),
        "protection_policy_required" | "protection_policies_required" => ErrorClass::Forbidden(Refusal::App),
        "bad_token" | "token_expired" | "client_mismatch" => ErrorClass::Rejected,
        _ => return None,
    })
}

fn class_of_error(error: &str) -> Option<ErrorClass> {
    Some(match error {
        "interaction_required" | "login_required" => ErrorClass::SignIn,
        "consent_required" => ErrorClass::Consent,
        "access_denied" => ErrorClass::Forbidden(Refusal::Policy),
        "invalid_grant" => ErrorClass::Rejected,
        "invalid_client"
        | "unauthorized_client"
        | "invalid_request"
        | "invalid_scope"
        | "invalid_resource"
        | "invalid_target"
        | "invalid_tenant"
        | "unsupported_grant_type" => ErrorClass::Broker,
        "temporarily_unavailable" | "server_error" => ErrorClass::Unavailable,
        _ => return None,
    })
}
