//! `GET` and `POST /{tenant}/oauth2/v2.0/authorize`: the authorization code flow.

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use uuid::Uuid;

use super::SignInState;
use super::html::{Html, page};
use super::request::{AuthorizeRequest, Refusal};
use super::steps::Progress;
use crate::entra::error::EntraError;
use crate::entra::form::{Form, is_form};
use crate::entra::identity::client_info;
use crate::request::read_body;

/// A client sends a user here.
pub(super) async fn get(
    State(state): State<SignInState>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let form = Form::parse(query.unwrap_or_default().as_bytes());
    answer(&state, &tenant, &form, None)
}

/// A client sends a user here with a form, or a page of this endpoint's own is answered.
pub(super) async fn post(State(state): State<SignInState>, Path(tenant): Path<String>, request: Request) -> Response {
    let is_form = is_form(request.headers());
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let form = Form::parse(if is_form { &body } else { b"" });
    answer(&state, &tenant, &form, Some(&form))
}

fn answer(state: &SignInState, tenant: &str, form: &Form, answers: Option<&Form>) -> Response {
    let (entra, now) = (&state.entra, state.entra.site.now());
    let request = match AuthorizeRequest::parse(entra, tenant, form) {
        Ok(request) => request,
        Err(Refusal::Here(error)) => return error_page(&error),
        Err(Refusal::AtClient(reply, error)) => return reply.refuse(&error, now),
    };
    let sign_in = match request.ask.proceed(state, answers) {
        Progress::Page(page) => return page,
        Progress::Refused(error) => return request.reply.refuse(&error, now),
        Progress::SignedIn(sign_in) => sign_in,
    };
    let user = entra.scenario.person(sign_in.tenant, sign_in.object_id);
    let info = user.filter(|_| request.client_info).map(client_info);
    let code = entra.sessions.add_code(
        sign_in,
        request.reply.redirect_uri.clone(),
        request.challenge,
        request.nonce,
        now,
    );
    let mut parameters = vec![("code", code)];
    parameters.extend(info.map(|info| ("client_info", info)));
    parameters.push(("session_state", Uuid::new_v4().to_string()));
    request.reply.send(parameters)
}

/// What a user sees of a request that has no address to send them back to.
pub(super) fn error_page(error: &EntraError) -> Response {
    let mut html = Html::default();
    html.raw(
        "<h1>Sign-in is not possible</h1>\n<p>The application's request cannot be answered.</p>\n<p class=\"bad\">",
    )
    .text(&error.message())
    .raw("</p>\n");
    page(StatusCode::BAD_REQUEST, "Sign-in is not possible", &html, None)
}
