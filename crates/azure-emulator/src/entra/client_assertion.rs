//! Client assertions: signed with a registered certificate, or a federated issuer's token in place of one.
//!
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>,
//! <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use uuid::Uuid;

use super::error::{EntraError, shortened};
use super::form::TokenCall;
use super::issuer::{v1_issuer, v2_issuer};
use super::state::Entra;
use super::token_endpoint::MANY_TENANTS;
use crate::federated::cluster_of;
use crate::jwt::{Algorithm, Decoded, decode};

/// The only type of client assertion that there is (RFC 7523 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far clocks may differ.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// Whether the assertion proves that the request is the client's.
pub(super) fn verify(call: &TokenCall<'_>, client: Uuid, assertion: &str) -> Result<(), EntraError> {
    if call.form.required("client_assertion_type")? != JWT_BEARER {
        let text = format!("The 'client_assertion_type' parameter must be '{JWT_BEARER}'.");
        return Err(EntraError::bad_request("invalid_request", 50027, text));
    }
    let decoded = decode(assertion).ok_or_else(|| malformed("JWT token is invalid or malformed."))?;
    // A token that the client signs names the client as its issuer; a federated issuer is an address.
    match decoded.text("iss") {
        Some(issuer) if issuer.starts_with("https://") || issuer.starts_with("http://") => {
            federated(call, &decoded, issuer)
        }
        Some(issuer) => with_certificate(call, client, &decoded, issuer),
        None => Err(malformed(
            "JWT token is invalid or malformed. The claim 'iss' is missing.",
        )),
    }
}

/// An assertion that the client signed itself.
fn with_certificate(call: &TokenCall<'_>, client: Uuid, decoded: &Decoded<'_>, issuer: &str) -> Result<(), EntraError> {
    let is_client = |text: &str| Uuid::try_parse(text).is_ok_and(|id| id == client);
    if !is_client(issuer) || !decoded.text("sub").is_some_and(is_client) {
        let text = "Client assertion application identifier doesn't match 'client_id' parameter. Review the \
                    documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials.";
        return Err(EntraError::invalid_client(700_021, text));
    }
    let (x5t, x5t_s256) = (decoded.header_text("x5t"), decoded.header_text("x5t#S256"));
    let registered = call.entra.registration.certificates();
    let certificate = registered
        .iter()
        .find(|certificate| {
            x5t_s256.is_some_and(|sent| is_thumbprint(sent, &certificate.x5t_s256))
                || x5t.is_some_and(|sent| is_thumbprint(sent, &certificate.x5t))
        })
        .ok_or_else(|| unknown_key(client, x5t_s256.or(x5t)))?;
    let algorithm = decoded
        .header_text("alg")
        .and_then(|name| name.parse::<Algorithm>().ok())
        .ok_or_else(|| malformed("JWT token is invalid or malformed. The signature algorithm is not supported."))?;
    if !decoded.is_signed_by(&certificate.public_key, algorithm) {
        let text = format!(
            "Client assertion failed signature validation. [Reason - The provided signature value did not match the \
             expected signature value., Thumbprint of key used by client: '{}', Found key 'Start={}, End={}'].",
            certificate.thumbprint,
            certificate.not_before.strftime("%m/%d/%Y %H:%M:%S"),
            certificate.not_after.strftime("%m/%d/%Y %H:%M:%S"),
        );
        return Err(EntraError::invalid_client(700_027, text));
    }
    let now = call.entra.site.now();
    if now >= certificate.not_after || now < certificate.not_before {
        let text = format!(
            "The certificate with identifier used to sign the client assertion is expired on application. [Reason - \
             The key used is expired., Thumbprint of key used by client: '{}', Found key 'Start={}, End={}'].",
            certificate.thumbprint,
            certificate.not_before.strftime("%m/%d/%Y %H:%M:%S"),
            certificate.not_after.strftime("%m/%d/%Y %H:%M:%S"),
        );
        return Err(EntraError::invalid_client(700_027, text));
    }
    in_time(decoded, now)?;
    let [audience] = decoded.audiences()[..] else {
        let text = "Number of audience values in the provided client credential exceed maximum allowed, or there is \
                    none. The maximum allowed is 1.";
        return Err(EntraError::invalid_client(5_002_741, text));
    };
    if !is_this_endpoint(call, audience) {
        let text = "Client assertion audience claim does not match Realm issuer. Review the documentation at \
                    https://learn.microsoft.com/entra/identity-platform/certificate-credentials.";
        return Err(EntraError::invalid_client(700_023, text));
    }
    if decoded.text("jti").is_none_or(str::is_empty) {
        return Err(malformed(
            "JWT token is invalid or malformed. The claim 'jti' is missing.",
        ));
    }
    Ok(())
}

/// Whether two thumbprints have the same bytes. The headers are base64url by RFC 7515, but clients send standard base64
/// and padding too, and Entra takes them: msal4j 1.26 does.
fn is_thumbprint(sent: &str, expected: &str) -> bool {
    let bytes = |text: &str| {
        let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    bytes(sent).is_some_and(|sent| Some(sent) == bytes(expected))
}

/// The endpoint that the request was sent to, or its tenant's issuer, with the tenant by id or domain.
fn is_this_endpoint(call: &TokenCall<'_>, audience: &str) -> bool {
    let tenant = call.tenant.id.to_string();
    [call.origin, call.entra.site.issuer_origin()]
        .into_iter()
        .any(|origin| {
            [tenant.as_str(), &call.tenant.domain]
                .into_iter()
                .chain(MANY_TENANTS)
                .any(|tenant| {
                    ["oauth2/v2.0/token", "oauth2/token", "v2.0"]
                        .into_iter()
                        .any(|rest| audience.eq_ignore_ascii_case(&format!("{origin}/{tenant}/{rest}")))
                })
        })
}

/// Another issuer's token. The registration must name its issuer, audience and subject, to the letter.
fn federated(call: &TokenCall<'_>, decoded: &Decoded<'_>, issuer: &str) -> Result<(), EntraError> {
    let mismatch = |code: u32, what: &str, value: &str| {
        let text = format!(
            "No matching federated identity record found for presented assertion {what} '{}'. Check your federated \
             identity credential Subject, Audience and Issuer against the presented assertion. \
             https://learn.microsoft.com/entra/workload-id/workload-identity-federation",
            shortened(value)
        );
        EntraError::invalid_client(code, text)
    };
    let registered = call.entra.registration.federated();
    let of_issuer: Vec<_> = registered.iter().filter(|found| found.issuer == issuer).collect();
    if of_issuer.is_empty() {
        return Err(mismatch(700_211, "issuer", issuer));
    }
    let audiences = decoded.audiences();
    let of_audience: Vec<_> = of_issuer
        .into_iter()
        .filter(|found| audiences.contains(&found.audience.as_str()))
        .collect();
    if of_audience.is_empty() {
        return Err(mismatch(700_212, "audience", &audiences.join(" ")));
    }
    let subject = decoded.text("sub").unwrap_or_default();
    if !of_audience.iter().any(|found| found.subject == subject) {
        return Err(mismatch(700_213, "subject", subject));
    }
    let kid = decoded.header_text("kid");
    if decoded.header_text("alg") != Some("RS256") || !is_signed_by_issuer(call.entra, decoded, issuer, kid) {
        let text = format!(
            "Client assertion failed signature validation. [Reason - The key was not found., Thumbprint of key used by \
             client: '{}', issuer of the assertion: '{}'].",
            shortened(kid.unwrap_or_default()),
            shortened(issuer)
        );
        return Err(EntraError::invalid_client(700_027, text));
    }
    in_time(decoded, call.entra.site.now())
}

/// Entra asks an issuer's discovery document for its keys. The emulator knows those of its own clusters and tenants,
/// and fetches from nowhere: another issuer has no keys here.
fn is_signed_by_issuer(entra: &Entra, decoded: &Decoded<'_>, issuer: &str, kid: Option<&str>) -> bool {
    let Some(kid) = kid else { return false };
    let key = match cluster_of(entra.site.issuer_origin(), issuer) {
        Some(cluster) => entra.clusters.find(cluster, kid),
        None => entra
            .scenario
            .tenants
            .iter()
            .map(|tenant| tenant.id)
            .find(|id| {
                issuer == v2_issuer(entra.site.issuer_origin(), *id)
                    || issuer == v1_issuer(entra.site.issuer_origin(), *id)
            })
            .and_then(|tenant| entra.keys.find(tenant, kid)),
    };
    key.is_some_and(|key| key.verifies(decoded))
}

fn in_time(decoded: &Decoded<'_>, now: Timestamp) -> Result<(), EntraError> {
    let seconds = now.as_second();
    let (exp, nbf) = (decoded.number("exp"), decoded.number("nbf"));
    let ended = exp.is_none_or(|exp| seconds >= exp.saturating_add(CLOCK_SKEW_SECONDS));
    let early = nbf.is_some_and(|nbf| nbf > seconds.saturating_add(CLOCK_SKEW_SECONDS));
    if !ended && !early {
        return Ok(());
    }
    let shown = |at: Option<i64>| {
        at.and_then(|at| Timestamp::from_second(at).ok())
            .map_or_else(|| "none".to_owned(), |at| at.to_string())
    };
    let text = format!(
        "Client assertion is not within its valid time range. Current time: {now}, assertion valid from {}, expiry time \
         of assertion {}. Review the documentation at \
         https://learn.microsoft.com/entra/identity-platform/certificate-credentials.",
        shown(nbf),
        shown(exp)
    );
    Err(EntraError::invalid_client(700_024, text))
}

fn unknown_key(client: Uuid, thumbprint: Option<&str>) -> EntraError {
    let used = thumbprint.map_or_else(String::new, |text| {
        format!(" Thumbprint of key used by client: '{}',", shortened(text))
    });
    let text = format!(
        "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - \
         The key was not found.,{used} Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see \
         configured keys for app Id '{client}'. Review the documentation at \
         https://docs.microsoft.com/en-us/graph/deployments to determine the corresponding service endpoint and \
         https://docs.microsoft.com/en-us/graph/api/application-get?view=graph-rest-1.0&tabs=http to build a query \
         request URL, such as 'https://graph.microsoft.com/beta/applications/{client}']."
    );
    EntraError::invalid_client(700_027, text)
}

fn malformed(text: &str) -> EntraError {
    EntraError::invalid_client(50027, text)
}
