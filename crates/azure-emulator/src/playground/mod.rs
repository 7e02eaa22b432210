//! The playground: a page on which a demo user signs in, calls the broker, and sees why the answer is what it is.
//!
//! The page is plain HTML, CSS and JavaScript in `page/`. It gets nothing from other hosts, and its content security
//! policy lets it call only this emulator and the brokers that it is for.

mod docs;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::entra::sign_in::Outlook;
use crate::lock::lock;
use crate::scenario::{CONTOSO_API_URI, Scenario, User, UserKind};

const INDEX: &str = include_str!("page/index.html");

/// Name, content type and content of each file of the page.
const FILES: [(&str, &str, &str); 11] = [
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("docs.css", "text/css; charset=utf-8", include_str!("page/docs.css")),
    ("main.js", JAVASCRIPT, include_str!("page/main.js")),
    ("broker.js", JAVASCRIPT, include_str!("page/broker.js")),
    ("refusals.js", JAVASCRIPT, include_str!("page/refusals.js")),
    ("sign_in.js", JAVASCRIPT, include_str!("page/sign_in.js")),
    ("snippets.js", JAVASCRIPT, include_str!("page/snippets.js")),
    ("switches.js", JAVASCRIPT, include_str!("page/switches.js")),
    ("tokens.js", JAVASCRIPT, include_str!("page/tokens.js")),
    ("view.js", JAVASCRIPT, include_str!("page/view.js")),
];

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// A mode that the playground offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaygroundMode {
    /// `exchange.mode` of the broker.
    pub name: String,
    /// What people read.
    pub title: String,
    /// One sentence on what happens to the user's token.
    pub note: String,
    /// The origin of the broker that runs in this mode; without one it is started when the mode is chosen.
    pub broker: Option<String>,
    /// The scopes that a front end asks Entra for.
    pub scopes: Vec<String>,
    /// Whether it is chosen at first.
    pub selected: bool,
}

impl PlaygroundMode {
    /// The mode of this name, with the scopes that belong to it. `None` for a name that no mode has.
    #[must_use]
    pub fn named(name: &str, broker: Option<String>) -> Option<Self> {
        let own_api = || vec![format!("{CONTOSO_API_URI}/access")];
        let (title, note, scopes) = match name {
            "passthrough" => (
                "Passthrough",
                "The user's Entra token is for ACS. The broker checks it and exchanges it as it is.",
                vec!["https://communication.azure.com/clients/VoIP".to_owned()],
            ),
            "on_behalf_of" => (
                "On behalf of",
                "The user's Entra token is for the broker's own API. Entra trades it for one for ACS.",
                own_api(),
            ),
            "identity" => (
                "Identity",
                "The user's Entra token is for the broker's own API. ACS issues a token for an identity that stands for the user.",
                own_api(),
            ),
            "teams_user" => (
                "Teams user",
                "The Entra token of a Teams user becomes an ACS token for that user.",
                vec!["https://auth.msft.communication.azure.com/Teams.ManageCalls".to_owned()],
            ),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            title: title.to_owned(),
            note: note.to_owned(),
            selected: broker.is_some(),
            broker,
            scopes,
        })
    }
}

/// A request to start the broker of a mode. The answer is its origin, or nothing if it cannot be started.
#[derive(Debug)]
pub struct StartBroker {
    /// [`PlaygroundMode::name`].
    pub mode: String,
    /// Where the answer goes.
    pub origin: oneshot::Sender<Option<String>>,
}

/// What the playground shows. The brokers are known only once they listen.
#[derive(Debug)]
pub(crate) struct Playground {
    scenario: Arc<Scenario>,
    outlook: Arc<dyn Outlook>,
    modes: OnceLock<(Vec<PlaygroundMode>, mpsc::Sender<StartBroker>)>,
    started: Mutex<BTreeMap<String, String>>,
}

impl Playground {
    pub(crate) fn new(scenario: Arc<Scenario>, outlook: Arc<dyn Outlook>) -> Self {
        Self {
            scenario,
            outlook,
            modes: OnceLock::new(),
            started: Mutex::default(),
        }
    }

    /// Says which modes there are, and who starts their brokers. Only the first call counts.
    pub(crate) fn set_modes(&self, modes: Vec<PlaygroundMode>, starter: mpsc::Sender<StartBroker>) {
        self.modes.get_or_init(|| (modes, starter));
    }

    /// The origin of the broker of a mode, which is started if it does not run yet.
    async fn start(&self, mode: &str) -> Option<String> {
        let (_, starter) = self.modes.get()?;
        let (origin, answer) = oneshot::channel();
        let mode = mode.to_owned();
        starter
            .send(StartBroker {
                mode: mode.clone(),
                origin,
            })
            .await
            .ok()?;
        let origin = answer.await.ok().flatten()?;
        lock(&self.started).insert(mode, origin.clone());
        Some(origin)
    }

    /// What will happen to a user who signs in and asks for a token.
    fn note(&self, user: &User) -> String {
        let line = self.outlook.line(user);
        match user.step_up {
            Some(_) => format!("{line} On behalf of the user, Entra first asks for a second factor."),
            None => line,
        }
    }

    fn modes(&self) -> Vec<PlaygroundMode> {
        let started = lock(&self.started);
        let known = self.modes.get().map_or(&[][..], |(modes, _)| modes);
        let mut modes = known.to_vec();
        for mode in &mut modes {
            mode.broker = mode.broker.take().or_else(|| started.get(&mode.name).cloned());
        }
        modes
    }
}

/// Scripts and styles of this origin alone; calls to this origin and to this machine, since the ports of the brokers
/// that are started later are not known yet.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self' http://127.0.0.1:* http://localhost:* https://127.0.0.1:* https://localhost:*; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The page at `/`, its files, its settings, and the docs that it links to.
pub(crate) fn routes(playground: Arc<Playground>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/playground/{file}", get(file))
        .route("/docs/{page}", get(docs::page))
        .route("/docs/images/{name}", get(docs::picture))
        .route("/_emulator/playground", get(settings))
        .route("/_emulator/playground/modes/{mode}", put(start))
        .with_state(playground)
}

async fn index() -> Response {
    page(INDEX.to_owned())
}

/// `PUT /_emulator/playground/modes/{mode}`: starts the broker of a mode.
async fn start(State(playground): State<Arc<Playground>>, Path(mode): Path<String>) -> Response {
    match playground.start(&mode).await {
        Some(broker) => Json(json!({ "broker": broker })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A page with the headers of every page here.
fn page(html: String) -> Response {
    let policy = [(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)];
    (guarded("text/html; charset=utf-8"), policy, html).into_response()
}

fn guarded(content_type: &'static str) -> [(HeaderName, HeaderValue); 4] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ]
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.into_iter().find(|(known, ..)| *known == name) {
        Some((_, content_type, content)) => (guarded(content_type), content).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn settings(State(playground): State<Arc<Playground>>) -> Json<Value> {
    let scenario = &playground.scenario;
    let users: Vec<Value> = scenario
        .users
        .iter()
        .filter(|user| user.kind == UserKind::Person)
        .map(|user| {
            json!({
                "name": user.name,
                "displayName": user.display_name,
                "userPrincipalName": scenario.user_principal_name(user),
                "objectId": user.object_id.to_string(),
                "tenantId": user.tenant_id.to_string(),
                "tenant": tenant_name(scenario, user.tenant_id),
                "note": playground.note(user),
            })
        })
        .collect();
    Json(json!({
        "clientId": scenario.client_app.client_id.to_string(),
        "users": users,
        "modes": playground.modes(),
    }))
}

fn tenant_name(scenario: &Scenario, id: Uuid) -> &str {
    let tenant = scenario.tenants.iter().find(|tenant| tenant.id == id);
    tenant.map_or("another tenant", |tenant| tenant.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let sources = FILES.iter().map(|(.., content)| *content).chain([INDEX]);
        for source in sources {
            let named = source.split(['"', '\'']).filter_map(|text| {
                let name = text.strip_prefix("/playground/").or_else(|| text.strip_prefix("./"))?;
                let (_, extension) = name.rsplit_once('.')?;
                ["js", "css", "svg"].contains(&extension).then_some(name)
            });
            for name in named {
                assert!(FILES.iter().any(|(known, ..)| *known == name), "{name}");
            }
        }
    }

    #[test]
    fn every_mode_has_its_scopes() {
        for name in ["passthrough", "on_behalf_of", "identity", "teams_user"] {
            let mode = PlaygroundMode::named(name, None).unwrap();
            assert_eq!((mode.name.as_str(), mode.scopes.len()), (name, 1));
        }
        assert_eq!(PlaygroundMode::named("other", None), None);
    }
}
