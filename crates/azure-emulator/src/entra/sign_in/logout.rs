//! `GET` and `POST /{tenant}/oauth2/v2.0/logout`. There is no session to end: the user is sent back, or shown a page.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request>

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::SignInState;
use super::authorize::error_page;
use super::html::{Html, page};
use super::reply::{encoded, redirect};
use crate::entra::form::{Form, is_form};
use crate::entra::token_endpoint::Directory;
use crate::request::read_body;

pub(super) async fn get(
    State(state): State<SignInState>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    answer(&state, &tenant, &Form::parse(query.unwrap_or_default().as_bytes()))
}

pub(super) async fn post(State(state): State<SignInState>, Path(tenant): Path<String>, request: Request) -> Response {
    let is_form = is_form(request.headers());
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    answer(&state, &tenant, &Form::parse(if is_form { &body } else { b"" }))
}

fn answer(state: &SignInState, tenant: &str, form: &Form) -> Response {
    if let Err(error) = Directory::parse(&state.entra.scenario, tenant) {
        return error_page(&error);
    }
    let back = form
        .optional("post_logout_redirect_uri")
        .filter(|uri| state.entra.site.redirect_origin(uri).is_some());
    if let Some(back) = back {
        return redirect(&match form.optional("state") {
            Some(value) => {
                let separator = if back.contains('?') { '&' } else { '?' };
                format!("{back}{separator}{}", encoded(&[("state", value.to_owned())]))
            }
            None => back.to_owned(),
        });
    }
    // An address that is not registered is passed over, as at Entra.
    let mut html = Html::default();
    html.raw("<h1>You signed out</h1>\n<p class=\"lead\">You may close this window.</p>\n");
    page(StatusCode::OK, "You signed out", &html, None)
}
