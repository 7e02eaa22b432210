//! Signing in on another device (RFC 8628): the endpoint that gives the codes, and the page on which one is typed.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::SignInState;
use super::html::{Html, page as html_page};
use super::request::client;
use super::steps::{Ask, Progress, Prompt};
use crate::entra::claims_request::requested_contexts;
use crate::entra::error::EntraError;
use crate::entra::form::{Form, is_form};
use crate::entra::scope::RequestedScope;
use crate::entra::sessions::{DEVICE_CODE_SECONDS, Device, DeviceState};
use crate::entra::state::Entra;
use crate::entra::token_endpoint::{Directory, correlation_id};
use crate::request::{query_parameter, read_body};

/// Where a code is typed: `https://microsoft.com/devicelogin` at Entra.
pub(super) const PAGE: &str = "/devicelogin";
/// The field with the code.
const CODE: &str = "user_code";
/// Seconds between two polls.
const INTERVAL: u64 = 5;

/// `POST /{tenant}/oauth2/v2.0/devicecode`.
pub(super) async fn begin(State(entra): State<Arc<Entra>>, Path(tenant): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let page = format!("{}{PAGE}", entra.site.request_origin(request.extensions()));
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    // azure-identity for Java names no content type here.
    let readable = is_form(&headers) || !headers.contains_key(header::CONTENT_TYPE);
    let form = Form::parse(if readable { &body } else { b"" });
    let mut response = match codes(&entra, &tenant, &form) {
        Ok((device_code, user_code)) => Json(json!({
            "user_code": user_code,
            "device_code": device_code,
            "verification_uri": page,
            "expires_in": DEVICE_CODE_SECONDS,
            "interval": INTERVAL,
            "message": format!(
                "To sign in, use a web browser to open the page {page} and enter the code {user_code} to authenticate."
            ),
        }))
        .into_response(),
        Err(error) => error.into_response(entra.site.now(), correlation_id(&headers)),
    };
    let no_store = HeaderValue::from_static("no-store, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

fn codes(entra: &Entra, tenant: &str, form: &Form) -> Result<(String, String), EntraError> {
    let directory = Directory::parse(&entra.scenario, tenant)?;
    let (client, _, _) = client(entra, directory, form.required("client_id")?)?;
    let scope = form.required("scope")?;
    RequestedScope::parse(&entra.scenario, directory.name(), scope)?;
    let acrs = requested_contexts(form.optional("claims"))?;
    let now = entra.site.now();
    Ok(entra
        .sessions
        .add_device(client, scope.to_owned(), acrs, directory.tenant(), now))
}

/// `GET /devicelogin`.
pub(super) async fn page(RawQuery(query): RawQuery) -> Response {
    code_page(query_parameter(query.as_deref(), "otc").as_deref(), None)
}

/// `POST /devicelogin`: a code, and then what the sign-in's pages ask.
pub(super) async fn answer(State(state): State<SignInState>, headers: HeaderMap, request: Request) -> Response {
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let form = Form::parse(if is_form(&headers) { &body } else { b"" });
    let (entra, now) = (&state.entra, state.entra.site.now());
    let Some(typed) = form.optional(CODE) else {
        return code_page(None, None);
    };
    let typed = typed.trim();
    let wrong = "That code did not work. Check it, or ask the device for a new one.";
    let Some(device) = entra.sessions.waiting_device(typed, now) else {
        return code_page(None, Some(wrong));
    };
    let ask = match ask(entra, &device) {
        Ok(ask) => ask,
        Err(error) => return super::authorize::error_page(&error),
    };
    let (outcome, title) = match ask.proceed(&state, Some(&form)) {
        Progress::Page(page) => return page,
        Progress::Refused(_) => (DeviceState::Declined, "The sign-in was declined"),
        Progress::SignedIn(sign_in) => (DeviceState::SignedIn(sign_in), "You have signed in"),
    };
    if !entra.sessions.answer_device(typed, outcome, now) {
        return code_page(None, Some(wrong));
    }
    let mut html = Html::default();
    html.raw("<h1>")
        .text(title)
        .raw("</h1>\n<p>")
        .text(&ask.client_name)
        .raw(" on your device goes on from here. You may close this window.</p>\n");
    html_page(StatusCode::OK, title, &html, None)
}

fn ask(entra: &Entra, device: &Device) -> Result<Ask, EntraError> {
    let tenants = &entra.scenario.tenants;
    let tenant = tenants.iter().find(|tenant| Some(tenant.id) == device.tenant);
    let directory = tenant.map_or(Directory::Users, Directory::One);
    let (client, client_name, _) = client(entra, directory, &device.client.to_string())?;
    Ok(Ask {
        tenant: device.tenant,
        client,
        client_name,
        scope: device.scope.clone(),
        requested: RequestedScope::parse(&entra.scenario, directory.name(), &device.scope)?,
        acrs: device.acrs.clone(),
        prompt: Prompt::Usual,
        login_hint: None,
        domain_hint: None,
        hidden: vec![(CODE.to_owned(), device.user_code.clone())],
        then: None,
    })
}

fn code_page(code: Option<&str>, problem: Option<&str>) -> Response {
    let mut html = Html::default();
    html.raw("<h1>Enter code</h1>\n<p class=\"lead\">Enter the code that your device shows.</p>\n")
        .raw("<form method=\"post\" action=\"?\" autocomplete=\"off\">\n");
    if let Some(problem) = problem {
        html.raw("<p class=\"bad\" role=\"alert\" id=\"problem\">")
            .text(problem)
            .raw("</p>\n");
    }
    html.raw("<label for=\"code\">Code</label>\n<input type=\"text\" id=\"code\" name=\"")
        .raw(CODE)
        .raw("\" value=\"")
        .text(code.unwrap_or_default())
        .raw("\" maxlength=\"20\" required autofocus autocapitalize=\"characters\" spellcheck=\"false\"")
        .raw(if problem.is_some() {
            " aria-describedby=\"problem\" aria-invalid=\"true\">\n"
        } else {
            ">\n"
        })
        .raw("<div class=\"actions\"><button class=\"primary\">Next</button></div>\n</form>\n");
    html_page(StatusCode::OK, "Enter code", &html, None)
}
