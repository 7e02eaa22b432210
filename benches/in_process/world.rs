//! A broker in this process: the one thing that the benches share.

use std::io::sink;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use acs_token_broker::authorize::Authorizer;
use acs_token_broker::authorize::assignment::{Assignment, PrincipalType};
use acs_token_broker::authorize::source::{AssignmentWatch, SourceKind};
use acs_token_broker::exchange::{Exchanger, Mode};
use acs_token_broker::pipeline::TokenPipeline;
use acs_token_broker::route::{Resource, Routes, Selector};
use axum::body::Body;
use azure::Upstream;
use azure::acs::AcsExchange;
use azure::breaker::Breaker;
use azure::endpoint::Endpoint;
use azure::pause::Pause;
use base::clock::{ManualClock, SharedClock};
use base::ids::TenantId;
use config::UnknownGroups;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use jiff::Timestamp;
use serve::Handler;
use telemetry::metrics::Metrics;
use tokio::runtime::Runtime;

use crate::azure_side::{APP, NOW, start, tenant_id};
use crate::composed;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Started by the first bench that needs it.
pub(crate) static WORLD: LazyLock<World> = LazyLock::new(World::start);

/// A broker whose clock stands: no entry ends, and nothing is done for time alone.
pub(crate) struct World {
    pub(crate) pipeline: Arc<TokenPipeline>,
    pub(crate) clock: SharedClock,
    // One thread, so that nothing runs beside what is measured.
    pub(crate) runtime: Runtime,
    handler: Handler,
}

impl World {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let clock: SharedClock = ManualClock::at(Timestamp::from_second(NOW).unwrap());
        log_to_sink(&clock);
        let (pipeline, handler) = runtime.block_on(broker(&clock));
        Self {
            pipeline,
            clock,
            runtime,
            handler,
        }
    }

    /// What the public listener answers.
    pub(crate) fn call(&self, request: Request<Body>) -> Response<Body> {
        self.runtime.block_on(self.handler.answer(request))
    }
}

/// Every line is written as in production, but to nowhere.
fn log_to_sink(clock: &SharedClock) {
    let (dispatch, guard) = telemetry::for_test(&|_| None, Arc::clone(clock), sink).unwrap();
    guard.log_level().begin("info").unwrap();
    tracing::dispatcher::set_global_default(dispatch).unwrap();
    // Dropping it would end telemetry.
    std::mem::forget(guard);
}

/// A broker with the default settings and one ACS resource, at which a whole tenant is assigned.
async fn broker(clock: &SharedClock) -> (Arc<TokenPipeline>, Handler) {
    let (config, metrics) = (composed::config(), Metrics::local());
    let origin = start().await;
    let tenant: TenantId = tenant_id(0).parse().unwrap();
    let watch = AssignmentWatch::new(Arc::clone(clock), [SourceKind::File]);
    watch.source(SourceKind::File).replace(vec![Assignment {
        object_id: tenant_id(0).parse().unwrap(),
        tenant_id: tenant,
        principal_type: PrincipalType::Tenant,
        client_ids: vec![APP.parse().unwrap()],
        allowed_scopes: None,
    }]);
    let upstream = Upstream::plain(TIMEOUT, 1 << 20).unwrap();
    let endpoint = Arc::new(Endpoint {
        pause: Arc::new(Pause::new(Arc::clone(clock))),
        breaker: Breaker::new(config.upstream.breaker, "acs", origin.to_string(), Arc::clone(clock)),
        budget: None,
    });
    let acs = AcsExchange::new(upstream, &origin, "2025-03-02-preview", "2025-06-30");
    let exchanger = Exchanger::new(Mode::Passthrough(acs), "acs", TIMEOUT, endpoint, Arc::clone(clock));
    let resource = Resource {
        name: None,
        selector: Selector::default(),
        authorizer: Authorizer::new(watch, UnknownGroups::Acs),
        exchanger: Arc::new(exchanger),
        shared: None,
        unknown_groups_max_age: TIMEOUT,
        metrics: metrics.resource(None),
    };
    let routes = Routes::new(vec![resource]);
    composed::broker(&config, &origin, &[tenant], routes, clock, metrics).await
}

/// `POST /token` with a bearer token, if any.
pub(crate) fn post_token(token: Option<&str>) -> Request<Body> {
    let mut request = Request::post("/token");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}
