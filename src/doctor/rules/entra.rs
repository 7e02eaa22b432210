//! `clock.skew` and `entra.*`.

use std::time::Duration;

use azure::credential::AppError;
use azure::entra::EntraError;
use azure::{SendError, UpstreamFailure};
use base::ids::{ClientAppId, TenantId};
use config::{Config, UpstreamConfig};
use jiff::SignedDuration;
use url::Url;

use super::super::check::{Check, CheckId, Who};
use super::in_words;
use crate::authenticate::{Published, Unpublished};

/// `Date` has whole seconds, and an answer takes a while: as much difference means nothing.
const UNSURE: SignedDuration = SignedDuration::from_secs(2);

/// `clock.skew`: by the greatest difference seen. Ahead is positive.
#[must_use]
pub fn clock(differences: &[SignedDuration], leeway: Duration) -> Check {
    let Some(worst) = differences.iter().max_by_key(|difference| difference.abs()) else {
        return Check::skip(CheckId::ClockSkew, "no answer said what time it is");
    };
    let leeway = SignedDuration::try_from(leeway).unwrap_or(SignedDuration::MAX);
    let seconds = worst.abs().as_secs();
    let direction = if worst.is_negative() { "behind" } else { "ahead of" };
    let summary = format!(
        "this machine's clock is {seconds} s {direction} Azure's; entra.clock_skew allows {} s",
        leeway.as_secs()
    );
    let fix = "synchronize this machine's clock (chrony, systemd-timesyncd, the hypervisor's time)";
    if worst.abs() <= UNSURE {
        Check::pass(CheckId::ClockSkew, "this machine's clock agrees with Azure's")
    } else if worst.abs() > leeway {
        Check::fail(CheckId::ClockSkew, Who::Operator, summary, fix)
    } else if worst.abs().as_secs() * 2 > leeway.as_secs() {
        Check::warn(CheckId::ClockSkew, summary, fix).by(Who::Operator)
    } else {
        Check::pass(CheckId::ClockSkew, summary)
    }
}

/// What was seen of a tenant's discovery documents and keys.
pub struct TenantLook {
    /// The tenant.
    pub tenant: TenantId,
    /// Where it is looked up.
    pub authority: Url,
    /// Why nothing answered, if nothing did.
    pub unreachable: Option<SendError>,
    /// What the service would take from there.
    pub published: Result<Published, Unpublished>,
}

/// `entra.discovery` and `entra.keys` of one tenant.
#[must_use]
pub fn tenant(look: &TenantLook, upstream: &UpstreamConfig) -> [Check; 2] {
    let tenant = look.tenant;
    let (discovery, keys) = match (&look.published, &look.unreachable) {
        (Ok(published), _) => (
            Check::pass(
                CheckId::EntraDiscovery,
                format!(
                    "the discovery documents name the issuers {}",
                    published.issuers.join(" and ")
                ),
            ),
            Check::pass(
                CheckId::EntraKeys,
                match published.keys {
                    1 => "1 signing key can be used".to_owned(),
                    keys => format!("{keys} signing keys can be used"),
                },
            ),
        ),
        (Err(_), Some(error)) => {
            let (summary, fix) = in_words(error, &look.authority, upstream);
            (
                Check::fail(CheckId::EntraDiscovery, Who::Operator, summary, fix),
                Check::skip(CheckId::EntraKeys, "the discovery document that names them was not had"),
            )
        }
        (Err(wrong), None) if wrong.of_keys => (
            Check::pass(CheckId::EntraDiscovery, "the discovery documents are there"),
            Check::fail(
                CheckId::EntraKeys,
                Who::Operator,
                format!("the signing keys cannot be used: {}", wrong.cause),
                "check entra.authority, the tenant's app_id_for_keys, and what stands between (a proxy that rewrites answers)",
            ),
        ),
        (Err(wrong), None) => (
            Check::fail(
                CheckId::EntraDiscovery,
                Who::Operator,
                format!("the discovery documents cannot be used: {}", wrong.cause),
                "check the tenant's id under [[entra.tenants]], entra.cloud and entra.authority",
            ),
            Check::skip(CheckId::EntraKeys, "the discovery document that names them was not had"),
        ),
    };
    [discovery.about(tenant), keys.about(tenant)]
}

/// `entra.credential`: a token for the app in the tenant, or why there is none.
#[must_use]
pub fn credential(
    key: &str,
    app: ClientAppId,
    tenant: TenantId,
    outcome: &Result<(), AppError>,
    config: &Config,
) -> Check {
    let id = CheckId::EntraCredential;
    let check = match outcome {
        Ok(()) => Check::pass(id, format!("Entra accepts the credential of app {app} ({key})")),
        Err(error) => app_failure(id, key, app, tenant, error, config),
    };
    check.about(tenant)
}

/// Why an app got no token, as a check.
pub(super) fn app_failure(
    id: CheckId,
    key: &str,
    app: ClientAppId,
    tenant: TenantId,
    error: &AppError,
    config: &Config,
) -> Check {
    // AADSTS700016: unauthorized_client, the tenant has no service principal of the app. 7000229: the same, seen later.
    const NO_PRINCIPAL: [u32; 2] = [700_016, 7_000_229];
    match error {
        AppError::Entra(EntraError::BrokerRejected(response))
            if response.code.is_some_and(|code| NO_PRINCIPAL.contains(&code)) =>
        {
            Check::fail(
                id,
                Who::UserTenantAdmin,
                format!("app {app} ({key}) is not known in tenant {tenant}: {response}"),
                format!("consent to it there: {}", consent_url(config, tenant, app)),
            )
        }
        AppError::Entra(EntraError::Upstream(failure)) => undecided(id, "Entra", failure),
        AppError::Credential(error) => Check::fail(
            id,
            Who::Operator,
            format!("the credential of app {app} ({key}) cannot be used: {error}"),
            format!("mend the settings of [{key}]"),
        ),
        AppError::Entra(error) => Check::fail(
            id,
            Who::Operator,
            format!("{error} (app {app}, [{key}])"),
            format!("check client_id and credential of [{key}] against the app's registration, Certificates & secrets"),
        ),
    }
}

/// An upstream that fails leaves a check undecided, which may be trouble.
pub(super) fn undecided(id: CheckId, peer: &str, failure: &UpstreamFailure) -> Check {
    Check::warn(
        id,
        format!("not decided: {}", failure.describe(peer, "these requests")),
        "try again later; if it stays so, look at what stands between",
    )
}

/// Where an administrator of `tenant` consents to `app`.
#[must_use]
pub fn consent_url(config: &Config, tenant: TenantId, app: ClientAppId) -> Url {
    let own = config.entra.tenants.iter().find(|listed| listed.id == tenant);
    let mut url = own
        .and_then(|listed| listed.authority.clone())
        .unwrap_or_else(|| config.entra.authority.clone());
    url.set_path(&format!("/{tenant}/adminconsent"));
    url.set_query(Some(&format!("client_id={app}")));
    url
}

#[cfg(test)]
mod tests {
    use super::super::super::check::Status;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_is_allowed() {
        let status = |seconds: &[i64]| {
            let differences: Vec<_> = seconds
                .iter()
                .map(|seconds| SignedDuration::from_secs(*seconds))
                .collect();
            clock(&differences, Duration::from_secs(60)).status
        };
        for (seconds, expected) in [
            (&[][..], Status::Skip),
            (&[0, 1], Status::Pass),
            (&[-20], Status::Pass),
            (&[0, 40], Status::Warn),
            (&[-61, 3], Status::Fail),
            (&[600], Status::Fail),
        ] {
            assert_eq!(status(seconds), expected, "{seconds:?}");
        }
        let check = clock(&[SignedDuration::from_secs(-90)], Duration::from_secs(60));
        assert!(check.summary.contains("90 s behind"), "{}", check.summary);
    }
}
