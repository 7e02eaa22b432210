use std::collections::{BTreeSet, HashSet};
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use strum::EnumCount;

use super::*;
use crate::authenticate::{Malformed, NotDelegated, Rejection};
use crate::authorize::Denied;
use crate::authorize::membership::MembershipError;
use crate::exchange::{EntraError, EntraErrorResponse, ExchangeError, Refusal};
use crate::limits::{Exceeded, Limit};
use crate::pipeline::CallerIds;
use azure::UpstreamFailure;
use base::flight::Lost;
use base::untrusted::Untrusted;

type Row = (ApiError, u16, &'static str, Option<&'static str>, bool, &'static str);

/// Every cause with what callers hold on to: status, code, inner code, whether `Retry-After`, OAuth's code.
#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<Row> {
    let tenant = "11111111-0000-4000-8000-000000000001".parse().unwrap();
    let text = || Untrusted::new("x");
    let caller = CallerIds::for_test;
    let issue = ApiError::Issue;
    let now = jiff::Timestamp::UNIX_EPOCH;
    let second = Duration::from_secs(1);
    let limited = || UpstreamFailure::Limited { retry_after: second };
    let unavailable = || UpstreamFailure::Unavailable {
        cause: String::new(),
        retry_after: Some(second),
    };
    let invalid = || UpstreamFailure::InvalidResponse(String::new());
    let token = |rejection, inner| {
        (
            issue(IssueError::Rejected(rejection)),
            401,
            "InvalidToken",
            Some(inner),
            false,
            "invalid_request",
        )
    };
    let exchange = |error, status, code, inner, retry, oauth| {
        (
            issue(IssueError::Exchange {
                error,
                caller: caller(),
            }),
            status,
            code,
            inner,
            retry,
            oauth,
        )
    };
    let too_many = |error, inner| {
        let retry = true;
        (
            issue(error),
            429,
            "TooManyRequests",
            Some(inner),
            retry,
            "temporarily_unavailable",
        )
    };
    let upstream_limit = |error| {
        let caller = caller();
        too_many(IssueError::Exchange { error, caller }, "UpstreamLimit")
    };
    let broker_limit = |error| too_many(error, "BrokerLimit");
    let exceeded = || Exceeded {
        limit: Limit::PerUser,
        retry_after: second,
    };
    let membership = |error, status, code, inner, retry, oauth| {
        let denied = Denied::MembershipUnknown(error);
        (
            issue(IssueError::Denied {
                denied,
                caller: caller(),
            }),
            status,
            code,
            inner,
            retry,
            oauth,
        )
    };
    let response = || EntraErrorResponse {
        error: text(),
        code: None,
        description: text(),
        advice: None,
    };
    let entra = |error, status, code, inner, retry, oauth| {
        exchange(ExchangeError::from(error), status, code, inner, retry, oauth)
    };
    let overloaded = |overloaded| {
        (
            issue(IssueError::Overloaded(overloaded)),
            503,
            "Overloaded",
            None,
            true,
            "temporarily_unavailable",
        )
    };
    let plain = |error, status, code| (error, status, code, None, false, "invalid_request");
    vec![
        plain(ApiError::InvalidRequest("m"), 400, "InvalidRequest"),
        plain(ApiError::MissingApiVersion, 400, "MissingApiVersionParameter"),
        plain(
            ApiError::UnsupportedApiVersion {
                version: text(),
                setting: "api_versions",
            },
            400,
            "UnsupportedApiVersionValue",
        ),
        plain(ApiError::AuthenticationRequired, 401, "AuthenticationRequired"),
        token(Rejection::Malformed(Malformed::Parts), "Malformed"),
        token(Rejection::UnsupportedAlgorithm(text()), "UnsupportedAlgorithm"),
        token(Rejection::UnknownTenant(text()), "UnknownTenant"),
        token(Rejection::NoKeyId, "UnknownKey"),
        token(Rejection::UnknownKey { tenant, kid: text() }, "UnknownKey"),
        token(Rejection::InvalidSignature { tenant, kid: text() }, "InvalidSignature"),
        token(Rejection::MissingClaim("exp"), "MissingClaim"),
        token(Rejection::InvalidIssuer { tenant, issuer: text() }, "InvalidIssuer"),
        token(Rejection::InvalidAudience(text()), "InvalidAudience"),
        token(Rejection::ForOtherPath(text()), "InvalidAudience"),
        token(Rejection::Expired { expired_at: now, now }, "Expired"),
        token(
            Rejection::NotYetValid {
                claim: "nbf",
                valid_from: now,
                now,
            },
            "NotYetValid",
        ),
        token(Rejection::NotDelegated(NotDelegated::NoScopes), "NotDelegated"),
        (
            issue(IssueError::Rejected(Rejection::KeysUnavailable {
                tenant,
                retry_after: second,
            })),
            503,
            "KeysUnavailable",
            None,
            true,
            "temporarily_unavailable",
        ),
        plain(
            issue(IssueError::Rejected(Rejection::InsufficientScope(text()))),
            403,
            "InsufficientScope",
        ),
        (
            issue(IssueError::Denied {
                denied: Denied::NoAssignment,
                caller: caller(),
            }),
            403,
            "NotAssigned",
            Some("NoAssignment"),
            false,
            "invalid_request",
        ),
        (
            issue(IssueError::Denied {
                denied: Denied::GroupsUnknown,
                caller: caller(),
            }),
            403,
            "NotAssigned",
            Some("GroupsUnknown"),
            false,
            "invalid_request",
        ),
        (
            issue(IssueError::Denied {
                denied: Denied::NotLoaded,
                caller: caller(),
            }),
            503,
            "AssignmentsUnavailable",
            None,
            true,
            "temporarily_unavailable",
        ),
        membership(
            MembershipError::BrokerRejected(String::new()),
            502,
            "UpstreamRejectedBroker",
            None,
            false,
            "server_error",
        ),
        membership(
            MembershipError::Upstream(limited()),
            429,
            "TooManyRequests",
            Some("UpstreamLimit"),
            true,
            "temporarily_unavailable",
        ),
        membership(
            MembershipError::Upstream(unavailable()),
            503,
            "UpstreamUnavailable",
            None,
            true,
            "temporarily_unavailable",
        ),
        membership(
            MembershipError::Upstream(UpstreamFailure::Timeout),
            503,
            "UpstreamUnavailable",
            None,
            true,
            "temporarily_unavailable",
        ),
        membership(
            MembershipError::Unfinished,
            503,
            "UpstreamUnavailable",
            None,
            true,
            "temporarily_unavailable",
        ),
        membership(
            MembershipError::Upstream(invalid()),
            502,
            "UpstreamInvalidResponse",
            None,
            false,
            "server_error",
        ),
        membership(
            MembershipError::Lost(Lost),
            500,
            "InternalError",
            None,
            false,
            "server_error",
        ),
        exchange(
            ExchangeError::Rejected(None),
            401,
            "InvalidToken",
            Some("RejectedUpstream"),
            false,
            "invalid_request",
        ),
        exchange(
            ExchangeError::TokenExpired,
            401,
            "InvalidToken",
            Some("Expired"),
            false,
            "invalid_request",
        ),
        exchange(
            ExchangeError::Forbidden(None),
            403,
            "ExchangeForbidden",
            None,
            false,
            "invalid_request",
        ),
        exchange(
            ExchangeError::Upstream(limited()),
            429,
            "TooManyRequests",
            Some("UpstreamLimit"),
            true,
            "temporarily_unavailable",
        ),
        upstream_limit(ExchangeError::BudgetExhausted(second)),
        upstream_limit(ExchangeError::QueueFull(second)),
        upstream_limit(ExchangeError::RenewalSkipped),
        upstream_limit(ExchangeError::TurnMissed),
        upstream_limit(ExchangeError::Abandoned),
        broker_limit(IssueError::Exceeded(exceeded())),
        broker_limit(IssueError::Exchange {
            error: ExchangeError::Exceeded(exceeded()),
            caller: caller(),
        }),
        broker_limit(IssueError::Denied {
            denied: Denied::MembershipUnknown(MembershipError::Exceeded(exceeded())),
            caller: caller(),
        }),
        exchange(
            ExchangeError::Upstream(unavailable()),
            503,
            "UpstreamUnavailable",
            None,
            true,
            "temporarily_unavailable",
        ),
        exchange(
            ExchangeError::Upstream(UpstreamFailure::Timeout),
            504,
            "UpstreamTimeout",
            None,
            false,
            "temporarily_unavailable",
        ),
        exchange(
            ExchangeError::Upstream(invalid()),
            502,
            "UpstreamInvalidResponse",
            None,
            false,
            "server_error",
        ),
        exchange(
            ExchangeError::InvalidResponse(String::new()),
            502,
            "UpstreamInvalidResponse",
            None,
            false,
            "server_error",
        ),
        exchange(
            ExchangeError::Lost(Lost),
            500,
            "InternalError",
            None,
            false,
            "server_error",
        ),
        (
            ApiError::UnsupportedGrantType,
            400,
            "InvalidRequest",
            None,
            false,
            "unsupported_grant_type",
        ),
        (
            ApiError::InvalidTarget,
            400,
            "InvalidRequest",
            None,
            false,
            "invalid_target",
        ),
        (
            issue(IssueError::ScopeMismatch(text())),
            400,
            "InvalidRequest",
            None,
            false,
            "invalid_scope",
        ),
        plain(ApiError::NotFound, 404, "NotFound"),
        plain(ApiError::MethodNotAllowed, 405, "MethodNotAllowed"),
        plain(ApiError::PayloadTooLarge, 413, "PayloadTooLarge"),
        plain(ApiError::UnsupportedMediaType, 415, "UnsupportedMediaType"),
        plain(ApiError::FormRequired, 415, "UnsupportedMediaType"),
        (
            ApiError::InvalidClient,
            401,
            "InvalidRequest",
            None,
            false,
            "invalid_client",
        ),
        plain(ApiError::HeadersTooLarge, 431, "HeadersTooLarge"),
        (
            issue(IssueError::TargetMismatch(caller())),
            400,
            "InvalidRequest",
            None,
            false,
            "invalid_target",
        ),
        exchange(
            ExchangeError::NoScope,
            403,
            "NotAssigned",
            Some("NoAssignment"),
            false,
            "invalid_request",
        ),
        exchange(
            ExchangeError::BrokerRejected(String::new()),
            502,
            "UpstreamRejectedBroker",
            None,
            false,
            "server_error",
        ),
        exchange(
            ExchangeError::WrongAudience,
            401,
            "InvalidToken",
            Some("InvalidAudience"),
            false,
            "invalid_request",
        ),
        exchange(
            ExchangeError::WrongPath,
            400,
            "InvalidRequest",
            None,
            false,
            "invalid_request",
        ),
        entra(
            EntraError::ClaimsChallenge {
                claims: None,
                response: response(),
            },
            401,
            "InsufficientClaims",
            None,
            false,
            "interaction_required",
        ),
        entra(
            EntraError::ConsentRequired(response()),
            403,
            "ExchangeForbidden",
            None,
            false,
            "invalid_request",
        ),
        entra(
            EntraError::UserForbidden {
                refusal: Refusal::Policy,
                response: response(),
            },
            403,
            "ExchangeForbidden",
            None,
            false,
            "invalid_request",
        ),
        entra(
            EntraError::TokenRejected(response()),
            401,
            "InvalidToken",
            Some("RejectedUpstream"),
            false,
            "invalid_request",
        ),
        entra(
            EntraError::BrokerRejected(response()),
            502,
            "UpstreamRejectedBroker",
            None,
            false,
            "server_error",
        ),
        entra(
            EntraError::Upstream(limited()),
            429,
            "TooManyRequests",
            Some("UpstreamLimit"),
            true,
            "temporarily_unavailable",
        ),
        entra(
            EntraError::Upstream(unavailable()),
            503,
            "UpstreamUnavailable",
            None,
            true,
            "temporarily_unavailable",
        ),
        entra(
            EntraError::Upstream(UpstreamFailure::Timeout),
            504,
            "UpstreamTimeout",
            None,
            false,
            "temporarily_unavailable",
        ),
        entra(
            EntraError::Upstream(invalid()),
            502,
            "UpstreamInvalidResponse",
            None,
            false,
            "server_error",
        ),
        entra(
            EntraError::NoTokenEndpoint,
            502,
            "UpstreamInvalidResponse",
            None,
            false,
            "server_error",
        ),
        plain(ApiError::RequestTimeout, 408, "RequestTimeout"),
        (
            issue(IssueError::DeadlineExceeded),
            504,
            "UpstreamTimeout",
            None,
            false,
            "temporarily_unavailable",
        ),
        overloaded(Overloaded::Requests),
        overloaded(Overloaded::Exchanges),
        overloaded(Overloaded::Memory),
        exchange(
            ExchangeError::Overloaded(Overloaded::Exchanges),
            503,
            "Overloaded",
            None,
            true,
            "temporarily_unavailable",
        ),
        (
            ApiError::ShuttingDown,
            503,
            "ShuttingDown",
            None,
            true,
            "temporarily_unavailable",
        ),
        (ApiError::Internal, 500, "InternalError", None, false, "server_error"),
    ]
}

/// A cause without a row would be in no test of this file.
#[test]
fn the_table_has_every_cause() {
    fn assert_all<T: EnumCount>(of: impl for<'e> Fn(&'e ApiError) -> Option<&'e T>) {
        let table = table();
        let causes: HashSet<Discriminant<T>> = table
            .iter()
            .filter_map(|(error, ..)| of(error))
            .map(discriminant)
            .collect();
        let name = std::any::type_name::<T>();
        assert_eq!(causes.len(), T::COUNT, "the table has not every variant of {name}");
    }
    fn issue(error: &ApiError) -> Option<&IssueError> {
        match error {
            ApiError::Issue(error) => Some(error),
            _ => None,
        }
    }
    fn denied(error: &ApiError) -> Option<&Denied> {
        match issue(error)? {
            IssueError::Denied { denied, .. } => Some(denied),
            _ => None,
        }
    }
    fn membership(error: &ApiError) -> Option<&MembershipError> {
        match denied(error)? {
            Denied::MembershipUnknown(error) => Some(error),
            _ => None,
        }
    }
    fn exchange(error: &ApiError) -> Option<&ExchangeError> {
        match issue(error)? {
            IssueError::Exchange { error, .. } => Some(error),
            _ => None,
        }
    }
    fn entra(error: &ApiError) -> Option<&EntraError> {
        match exchange(error)? {
            ExchangeError::OnBehalfOf(error) => Some(error),
            _ => None,
        }
    }
    assert_all::<ApiError>(|error| Some(error));
    assert_all(issue);
    assert_all(denied);
    assert_all(membership);
    assert_all(exchange);
    assert_all(entra);
    assert_all::<Rejection>(|error| match issue(error)? {
        IssueError::Rejected(rejection) => Some(rejection),
        _ => None,
    });
    assert_all::<Overloaded>(|error| match issue(error)? {
        IssueError::Overloaded(overloaded) => Some(overloaded),
        _ => None,
    });
    assert_all::<UpstreamFailure>(|error| match membership(error)? {
        MembershipError::Upstream(failure) => Some(failure),
        _ => None,
    });
    assert_all::<UpstreamFailure>(|error| match exchange(error)? {
        ExchangeError::Upstream(failure) => Some(failure),
        _ => None,
    });
    assert_all::<UpstreamFailure>(|error| match entra(error)? {
        EntraError::Upstream(failure) => Some(failure),
        _ => None,
    });
}

#[test]
fn every_cause_has_its_status_code_and_headers() {
    for (error, status, code, inner, retry, oauth) in table() {
        let response = error.response();
        assert_eq!(
            (
                response.status.as_u16(),
                response.code,
                response.inner,
                response.retry_after.is_some(),
                response.oauth
            ),
            (status, code, inner, retry, oauth),
            "{error:?}"
        );
        assert_eq!(
            response.challenge.is_some(),
            status == 401 || code == "InsufficientScope",
            "{error:?}"
        );
        assert!(
            !response.message.contains('"') && response.message.is_ascii(),
            "fit for a header: {}",
            response.message
        );
    }
}

#[test]
fn metrics_count_the_codes_that_callers_get() {
    use ::telemetry::metrics::labels::Refusal;
    let mut codes = BTreeSet::new();
    for (error, _, code, inner, ..) in table() {
        codes.insert(code);
        if let ApiError::Issue(IssueError::Rejected(rejection)) = &error {
            assert_eq!(rejection.counted().into_str(), inner.unwrap_or(code), "{error:?}");
        }
        if let ApiError::Issue(IssueError::Denied { denied, .. }) = &error {
            let counted = denied.counted().into_str();
            assert!(
                inner.is_none_or(|inner| inner == counted || ["UpstreamLimit", "BrokerLimit"].contains(&inner)),
                "{error:?}"
            );
        }
    }
    for refusal in Refusal::ALL {
        assert!(codes.contains(refusal.into_str()), "{refusal:?}");
    }
}

#[test]
fn the_api_description_lists_every_code_and_no_other() {
    let description: serde_json::Value = serde_saphyr::from_str(include_str!("../../openapi.yaml")).unwrap();
    let schemas = &description["components"]["schemas"];
    let listed = |schema: &serde_json::Value| -> BTreeSet<String> {
        let codes = schema["x-extensible-enum"].as_array().unwrap().iter();
        codes.map(|code| code.as_str().unwrap().to_owned()).collect()
    };
    let responses: Vec<ErrorResponse> = table().iter().map(|(error, ..)| error.response()).collect();
    let codes = |code: fn(&ErrorResponse) -> Option<&'static str>| -> BTreeSet<String> {
        responses.iter().filter_map(code).map(str::to_owned).collect()
    };
    assert_eq!(listed(&schemas["ErrorCode"]), codes(|response| Some(response.code)));
    assert_eq!(listed(&schemas["InnerErrorCode"]), codes(|response| response.inner));
    let oauth = &schemas["OAuthError"]["properties"]["error"];
    assert_eq!(listed(oauth), codes(|response| Some(response.oauth)));
}

/// `docs/troubleshooting.md`: its table from codes to entries, and the entries.
#[test]
fn the_troubleshooting_guide_has_every_code_and_no_other() {
    let guide = include_str!("../../docs/troubleshooting.md");
    let codes: BTreeSet<(String, String, String)> = table()
        .iter()
        .map(|(error, ..)| {
            let response = error.response();
            let inner = response.inner.unwrap_or_default();
            (
                response.status.as_str().to_owned(),
                response.code.to_owned(),
                inner.to_owned(),
            )
        })
        .collect();

    let (_, rows) = guide.split_once("\n## From the code to the entry\n").unwrap();
    let (rows, entries) = rows.split_once("\n## Errors\n").unwrap();
    let code = |cell: &str| cell.split('`').nth(1).unwrap_or_default().to_owned();
    let rows: BTreeSet<_> = rows
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| status"))
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            (
                cells[0].trim_start_matches("| ").to_owned(),
                code(cells[1]),
                code(cells[2]),
            )
        })
        .collect();
    let differ: Vec<_> = rows.symmetric_difference(&codes).collect();
    assert!(differ.is_empty(), "only in the table or only in the source: {differ:?}");

    let (entries, _) = entries.split_once("\n## ").unwrap();
    let mut outer = "";
    let mut documented = BTreeSet::new();
    for entry in entries
        .split("\n### ")
        .flat_map(|entry| entry.split("\n#### ").enumerate())
        .skip(1)
    {
        let (heading, text) = entry.1.split_once('\n').unwrap();
        let inner = if entry.0 == 0 { "" } else { heading };
        if inner.is_empty() {
            outer = heading;
        }
        documented.insert((outer.to_owned(), inner.to_owned()));
        for part in ["**Means.**", "**Log.**", "**Do.**"] {
            assert!(text.contains(part), "{heading} has no {part}");
        }
    }
    let expected: BTreeSet<_> = codes
        .into_iter()
        .flat_map(|(_, code, inner)| [(code.clone(), String::new()), (code, inner)])
        .collect();
    let differ: Vec<_> = documented.symmetric_difference(&expected).collect();
    assert!(
        differ.is_empty(),
        "only in the entries or only in the source: {differ:?}"
    );
}
