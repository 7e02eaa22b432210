//! The stages and the public handler of a broker with one tenant, put together without its sockets: what the benches drive.

use std::sync::Arc;
use std::time::Duration;

use acs_token_broker::admission::{Admission, Overloaded};
use acs_token_broker::api::{self, AccessLines, ApiSettings, SignIn, Target};
use acs_token_broker::authenticate::{
    Authenticator, AuthenticatorParts, Authority, ListedTenant, Policy, RefreshSettings,
};
use acs_token_broker::cache::TokenCache;
use acs_token_broker::limits::CallerLimits;
use acs_token_broker::pipeline::TokenPipeline;
use acs_token_broker::route::Routes;
use azure::Upstream;
use base::clock::SharedClock;
use base::ids::TenantId;
use base::tasks::Tasks;
use config::load::{Environment, load};
use config::{AccessLog, Config, UserIds};
use serve::{Handler, Memory};
use telemetry::UserNames;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use url::Url;

const DAY: Duration = Duration::from_hours(24);

/// The settings of `config.example.toml`, which are the defaults.
pub(crate) fn config() -> Config {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    load(Some(example.as_ref()), &Environment::default()).unwrap().config
}

/// A broker that has the keys of `tenants`, whose common authority is `origin`. Nothing limits what one caller asks for.
pub(crate) async fn broker(
    config: &Config,
    origin: &Url,
    tenants: &[TenantId],
    routes: Routes,
    clock: &SharedClock,
    metrics: Metrics,
) -> (Arc<TokenPipeline>, Handler) {
    let policy = Policy::new(&config.entra.audiences, &config.entra.required_scopes, Duration::ZERO);
    let pipeline = Arc::new(TokenPipeline {
        authenticator: Arc::new(authenticator(origin, tenants, policy, clock).await),
        routes,
        cache: TokenCache::new(&config.cache, Arc::clone(clock)),
        limits: Arc::new(CallerLimits::new(&config.limits.clone().without_callers(), clock)),
        admission: Admission::new(config.server.max_in_flight, Overloaded::Requests),
        exchange_limit: Admission::new(config.server.max_in_flight, Overloaded::Exchanges),
        users: UserNames::new(UserIds::Hash, None).unwrap(),
        clock: Arc::clone(clock),
        metrics,
    });
    let settings = ApiSettings {
        memory: Memory::new(config.server.max_connections).work,
        audit: true,
        trusted_proxies: Vec::new(),
        access_lines: Arc::new(AccessLines::new(AccessLog::All)),
        teams_api_versions: Vec::new(),
        base_path: String::new(),
        api_versions: Vec::new(),
        request_timeout: DAY,
        diagnostic_headers: false,
        allowed_origins: Vec::new(),
        loopback_origins: false,
        allowed_headers: Vec::new(),
        required_scopes: String::new(),
        targets: vec![Target::new(
            "https://contoso.communication.azure.com".parse().unwrap(),
            None,
        )],
        scope_prefixes: vec!["https://communication.azure.com/clients/".to_owned()],
        sign_in: SignIn::new(origin, []),
    };
    let public = api::handler(Arc::clone(&pipeline), settings, CancellationToken::new());
    (pipeline, public)
}

/// An authenticator that has the keys of `tenants`, and never fetches them again.
pub(crate) async fn authenticator(
    origin: &Url,
    tenants: &[TenantId],
    policy: Policy,
    clock: &SharedClock,
) -> Authenticator {
    let tasks = Tasks::default();
    let listed = |tenant: &TenantId| ListedTenant {
        id: *tenant,
        authority: Authority::common(origin.clone()),
        app: None,
    };
    let authenticator = Authenticator::new(AuthenticatorParts {
        upstream: Upstream::plain(DAY, 1 << 20).unwrap(),
        tenants: tenants.iter().map(listed).collect(),
        policy,
        refresh: RefreshSettings {
            interval: DAY,
            cooldown: DAY,
            wait: DAY,
            max_age: DAY,
            withdrawal_grace: DAY,
        },
        waiting_room: 1,
        clock: Arc::clone(clock),
        tasks: tasks.clone(),
        metrics: Metrics::local(),
    });
    authenticator.start(&tasks);
    while !authenticator.key_status().all(|status| status.usable) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tasks.stop(DAY).await;
    authenticator
}
