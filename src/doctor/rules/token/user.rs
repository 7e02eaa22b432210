//! Whose token it is, and through which application.

use base::untrusted::Untrusted;

use super::super::super::check::{Check, CheckId, Who};
use super::Claims;

/// `token.delegated`
pub(super) fn delegated(claims: &Claims) -> Check {
    let id = CheckId::TokenDelegated;
    let fix = "sign a user in and send their access token; an app's own token (client credentials) and ID tokens do not count";
    let seen = if claims
        .text("scp")
        .unwrap_or_default()
        .split_whitespace()
        .next()
        .is_none()
    {
        "there is no `scp`".to_owned()
    } else if let Some(idtyp) = claims.text("idtyp").filter(|idtyp| *idtyp != "user") {
        format!("`idtyp` is `{}`", Untrusted::new(idtyp))
    } else if claims.has("cnf") {
        "`cnf` binds it to a key that a bearer does not prove".to_owned()
    } else if claims.text("oid").is_none() {
        "there is no `oid`".to_owned()
    } else {
        return Check::pass(id, "it is a user's token");
    };
    Check::fail(id, Who::Developer, format!("not a delegated user token: {seen}"), fix)
}

/// `token.client_app`
pub(super) fn client_app(claims: &Claims) -> Check {
    let id = CheckId::TokenClientApp;
    match claims.client_app() {
        Some(app) => Check::pass(id, format!("the client app is {}", Untrusted::new(app))),
        None => Check::fail(
            id,
            Who::Developer,
            "there is neither `azp` nor `appid`",
            "send an access token that Entra issued to an application",
        ),
    }
}
