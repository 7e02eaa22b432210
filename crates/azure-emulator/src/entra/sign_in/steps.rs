//! From a request to a user who has signed in: who it is, whether conditional access lets them, whether they consent,
//! whether they prove more.

use axum::response::Response;
use http::StatusCode;
use uuid::Uuid;

use super::SignInState;
use super::html::{Html, page};
use crate::entra::consent::{Gap, granted};
use crate::entra::error::EntraError;
use crate::entra::form::Form;
use crate::entra::policy::blocked;
use crate::entra::scope::{RequestedScope, consent_required};
use crate::entra::sessions::SignIn;
use crate::scenario::{User, UserKind};
use crate::site::Origin;

/// The fields of a page's form that are not the client's. Only a page posts them.
const USER: &str = "_user";
pub(super) const CONSENT: &str = "_consent";
const VERIFIED: &str = "_verified";
pub(super) const CANCEL: &str = "_cancel";

/// What pages a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Prompt {
    /// None, whatever happens.
    None,
    Login,
    SelectAccount,
    /// The one that asks for consent, too.
    Consent,
    /// Those that are needed.
    #[strum(disabled)]
    Usual,
}

/// Who asks for which sign-in.
#[derive(Debug)]
pub(super) struct Ask {
    /// Whose users may sign in; any organization's without.
    pub(super) tenant: Option<Uuid>,
    pub(super) client: Uuid,
    pub(super) client_name: String,
    pub(super) scope: String,
    pub(super) requested: RequestedScope,
    pub(super) acrs: Vec<String>,
    pub(super) prompt: Prompt,
    pub(super) login_hint: Option<String>,
    pub(super) domain_hint: Option<String>,
    /// What a page's form holds of the request.
    pub(super) hidden: Vec<(String, String)>,
    /// Where the user is sent after the last page.
    pub(super) then: Option<Origin>,
}

/// How far a sign-in is.
pub(super) enum Progress {
    /// The user has to do something.
    Page(Response),
    /// It ends without one.
    Refused(EntraError),
    /// The user has signed in.
    SignedIn(SignIn),
}

impl Ask {
    /// Takes the sign-in as far as it goes with what a page's form says; nothing, if it was none.
    pub(super) fn proceed(&self, state: &SignInState, answers: Option<&Form>) -> Progress {
        let entra = &state.entra;
        let given = |name: &str| answers.and_then(|form| form.optional(name));
        if given(CANCEL).is_some() {
            return Progress::Refused(cancelled());
        }
        let silent = self.prompt == Prompt::None;
        let chosen = given(USER).and_then(|name| entra.scenario.user(name));
        let chosen = match chosen.filter(|user| self.offers(state, user)) {
            None if silent => self.hinted(state),
            chosen => chosen,
        };
        let Some(user) = chosen else {
            return if silent {
                Progress::Refused(self.nobody())
            } else {
                Progress::Page(self.users_page(state))
            };
        };
        let policies = &entra.policies;
        if policies.is_blocked(user) {
            let error = blocked("interaction_required");
            return if silent {
                Progress::Refused(error)
            } else {
                Progress::Page(self.blocked_page(&error))
            };
        }
        let gap = granted(entra, self.client, user, &self.requested).err();
        let client = (self.client, self.client_name.as_str());
        let refused = consent_required(&self.client.to_string(), &self.client_name).with_error("consent_required");
        match gap {
            Some(gap @ Gap::NotAssigned) => {
                let error = gap
                    .error(entra, client, user, self.requested.api)
                    .with_error("interaction_required");
                return if silent {
                    Progress::Refused(error)
                } else {
                    Progress::Page(self.blocked_page(&error))
                };
            }
            Some(gap @ (Gap::NoPrincipal | Gap::NotListed)) => {
                return Progress::Refused(gap.error(entra, client, user, self.requested.api));
            }
            Some(Gap::NoScope) => return Progress::Refused(refused),
            // Users may consent for themselves to the client app, but not to the broker's.
            Some(Gap::NoConsent) if self.client != entra.scenario.client_app.client_id => {
                return Progress::Refused(refused);
            }
            Some(Gap::NoConsent) | None => {}
        }
        if gap.is_some() || policies.lacks_consent(user) || self.prompt == Prompt::Consent {
            match given(CONSENT) {
                Some(_) => {
                    policies.give_consent(user);
                    if gap.is_some()
                        && let Some(api) = self.requested.api.app_id(&entra.scenario)
                    {
                        let scopes = self.requested.granted(&entra.scenario).unwrap_or_default();
                        entra.directory.consent_of_user(user, self.client, api, scopes);
                    }
                }
                None if silent => return Progress::Refused(refused),
                None => return Progress::Page(self.consent_page(state, user)),
            }
        }
        // Without a page the context counts as satisfied in a session that there already is.
        if !silent && !self.acrs.is_empty() && policies.step_up(user).is_some() && given(VERIFIED).is_none() {
            return Progress::Page(self.verify_page(user, given(CONSENT).is_some()));
        }
        Progress::SignedIn(SignIn {
            tenant: user.tenant_id,
            object_id: user.object_id,
            client: self.client,
            scope: self.scope.clone(),
            acrs: self.acrs.clone(),
        })
    }

    /// Whether a user is one who may sign in here.
    fn offers(&self, state: &SignInState, user: &User) -> bool {
        let domain = || {
            let tenant = state
                .entra
                .scenario
                .tenants
                .iter()
                .find(|tenant| tenant.id == user.tenant_id);
            tenant.map(|tenant| tenant.domain.as_str()).unwrap_or_default()
        };
        user.kind == UserKind::Person
            && self.tenant.is_none_or(|tenant| tenant == user.tenant_id)
            // "organizations" says nothing but that it is no personal account.
            && self
                .domain_hint
                .as_deref()
                .filter(|hint| !["organizations", "consumers"].contains(hint))
                .is_none_or(|hint| hint.eq_ignore_ascii_case(domain()))
    }

    /// The user whom the hint names: by user principal name, short name or object id.
    fn hinted<'a>(&self, state: &'a SignInState) -> Option<&'a User> {
        let scenario = &state.entra.scenario;
        let hint = self.login_hint.as_deref()?;
        let names = |user: &&User| {
            scenario.user_principal_name(user).eq_ignore_ascii_case(hint)
                || user.name.eq_ignore_ascii_case(hint)
                || user.object_id.to_string().eq_ignore_ascii_case(hint)
        };
        scenario
            .users
            .iter()
            .filter(|user| self.offers(state, user))
            .find(names)
    }

    /// Why nobody is signed in without a page.
    fn nobody(&self) -> EntraError {
        let text = "A silent sign-in request was sent but no user is signed in. The cookies used to represent the user's \
                    session were not sent in the request to Azure AD.";
        let no_hint = " The emulator keeps no session: it signs in whom 'login_hint' names.";
        let unknown = " The emulator has no user here whom 'login_hint' names.";
        let why = if self.login_hint.is_none() { no_hint } else { unknown };
        EntraError::bad_request("login_required", 50058, format!("{text}{why}"))
    }

    fn users_page(&self, state: &SignInState) -> Response {
        let scenario = &state.entra.scenario;
        let mut html = Html::default();
        html.raw("<h1>Sign in</h1>\n<p class=\"lead\">to <strong>")
            .text(&self.client_name)
            .raw("</strong>. Choose who you are.</p>\n");
        self.begin_form(&mut html);
        let hinted = self.hinted(state).map(|user| user.object_id);
        let mut first = true;
        for tenant in &scenario.tenants {
            let here = |user: &&User| user.tenant_id == tenant.id && self.offers(state, user);
            let mut users: Vec<&User> = scenario.users.iter().filter(here).collect();
            if users.is_empty() {
                continue;
            }
            users.sort_by_key(|user| Some(user.object_id) != hinted);
            html.raw("<h2>").text(&tenant.name).raw("</h2>\n<ul>\n");
            for user in users {
                html.raw("<li>");
                let focused = match hinted {
                    Some(hinted) => hinted == user.object_id,
                    None => std::mem::take(&mut first),
                };
                user_button(&mut html, state, user, focused);
                html.raw("</li>\n");
            }
            html.raw("</ul>\n");
        }
        html.raw("<div class=\"actions\">");
        cancel_button(&mut html, "Cancel");
        html.raw("</div>\n</form>\n");
        self.page("Sign in", &html)
    }

    fn consent_page(&self, state: &SignInState, user: &User) -> Response {
        let scenario = &state.entra.scenario;
        let mut html = Html::default();
        html.raw("<h1>Permissions requested</h1>\n<p><strong>")
            .text(&self.client_name)
            .raw("</strong> asks ")
            .text(&user.display_name)
            .raw(" for:</p>\n<ul class=\"scopes\">\n");
        for scope in self.requested.granted(scenario).unwrap_or_default() {
            html.raw("<li><code>");
            if !self.requested.only_openid {
                html.text(&self.requested.api.uri(scenario)).raw("/");
            }
            html.text(&scope).raw("</code></li>\n");
        }
        html.raw("</ul>\n");
        self.begin_form(&mut html);
        html.hidden(USER, &user.name)
            .raw("<div class=\"actions\"><button class=\"primary\" name=\"")
            .raw(CONSENT)
            .raw("\" value=\"given\" autofocus>Accept</button>");
        cancel_button(&mut html, "Cancel");
        html.raw("</div>\n</form>\n");
        self.page("Permissions requested", &html)
    }

    fn verify_page(&self, user: &User, consented: bool) -> Response {
        let mut html = Html::default();
        html.raw("<h1>More proof is needed</h1>\n<p>Conditional access demands the authentication context ");
        for context in &self.acrs {
            html.raw("<code>").text(context).raw("</code> ");
        }
        html.raw("of ")
            .text(&user.display_name)
            .raw(". At Entra this is where the phone rings; here, one click is the second factor.</p>\n");
        self.begin_form(&mut html);
        html.hidden(USER, &user.name);
        if consented {
            html.hidden(CONSENT, "given");
        }
        html.raw("<div class=\"actions\"><button class=\"primary\" name=\"")
            .raw(VERIFIED)
            .raw("\" value=\"yes\" autofocus>Approve</button>");
        cancel_button(&mut html, "Cancel");
        html.raw("</div>\n</form>\n");
        self.page("More proof is needed", &html)
    }

    fn blocked_page(&self, error: &EntraError) -> Response {
        let mut html = Html::default();
        html.raw("<h1>You cannot access this right now</h1>\n<p>")
            .text(&error.message())
            .raw("</p>\n");
        self.begin_form(&mut html);
        html.raw("<div class=\"actions\">");
        cancel_button(&mut html, "Back to the application");
        html.raw("</div>\n</form>\n");
        self.page("You cannot access this right now", &html)
    }

    /// The form goes to the address that it came from.
    fn begin_form(&self, html: &mut Html) {
        html.raw("<form method=\"post\" action=\"?\" autocomplete=\"off\">\n");
        for (name, value) in &self.hidden {
            html.hidden(name, value);
        }
    }

    fn page(&self, title: &str, html: &Html) -> Response {
        page(StatusCode::OK, title, html, self.then.as_ref())
    }
}

/// A user, with what will happen.
fn user_button(html: &mut Html, state: &SignInState, user: &User, focused: bool) {
    let policies = &state.entra.policies;
    let (class, line) = if policies.is_blocked(user) {
        (
            "bad",
            "Is not let in: conditional access blocks the sign-in (AADSTS53003).".to_owned(),
        )
    } else {
        let mut line = state.outlook.line(user);
        let mut class = if line.starts_with("Gets") { "good" } else { "bad" };
        if let Some(context) = policies.step_up(user) {
            class = "note";
            line = format!("{line} On behalf of the user only after more proof, context {context} (AADSTS50076).");
        }
        if policies.lacks_consent(user) {
            class = "note";
            line = format!("Is asked for consent first. {line}");
        }
        (class, line)
    };
    let initials: String = user
        .display_name
        .split(' ')
        .filter_map(|part| part.chars().next())
        .take(2)
        .collect();
    html.raw("<button class=\"user\" name=\"")
        .raw(USER)
        .raw("\" value=\"")
        .text(&user.name)
        .raw(if focused { "\" autofocus>" } else { "\">" })
        .raw("<span class=\"initials\" aria-hidden=\"true\">")
        .text(&initials)
        .raw("</span><span><span class=\"name\">")
        .text(&user.display_name)
        .raw("</span> <span class=\"login\">")
        .text(&state.entra.scenario.user_principal_name(user))
        .raw("</span></span> <span class=\"what ")
        .raw(class)
        .raw("\">")
        .text(&line)
        .raw("</span></button>");
}

pub(super) fn cancel_button(html: &mut Html, text: &'static str) {
    html.raw("<button name=\"")
        .raw(CANCEL)
        .raw("\" value=\"yes\">")
        .raw(text)
        .raw("</button>");
}

/// The user went away from a page.
fn cancelled() -> EntraError {
    let text = "User declined to consent to access the app.";
    EntraError::bad_request("access_denied", 65004, text).subcode("cancel")
}
