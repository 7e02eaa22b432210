//! `/{tenant}/adminconsent`: where an administrator consents for everybody in a tenant.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-admin-consent>

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use uuid::Uuid;

use super::SignInState;
use super::authorize::error_page;
use super::html::{Html, page as html_page};
use super::reply::{encoded, redirect};
use super::request::client;
use super::steps::{CANCEL, CONSENT, cancel_button};
use crate::entra::apis::Api;
use crate::entra::consent::Gap;
use crate::entra::directory::catalog::ACS_APPS;
use crate::entra::error::{EntraError, shortened};
use crate::entra::form::{Form, is_form};
use crate::entra::state::Entra;
use crate::entra::token_endpoint::Directory;
use crate::request::read_body;
use crate::scenario::{Tenant, User};
use crate::site::Origin;

/// What is consented to, where, and where the administrator goes next.
struct Consent<'a> {
    tenant: &'a Tenant,
    client: Uuid,
    client_name: String,
    redirect_uri: Option<(String, Origin)>,
    state: Option<String>,
}

/// Shows what the app asks for.
pub(super) async fn get(
    State(state): State<SignInState>,
    Path(tenant): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let form = Form::parse(query.unwrap_or_default().as_bytes());
    match Consent::parse(&state.entra, &tenant, &form) {
        Ok(consent) => consent.page(&state.entra, &form),
        Err(error) => error_page(&error),
    }
}

/// Grants it. The query, with which the page was opened, counts as much as the form.
pub(super) async fn post(State(state): State<SignInState>, Path(tenant): Path<String>, request: Request) -> Response {
    let (is_form, query) = (
        is_form(request.headers()),
        request.uri().query().unwrap_or_default().to_owned(),
    );
    let Ok(body) = read_body(request).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let mut all = if is_form { body.to_vec() } else { Vec::new() };
    all.push(b'&');
    all.extend_from_slice(query.as_bytes());
    let form = Form::parse(&all);
    let entra = &state.entra;
    let consent = match Consent::parse(entra, &tenant, &form) {
        Ok(consent) => consent,
        Err(error) => return error_page(&error),
    };
    if form.optional(CANCEL).is_some() {
        return consent.declined(entra);
    }
    entra
        .directory
        .consent_for_all(consent.client, consent.tenant.id, entra.site.now());
    consent.given()
}

impl<'a> Consent<'a> {
    fn parse(entra: &'a Entra, tenant: &str, form: &Form) -> Result<Self, EntraError> {
        let directory = Directory::parse(&entra.scenario, tenant)?;
        let Directory::One(tenant) = directory else {
            let text = "The emulator keeps no session, so that nobody knows which organization this consent is for. Put the \
                        tenant's id in the place of 'organizations' or 'common'.";
            return Err(EntraError::bad_request("invalid_request", 50059, text));
        };
        let (client, client_name, _) = client(entra, directory, form.required("client_id")?)?;
        let redirect_uri = match form.optional("redirect_uri") {
            None => None,
            Some(uri) => {
                let origin = entra.site.redirect_origin(uri).ok_or_else(|| {
                    let text = format!(
                        "The redirect URI '{}' specified in the request does not match the redirect URIs configured for \
                         the application '{client}'.",
                        shortened(uri)
                    );
                    EntraError::bad_request("invalid_request", 50011, text)
                })?;
                Some((uri.to_owned(), origin))
            }
        };
        let consent = Self {
            tenant,
            client,
            client_name,
            redirect_uri,
            state: form.optional("state").map(str::to_owned),
        };
        consent.check(entra)?;
        Ok(consent)
    }

    /// An API of ACS comes to a tenant by the first step alone, as the quickstart has it.
    fn check(&self, entra: &Entra) -> Result<(), EntraError> {
        let listed = entra.directory.listed(self.client);
        let lacking = listed.iter().map(|listed| listed.app).find(|app| {
            ACS_APPS.contains(&app.app_id) && entra.directory.principal_of(app.app_id, self.tenant.id).is_none()
        });
        match lacking.and_then(|app| Api::from_name(&entra.scenario, &app.app_id.to_string())) {
            Some(api) => Err(Gap::NoPrincipal.error_in(entra, (self.client, &self.client_name), self.tenant.id, api)),
            None => Ok(()),
        }
    }

    fn page(&self, entra: &Entra, form: &Form) -> Response {
        let of_tenant = |user: &&User| user.administrator && user.tenant_id == self.tenant.id;
        let administrator = entra.scenario.users.iter().find(of_tenant);
        let mut html = Html::default();
        html.raw("<h1>Permissions requested</h1>\n<p class=\"lead\">Review for ")
            .text(&self.tenant.name);
        if let Some(user) = administrator {
            html.raw(", as ").text(&user.display_name);
        }
        html.raw("</p>\n<p><strong>").text(&self.client_name).raw(
            "</strong> asks for the following. If you accept, it gets this for all users in your organization, and nobody \
             else is asked.</p>\n<ul class=\"scopes\">\n",
        );
        for listed in entra.directory.listed(self.client) {
            for name in listed.scopes.iter().chain(&listed.roles) {
                html.raw("<li>")
                    .text(&listed.app.name)
                    .raw(": <code>")
                    .text(name)
                    .raw("</code></li>\n");
            }
        }
        html.raw("</ul>\n<form method=\"post\" action=\"?\" autocomplete=\"off\">\n");
        for (name, value) in form.pairs().filter(|(name, _)| !name.starts_with('_')) {
            html.hidden(name, value);
        }
        html.raw("<div class=\"actions\"><button class=\"primary\" name=\"")
            .raw(CONSENT)
            .raw("\" value=\"given\" autofocus>Accept</button>");
        cancel_button(&mut html, "Cancel");
        html.raw("</div>\n</form>\n");
        let then = self.redirect_uri.as_ref().map(|(_, origin)| origin);
        html_page(StatusCode::OK, "Permissions requested", &html, then)
    }

    fn given(&self) -> Response {
        let parameters = vec![
            ("admin_consent", "True".to_owned()),
            ("tenant", self.tenant.id.to_string()),
        ];
        self.leave(
            parameters,
            "The permissions are granted",
            "may now be used by all users of",
        )
    }

    fn declined(&self, entra: &Entra) -> Response {
        let text = "User declined to consent to access the app.";
        let error = EntraError::bad_request("access_denied", 65004, text).subcode("cancel");
        let parameters = error.to_parameters(entra.site.now());
        self.leave(parameters, "Nothing was granted", "was not consented to for")
    }

    /// Back to the application, or, without an address, a page that says what happened.
    fn leave(&self, mut parameters: Vec<(&'static str, String)>, title: &str, what: &'static str) -> Response {
        if let Some((uri, _)) = &self.redirect_uri {
            parameters.extend(self.state.clone().map(|state| ("state", state)));
            let separator = if uri.contains('?') { '&' } else { '?' };
            return redirect(&format!("{uri}{separator}{}", encoded(&parameters)));
        }
        let mut html = Html::default();
        html.raw("<h1>")
            .text(title)
            .raw("</h1>\n<p>")
            .text(&self.client_name)
            .raw(" ")
            .raw(what)
            .raw(" ")
            .text(&self.tenant.name)
            .raw(". You may close this window.</p>\n");
        html_page(StatusCode::OK, title, &html, None)
    }
}
