//! What Entra's error objects mean: from `claims`, AADSTS codes, `suberror` and `error` to an [`EntraError`].
//!
//! RFC 6749 section 5.2; "Microsoft Entra authentication and authorization error codes"; "Claims challenges, claims
//! requests and client capabilities". The codes themselves are the table in `codes`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::super::redact::harmless_without;
use super::super::{Response, UpstreamFailure};
use super::codes::{self, Meaning, Refusal, Row};
use super::error::{Advice, EntraError, EntraSaid};

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

/// What an error object means, and by which code.
struct Verdict {
    meaning: Meaning,
    row: Option<&'static Row>,
}

/// What a 4xx other than 429 means. `secrets` are what was sent and must not be shown.
pub(super) fn of(response: &Response, secrets: &[&str], now: Timestamp) -> EntraError {
    let Ok(body) = serde_json::from_slice::<Body>(&response.body) else {
        let fault = format!("status {} without an error object", response.status.as_u16());
        return UpstreamFailure::InvalidResponse(fault).into();
    };
    let description = body.error_description.as_str().unwrap_or_default();
    let codes = codes_of(&body, description);
    let verdict = verdict(&body, &codes);
    let row = verdict.as_ref().and_then(|verdict| verdict.row);
    let said = |meaning: Option<Meaning>| EntraSaid {
        error: harmless_without(&body.error, secrets),
        // The code that decided says most; among unlisted ones a generic one comes last.
        code: row.map(|row| row.code).or_else(|| finest(&codes)),
        description: harmless_without(description, secrets),
        advice: meaning.map(|meaning| {
            Box::new(Advice {
                name: row.map(|row| row.name),
                to_do: row.map_or_else(|| codes::to_do(meaning), |row| row.to_do),
            })
        }),
    };
    if let Some(claims) = body.claims.as_str().filter(|claims| is_claims_request(claims)) {
        return EntraError::ClaimsChallenge {
            claims: Some(claims.into()),
            said: said(Some(Meaning::SignIn)),
        };
    }
    let Some(Verdict { meaning, .. }) = verdict else {
        let fault = format!("status {}: {}", response.status.as_u16(), said(None));
        return UpstreamFailure::InvalidResponse(fault).into();
    };
    let said = said(Some(meaning));
    match meaning {
        Meaning::SignIn => EntraError::ClaimsChallenge { claims: None, said },
        Meaning::Consent => EntraError::ConsentRequired(said),
        Meaning::Forbidden(refusal) => EntraError::UserForbidden { refusal, said },
        Meaning::Rejected => EntraError::TokenRejected(said),
        Meaning::Broker => EntraError::BrokerRejected(said),
        Meaning::Limited => UpstreamFailure::limited(response, now).into(),
        Meaning::Unavailable => UpstreamFailure::unavailable(response, said.to_string(), now).into(),
    }
}

/// The finest word counts: a listed code, wherever it stands; `suberror`; the number of an unlisted code, where its
/// range says something; a code that Entra puts around finer ones; and last `error`, which Entra chooses differently
/// from flow to flow.
fn verdict(body: &Body, codes: &[u32]) -> Option<Verdict> {
    let rows = || codes.iter().filter_map(|code| codes::row(*code));
    if let Some(row) = rows().find(|row| !row.coarse) {
        return Some(Verdict {
            meaning: beside_error(row.meaning, &body.error),
            row: Some(row),
        });
    }
    let without_row = |meaning| Verdict { meaning, row: None };
    if let Some(meaning) = body.suberror.as_str().and_then(suberror_means) {
        return Some(without_row(meaning));
    }
    if codes.iter().any(|code| codes::is_conditional_access(*code)) {
        return Some(without_row(Meaning::Forbidden(Refusal::Policy)));
    }
    if let Some(row) = rows().next() {
        return Some(Verdict {
            meaning: beside_error(row.meaning, &body.error),
            row: Some(row),
        });
    }
    error_means(&body.error).map(without_row)
}

/// Two errors say who a code is about, where the code alone would blame the user's token.
fn beside_error(meaning: Meaning, error: &str) -> Meaning {
    match (error, meaning) {
        // The assertion that is refused is the broker's own.
        ("invalid_client", Meaning::SignIn | Meaning::Rejected) => Meaning::Broker,
        ("interaction_required", Meaning::Rejected) => Meaning::SignIn,
        _ => meaning,
    }
}

/// All codes, those of `error_codes` first. The finer one may stand in the description alone.
fn codes_of(body: &Body, description: &str) -> Vec<u32> {
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
fn finest(codes: &[u32]) -> Option<u32> {
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
fn suberror_means(suberror: &str) -> Option<Meaning> {
    Some(match suberror {
        "basic_action"
        | "additional_action"
        | "user_password_expired"
        | "password_reset_required"
        | "device_authentication_failed" => Meaning::SignIn,
        "consent_required" => Meaning::Consent,
        // "Issue cannot be resolved": Entra has no more than a message for the user.
        "message_only" => Meaning::Forbidden(Refusal::Policy),
        "protection_policy_required" | "protection_policies_required" => Meaning::Forbidden(Refusal::App),
        "bad_token" | "token_expired" | "client_mismatch" => Meaning::Rejected,
        _ => return None,
    })
}

fn error_means(error: &str) -> Option<Meaning> {
    Some(match error {
        "interaction_required" | "login_required" => Meaning::SignIn,
        "consent_required" => Meaning::Consent,
        "access_denied" => Meaning::Forbidden(Refusal::Policy),
        "invalid_grant" => Meaning::Rejected,
        "invalid_client"
        | "unauthorized_client"
        | "invalid_request"
        | "invalid_scope"
        | "invalid_resource"
        | "invalid_target"
        | "invalid_tenant"
        | "unsupported_grant_type" => Meaning::Broker,
        "temporarily_unavailable" | "server_error" => Meaning::Unavailable,
        _ => return None,
    })
}
