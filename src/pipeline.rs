//! The flow of a request, whatever form it came in: authenticate → route → authorize → cache → exchange.

mod authentication;
mod caller_ids;
mod exchange_task;
mod explain;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use self::authentication::AuthenticatedRequest;
pub use self::authentication::PendingAuthentication;
pub use self::caller_ids::CallerIds;
use self::exchange_task::ExchangeTask;
pub use self::exchange_task::FailedExchange;
use crate::admission::{Admission, Overloaded};
use crate::authenticate::{Authenticator, Caller, Rejection};
use crate::authorize::{Denied, MatchedAssignment, Permit};
use crate::cache::{Answer, Lookup, Outcome, Source, TokenCache};
use crate::exchange::{ExchangeError, ExchangeKey, IssuedToken};
use crate::limits::{CallerLimits, Exceeded, Limit};
use crate::route::{Resource, ResourceName, Routes};
use azure::budget::LEAST_LEFT;
use base::clock::SharedClock;
use base::ids::Scopes;
use base::secret::TokenDigest;
use base::untrusted::Untrusted;
use telemetry::UserNames;
use telemetry::metrics::Metrics;
use telemetry::metrics::labels::CacheRequest;
use telemetry::trace::{self, Trace};

/// Turns a caller's Entra token into an ACS token.
pub struct TokenPipeline {
    /// Stage one.
    pub authenticator: Arc<Authenticator>,
    /// The ACS resources, each with its stages two and four.
    pub routes: Routes,
    /// Stage three.
    pub cache: TokenCache<ExchangeKey, IssuedToken, FailedExchange>,
    /// How much one caller may ask for and cause.
    pub limits: Arc<CallerLimits>,
    /// The limit on requests in flight.
    pub admission: Admission,
    /// The limit on exchanges in flight, including those for which no request waits.
    pub exchange_limit: Admission,
    /// How users are named in logs and traces.
    pub users: UserNames,
    /// The time.
    pub clock: SharedClock,
    /// Where decisions are recorded.
    pub metrics: Metrics,
}

/// What a request asks of the token beside presenting one of its own. Nothing here widens what the caller may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requested {
    /// The scopes that the token must have.
    pub scope: Option<Scopes>,
    /// The resources one of which must be the caller's.
    pub resources: Option<Vec<ResourceName>>,
}

/// What the audit event says of a verified caller: how far the stages came.
#[derive(Debug, Clone)]
pub struct AuditContext {
    /// Who they are.
    pub caller: CallerIds,
    /// The scopes of their token.
    pub scopes: Scopes,
    /// The resource that serves them, where there are several.
    pub resource: ResourceName,
    /// The assignment that covers them.
    pub assignment: Option<MatchedAssignment>,
    /// Whether they would be refused if assignments were enforced.
    pub would_refuse: bool,
}

/// What the caller gets.
pub struct Issued {
    /// The ACS token.
    pub token: Arc<IssuedToken>,
    /// Whether it came from the cache.
    pub outcome: Outcome,
    /// Which tier of the cache it came from, if it did.
    pub source: Option<Source>,
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

/// Why the caller gets nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum IssueError {
    /// No room for another request.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The caller asks for more than one user, or one address, may.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// Authentication refused the caller, or could not decide.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The caller requested other scopes than their token has.
    #[error("requested scopes are not the token's, which are `{0}`")]
    ScopeMismatch(Untrusted),
    /// The caller requested another resource than the one that serves them.
    #[error("the resource asked for is not the one that serves {0}")]
    TargetMismatch(CallerIds),
    /// Authorization refused the caller, or could not decide.
    #[error("{}: {caller}", caller.without_user_id(denied))]
    Denied {
        /// Why.
        denied: Denied,
        /// Who.
        caller: CallerIds,
    },
    /// The exchange failed.
    #[error("{}: {caller}", caller.without_user_id(error))]
    Exchange {
        /// Why.
        error: ExchangeError,
        /// For which caller.
        caller: CallerIds,
    },
    /// The request's deadline passed during the exchange.
    #[error("the request's deadline passed during the exchange")]
    DeadlineExceeded,
}

impl TokenPipeline {
    /// Issues a token, or says why not. Once the caller is verified there is an audit context, whatever the outcome.
    /// `deadline` is when the answer must be there.
    pub async fn issue(
        &self,
        authentication: PendingAuthentication,
        requested: &Requested,
        deadline: Instant,
    ) -> (Result<Issued, IssueError>, Option<AuditContext>) {
        let mut audit = None;
        let outcome = self.run_stages(authentication, requested, deadline, &mut audit).await;
        (outcome, audit)
    }

    async fn run_stages(
        &self,
        authentication: PendingAuthentication,
        requested: &Requested,
        deadline: Instant,
        audit: &mut Option<AuditContext>,
    ) -> Result<Issued, IssueError> {
        let started = self.clock.monotonic().saturating_sub(authentication.elapsed);
        let (caller, mut request) = self.authenticate(authentication, deadline).await?;
        let authenticated = self.clock.monotonic();
        let audit = audit.insert(AuditContext {
            caller: CallerIds::new(&caller, &self.users),
            scopes: caller.scopes().clone(),
            resource: None,
            assignment: None,
            would_refuse: false,
        });
        if requested.scope.as_ref().is_some_and(|scope| scope != caller.scopes()) {
            return Err(IssueError::ScopeMismatch(Untrusted::new(&caller.scopes().to_string())));
        }
        let user = (caller.tenant(), caller.object_id());
        self.limits.count_user(user)?;
        let outcome = self.serve(caller, &mut request, requested, deadline, audit).await;
        // What one limit refuses none counts.
        if outcome.as_ref().is_err_and(|error| error.limit().is_some()) {
            self.limits.uncount_user(user);
        }
        let (answer, authorized) = outcome?;
        Ok(Issued {
            token: answer.token,
            outcome: answer.outcome,
            source: answer.source,
            stages: Stages {
                authenticate: authenticated.saturating_sub(started),
                authorize: authorized.saturating_sub(authenticated),
                exchange: self.clock.monotonic().saturating_sub(authorized),
            },
        })
    }

    /// The stages after authentication, and when authorization had ended.
    async fn serve(
        &self,
        caller: Caller,
        request: &mut AuthenticatedRequest,
        requested: &Requested,
        deadline: Instant,
        audit: &mut AuditContext,
    ) -> Result<(Answer<IssuedToken>, Duration), IssueError> {
        let resource = self.route(&caller, requested, audit)?;
        let permit = Self::authorize(resource, caller, deadline, audit).await?;
        let authorized = self.clock.monotonic();
        let answer = self.exchange(resource, permit, request, deadline, audit).await?;
        Ok((answer, authorized))
    }

    /// The resource that serves the caller. A caller that no resource covers is not assigned anywhere.
    fn route(&self, caller: &Caller, requested: &Requested, audit: &mut AuditContext) -> Result<&Resource, IssueError> {
        let resource = self.routes.resource_for(caller).ok_or_else(|| {
            self.metrics.unrouted();
            IssueError::Denied {
                denied: Denied::NoAssignment,
                caller: audit.caller.clone(),
            }
        })?;
        audit.resource.clone_from(&resource.name);
        match &requested.resources {
            Some(names) if !names.contains(&resource.name) => Err(IssueError::TargetMismatch(audit.caller.clone())),
            _ => Ok(resource),
        }
    }

    /// Before the cache, on every request: an assignment taken away takes effect at once.
    async fn authorize(
        resource: &Resource,
        caller: Caller,
        deadline: Instant,
        audit: &mut AuditContext,
    ) -> Result<Permit, IssueError> {
        let span = info_span!("authorize", acs_broker.resource.name = resource.name.as_deref(),
            acs_broker.assignment.kind = Empty, error.type = Empty, otel.status_code = Empty);
        let authorized = resource.authorizer.authorize(caller, deadline);
        authorized
            .instrument(span.clone())
            .await
            .inspect(|permit| {
                audit.assignment = Some(permit.assignment());
                span.record("acs_broker.assignment.kind", permit.assignment().name());
                resource.metrics.authorized(permit.counted());
                if let Some(denied) = permit.would_refuse() {
                    audit.would_refuse = true;
                    log_would_refuse(denied, audit);
                }
            })
            .inspect_err(|denied| resource.metrics.authorized(denied.counted()))
            .map_err(|denied| IssueError::Denied {
                denied,
                caller: audit.caller.clone(),
            })
            .inspect_err(|error| fail(&span, error))
    }

    async fn exchange(
        &self,
        resource: &Resource,
        permit: Permit,
        request: &mut AuthenticatedRequest,
        deadline: Instant,
        audit: &AuditContext,
    ) -> Result<Answer<IssuedToken>, IssueError> {
        let span = info_span!("cache", acs_broker.cache.outcome = Empty, acs_broker.cache.source = Empty, error.type = Empty, otel.status_code = Empty);
        let caller = || audit.caller.clone();
        let digest = TokenDigest::new(&request.token);
        let max_age = (permit.assignment() == MatchedAssignment::AcsAlone).then_some(resource.unknown_groups_max_age);
        let plan = resource
            .exchanger
            .plan(permit, digest, request.operation)
            .map_err(|error| IssueError::Exchange {
                error,
                caller: caller(),
            })
            .inspect_err(|error| fail(&span, error))?;
        let lookup = Lookup {
            digest,
            token_expires_on: plan.bounded_by(),
            max_age,
        };
        let answer = match self.cache.served(plan.key().clone(), &lookup).await {
            Ok(answer) => Ok(answer),
            Err(key) => {
                let task = ExchangeTask {
                    exchanger: Arc::clone(&resource.exchanger),
                    user: plan.user(),
                    plan: Arc::new(plan),
                    token: request.token.clone(),
                    deadline,
                    caller: caller(),
                    trace: span.in_scope(Trace::current),
                    exchange_limit: self.exchange_limit.clone(),
                    limits: Arc::clone(&self.limits),
                    metrics: resource.metrics.clone(),
                };
                let exchange = move |mode, ticket, claim| task.clone().run(mode, ticket, claim);
                let shared = resource.shared.as_ref();
                let on_wait = || {
                    // Whoever waits for a place in the budget takes none from those whom the cache can serve.
                    request.release_permit();
                    deadline.checked_sub(LEAST_LEFT).unwrap_or(deadline)
                };
                // On the heap: most requests are served without.
                let answer = Box::pin(self.cache.get(key, &lookup, shared, exchange, on_wait));
                let Ok(mut answer) = tokio::time::timeout_at(deadline, answer.instrument(span.clone())).await else {
                    let error = IssueError::DeadlineExceeded;
                    fail(&span, &error);
                    return Err(error);
                };
                if let Err(failed) = &mut answer
                    && failed.error == ExchangeError::TurnMissed
                    && let Some(budget) = &resource.exchanger.endpoint().budget
                {
                    failed.error = budget.missed().await.into();
                }
                answer
            }
        };
        match answer {
            Ok(answer) => {
                span.record("acs_broker.cache.outcome", answer.outcome.name());
                span.record("acs_broker.cache.source", answer.source.map(Source::name));
                resource.metrics.cache(match answer.outcome {
                    Outcome::Hit => CacheRequest::Hit,
                    Outcome::Miss => CacheRequest::Miss,
                    Outcome::Shared => CacheRequest::Shared,
                });
                if let (Outcome::Shared, Some(exchange)) = (answer.outcome, &answer.token.span) {
                    exchange.link(&span);
                }
                Ok(answer)
            }
            Err(FailedExchange { error, span: exchange }) => {
                resource.metrics.cache(CacheRequest::Failed);
                if let Some(exchange) = exchange {
                    exchange.link(&span);
                }
                let error = IssueError::Exchange {
                    error,
                    caller: caller(),
                };
                fail(&span, &error);
                Err(error)
            }
        }
    }
}

/// At the level of requests: in a trial there can be one for each.
fn log_would_refuse(denied: &Denied, audit: &AuditContext) {
    let user = audit.caller.user();
    tracing::info!(
        decision = "would_refuse",
        acs_broker.tenant.id = %audit.caller.tenant(),
        enduser.pseudo.id = user.pseudonym(),
        enduser.id = user.plain().map(tracing::field::display),
        acs_broker.client_app.id = %audit.caller.client_app(),
        acs_broker.resource.name = audit.resource.as_deref(),
        error = %denied,
        "assignments are not enforced: this caller would be refused"
    );
}

fn fail(span: &Span, error: &IssueError) {
    trace::record_error(span, error.name(), || error.to_string());
}

impl IssueError {
    /// The limit that refused the request, if one did.
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Exceeded(exceeded) => Some(exceeded.limit),
            Self::Denied { denied, .. } => denied.limit(),
            Self::Exchange { error, .. } => error.limit(),
            _ => None,
        }
    }

    /// Its name in spans: of low cardinality.
    fn name(&self) -> &'static str {
        match self {
            Self::Overloaded(_) => "overloaded",
            Self::Exceeded(_) => "limited",
            Self::Rejected(_) => "token_rejected",
            Self::ScopeMismatch(_) => "scope_mismatch",
            Self::TargetMismatch(_) => "target_mismatch",
            Self::Denied { denied, .. } => denied.name(),
            Self::Exchange { error, .. } => error.name(),
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }
}
