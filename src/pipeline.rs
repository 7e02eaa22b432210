//! The flow of a request, whatever form it came in: authenticate → route → authorize → cache → exchange.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::admission::{Admission, Overloaded, Place};
use crate::authenticate::{Authenticator, Caller, Rejection, Verdict};
use crate::authorize::{Basis, Denied, Permit};
use crate::cache::{Answer, Outcome, Request, TokenCache, Waiting};
use crate::clock::SharedClock;
use crate::exchange::{ExchangeError, ExchangeKey, ExchangePlan, Exchanger, IssuedToken, Operation};
use crate::ids::{ClientAppId, ObjectId, Scopes, TenantId};
use crate::route::{Resource, Routes};
use crate::secret::{BearerToken, TokenDigest};
use crate::telemetry::metrics::labels::{Authentication, CacheRequest};
use crate::telemetry::metrics::{Metrics, ResourceMetrics};
use crate::telemetry::propagation;
use crate::untrusted::Untrusted;

/// Turns a caller's Entra token into an ACS token.
pub struct TokenPipeline {
    /// Stage one.
    pub authenticator: Arc<Authenticator>,
    /// The ACS resources, each with its stages two and four.
    pub routes: Routes,
    /// Stage three.
    pub cache: TokenCache<ExchangeKey, IssuedToken, ExchangeError>,
    /// The bound on requests being worked on.
    pub admission: Admission,
    /// The bound on exchanges under way, those included for which no request waits.
    pub underway: Admission,
    /// The time.
    pub clock: SharedClock,
    /// Where decisions are recorded.
    pub metrics: Metrics,
}

/// What a caller asks for.
pub struct IssueRequest {
    /// His Entra token.
    pub token: BearerToken,
    /// What else he says.
    pub asked: Asked,
    /// When his answer must be there.
    pub deadline: Instant,
}

/// What the form of a request lets a caller say beside his token. None of it widens what he may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The scopes that he says his token has.
    pub scope: Option<Scopes>,
    /// The places of the resources that he means, any of them.
    pub resources: Option<Vec<usize>>,
    /// The exchange operation that he chose by the path.
    pub operation: Option<Operation>,
}

/// What he gets.
pub struct Issued {
    /// The ACS token.
    pub token: Arc<IssuedToken>,
    /// Its scopes: those of the Entra token it was exchanged for, unless the exchange tells others.
    pub scopes: Scopes,
    /// Whether it came from the cache.
    pub outcome: Outcome,
    /// How long each stage took.
    pub stages: Stages,
}

/// How long the stages took.
#[derive(Debug, Clone, Copy)]
pub struct Stages {
    /// Verifying the token.
    pub authenticate: Duration,
    /// Looking for an assignment.
    pub authorize: Duration,
    /// Cache and exchange together.
    pub exchange: Duration,
}

/// Why he gets nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IssueError {
    /// No room for another request.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// Authentication refused him, or could not decide.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// He asked for other scopes than his token has.
    #[error("requested scopes are not the token's, which are `{0}`")]
    ScopeMismatch(Untrusted),
    /// He asked for another resource than the one that serves him.
    #[error("the resource asked for is not the one that serves {0}")]
    TargetMismatch(CallerIds),
    /// Authorization refused him, or could not decide.
    #[error("{denied}: {caller}")]
    Denied {
        /// Why.
        denied: Denied,
        /// Who.
        caller: CallerIds,
    },
    /// The exchange failed.
    #[error("{error}: {caller}")]
    Exchange {
        /// Why.
        error: ExchangeError,
        /// For whom.
        caller: CallerIds,
    },
    /// His deadline passed while the exchange was under way.
    #[error("the request's deadline passed during the exchange")]
    DeadlineExceeded,
}

/// Who a verified caller is, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerIds {
    tenant: TenantId,
    object_id: ObjectId,
    client_app: ClientAppId,
}

impl CallerIds {
    fn of(caller: &Caller) -> Self {
        Self {
            tenant: caller.tenant(),
            object_id: caller.object_id(),
            client_app: caller.client_app(),
        }
    }
}

#[cfg(test)]
impl CallerIds {
    pub(crate) fn for_test() -> Self {
        let id = "11111111-0000-4000-8000-000000000001";
        let (Ok(tenant), Ok(object_id), Ok(client_app)) = (id.parse(), id.parse(), id.parse()) else {
            unreachable!("a GUID");
        };
        Self {
            tenant,
            object_id,
            client_app,
        }
    }
}

impl fmt::Display for CallerIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "user {} of tenant {} with client app {}",
            self.object_id, self.tenant, self.client_app
        )
    }
}

impl TokenPipeline {
    /// Issues a token, or says why not.
    pub async fn issue(&self, request: IssueRequest) -> Result<Issued, IssueError> {
        let mut place = self.admission.enter()?;
        let digest = TokenDigest::of(&request.token);
        let started = self.clock.monotonic();
        let caller = self.authenticate(&request, digest, &mut place).await?;
        let authenticated = self.clock.monotonic();
        if request
            .asked
            .scope
            .as_ref()
            .is_some_and(|scope| scope != caller.scopes())
        {
            return Err(IssueError::ScopeMismatch(Untrusted::new(&caller.scopes().to_string())));
        }
        let resource = self.route(&caller, &request.asked)?;
        let permit = Self::authorize(resource, caller, request.deadline).await?;
        let authorized = self.clock.monotonic();
        let scopes = permit.caller().scopes().clone();
        let answer = self.exchange(resource, permit, request, digest).await?;
        let scopes = answer.token.scopes().cloned().unwrap_or(scopes);
        Ok(Issued {
            token: answer.token,
            scopes,
            outcome: answer.outcome,
            stages: Stages {
                authenticate: authenticated.saturating_sub(started),
                authorize: authorized.saturating_sub(authenticated),
                exchange: self.clock.monotonic().saturating_sub(authorized),
            },
        })
    }

    async fn authenticate(
        &self,
        request: &IssueRequest,
        digest: TokenDigest,
        place: &mut Place,
    ) -> Result<Caller, IssueError> {
        let span = info_span!("authenticate", acs_broker.tenant.id = Empty, acs_broker.client_app.id = Empty,
            error.type = Empty, otel.status_code = Empty);
        let outcome = self.verify(request, digest, place).instrument(span.clone()).await;
        if let Some(decided) = authentication(&outcome) {
            self.metrics.authenticated(decided);
        }
        match &outcome {
            Ok(caller) => {
                span.record("acs_broker.tenant.id", tracing::field::display(caller.tenant()));
                span.record("acs_broker.client_app.id", tracing::field::display(caller.client_app()));
            }
            Err(error) => fail(&span, error),
        }
        outcome
    }

    async fn verify(
        &self,
        request: &IssueRequest,
        digest: TokenDigest,
        place: &mut Place,
    ) -> Result<Caller, IssueError> {
        let miss = match self.authenticator.verify(&request.token, digest) {
            Verdict::Accepted(caller) => return Ok(caller),
            Verdict::Refused(rejection) => return Err(rejection.into()),
            Verdict::KeyMiss(miss) => miss,
        };
        // Anyone can send an unknown `kid`: those who wait for keys must not keep others out.
        place.leave();
        tokio::time::timeout_at(request.deadline, miss.settle())
            .await
            .map_err(|_| IssueError::DeadlineExceeded)??;
        match self.authenticator.verify(&request.token, digest) {
            // Only who goes on needs a place again; the others are told what they waited for.
            Verdict::Accepted(caller) => {
                place.return_to()?;
                Ok(caller)
            }
            Verdict::Refused(rejection) => Err(rejection.into()),
            Verdict::KeyMiss(miss) => Err(miss.into_rejection().into()),
        }
    }

    /// The resource that serves the caller. One whom none covers is not assigned anywhere.
    fn route(&self, caller: &Caller, asked: &Asked) -> Result<&Resource, IssueError> {
        let ids = CallerIds::of(caller);
        let (place, resource) = self.routes.of(caller).ok_or_else(|| {
            self.metrics.unrouted();
            IssueError::Denied {
                denied: Denied::NoAssignment,
                caller: ids,
            }
        })?;
        match &asked.resources {
            Some(places) if !places.contains(&place) => Err(IssueError::TargetMismatch(ids)),
            _ => Ok(resource),
        }
    }

    /// Before the cache, on every request: an assignment taken away takes effect at once.
    async fn authorize(resource: &Resource, caller: Caller, deadline: Instant) -> Result<Permit, IssueError> {
        let ids = CallerIds::of(&caller);
        let span = info_span!("authorize", acs_broker.resource.name = resource.name.as_deref(),
            acs_broker.assignment.kind = Empty, error.type = Empty, otel.status_code = Empty);
        let authorized = resource.authorizer.authorize(caller, deadline);
        authorized
            .instrument(span.clone())
            .await
            .inspect(|permit| {
                span.record("acs_broker.assignment.kind", permit.basis().name());
                resource.metrics.authorized(permit.basis().counted());
            })
            .inspect_err(|denied| resource.metrics.authorized(denied.counted()))
            .map_err(|denied| IssueError::Denied { denied, caller: ids })
            .inspect_err(|error| fail(&span, error))
    }

    async fn exchange(
        &self,
        resource: &Resource,
        permit: Permit,
        request: IssueRequest,
        digest: TokenDigest,
    ) -> Result<Answer<IssuedToken>, IssueError> {
        let span = info_span!("cache", acs_broker.cache.outcome = Empty, error.type = Empty, otel.status_code = Empty);
        let caller = CallerIds::of(permit.caller());
        let max_age = (permit.basis() == Basis::AcsAlone).then_some(resource.unknown_groups_max_age);
        let plan = resource
            .exchanger
            .plan(permit, digest, request.asked.operation)
            .map_err(|error| IssueError::Exchange { error, caller })
            .inspect_err(|error| fail(&span, error))?;
        let wish = Request {
            digest,
            token_expires_on: plan.bounded_by(),
            max_age,
        };
        let key = plan.key().clone();
        let flight = Flight {
            exchanger: Arc::clone(&resource.exchanger),
            plan: Arc::new(plan),
            token: request.token,
            deadline: request.deadline,
            parent: span.clone(),
            underway: self.underway.clone(),
            metrics: resource.metrics.clone(),
        };
        let answer = self
            .cache
            .get(key, &wish, move |waiting| flight.clone().run(waiting))
            .instrument(span.clone());
        let outcome = match tokio::time::timeout_at(request.deadline, answer).await {
            Ok(outcome) => outcome.map_err(|error| IssueError::Exchange { error, caller }),
            Err(_) => Err(IssueError::DeadlineExceeded),
        };
        match &outcome {
            Ok(answer) => {
                span.record("acs_broker.cache.outcome", answer.outcome.name());
                resource.metrics.cache(match answer.outcome {
                    Outcome::Hit => CacheRequest::Hit,
                    Outcome::Miss => CacheRequest::Miss,
                    Outcome::Shared => CacheRequest::Shared,
                });
            }
            Err(error) => {
                fail(&span, error);
                resource.metrics.cache(CacheRequest::Failed);
            }
        }
        outcome
    }
}

/// An exchange as it goes on without its caller.
#[derive(Clone)]
struct Flight {
    exchanger: Arc<Exchanger>,
    plan: Arc<ExchangePlan>,
    token: BearerToken,
    deadline: Instant,
    parent: Span,
    underway: Admission,
    metrics: ResourceMetrics,
}

impl Flight {
    async fn run(self, waiting: Waiting) -> Result<IssuedToken, ExchangeError> {
        let (metrics, mode, began) = (self.metrics.clone(), self.exchanger.mode_name(), Instant::now());
        let outcome = self.fly(waiting).await;
        let name = outcome.as_ref().err().map_or("granted", ExchangeError::name);
        metrics.exchanged(mode, name, waiting == Waiting::Nobody, began.elapsed());
        outcome
    }

    async fn fly(self, waiting: Waiting) -> Result<IssuedToken, ExchangeError> {
        // In the caller's trace, but not holding his spans open: they end when he is answered.
        let span = info_span!(parent: None, "exchange", acs_broker.exchange.ahead = waiting == Waiting::Nobody,
            error.type = Empty, otel.status_code = Empty);
        propagation::follow(&span, &self.parent);
        drop(self.parent);
        // Bounded apart from the requests: a renewal, or an exchange whose caller has left, keeps nobody out who can be
        // served from the cache.
        let _place = match self.underway.enter() {
            Ok(place) => place,
            Err(overloaded) => return Err(overloaded.into()),
        };
        let deadline = match waiting {
            Waiting::Caller => Some(self.deadline),
            Waiting::Nobody => None,
        };
        let outcome = self
            .exchanger
            .exchange(&self.plan, &self.token, deadline)
            .instrument(span.clone())
            .await;
        if let Err(error) = &outcome {
            span.record("error.type", error.name());
            span.record("otel.status_code", "ERROR");
            if waiting == Waiting::Nobody {
                span.in_scope(|| tracing::warn!(%error, "renewing a token in the background failed"));
            }
        }
        outcome
    }
}

/// What is counted of it. A caller for whom there is no place again was let in before; he is counted as refused.
fn authentication(outcome: &Result<Caller, IssueError>) -> Option<Authentication> {
    match outcome {
        Ok(_) | Err(IssueError::Overloaded(_)) => Some(Authentication::Accepted),
        Err(IssueError::Rejected(rejection)) => Some(rejection.counted()),
        Err(IssueError::DeadlineExceeded) => Some(Authentication::UpstreamTimeout),
        Err(_) => None,
    }
}

fn fail(span: &Span, error: &IssueError) {
    span.record("error.type", error.name());
    span.record("otel.status_code", "ERROR");
}

impl IssueError {
    /// Its name in spans: of low cardinality.
    fn name(&self) -> &'static str {
        match self {
            Self::Overloaded(_) => "overloaded",
            Self::Rejected(_) => "token_rejected",
            Self::ScopeMismatch(_) => "scope_mismatch",
            Self::TargetMismatch(_) => "target_mismatch",
            Self::Denied { denied, .. } => denied.name(),
            Self::Exchange { error, .. } => error.name(),
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }
}
