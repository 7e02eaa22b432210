//! The flow of a request, whatever form it came in: authenticate → route → authorize → cache → exchange.

mod caller_ids;
mod flight;
mod presented;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

pub use self::caller_ids::CallerIds;
use self::flight::Flight;
pub use self::flight::{Exchanged, FailedExchange};
use self::presented::Known;
pub use self::presented::Presented;
use crate::admission::{Admission, Overloaded};
use crate::authenticate::{Authenticator, Caller, Rejection};
use crate::authorize::{Basis, Denied, Permit};
use crate::cache::{Answer, Outcome, Request, TokenCache};
use crate::exchange::{ExchangeError, ExchangeKey, IssuedToken};
use crate::route::{Resource, Routes};
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
    pub cache: TokenCache<ExchangeKey, Exchanged, FailedExchange>,
    /// The bound on requests being worked on.
    pub admission: Admission,
    /// The bound on exchanges under way, those included for which no request waits.
    pub underway: Admission,
    /// How users are named in logs and traces.
    pub users: UserNames,
    /// The time.
    pub clock: SharedClock,
    /// Where decisions are recorded.
    pub metrics: Metrics,
}

/// What a caller asks for.
pub struct IssueRequest {
    /// The caller's Entra token, as it was looked at.
    pub presented: Presented,
    /// What else the caller says.
    pub asked: Asked,
    /// When the answer must be there.
    pub deadline: Instant,
}

/// What the form of a request lets a caller say beside their token. None of it widens what they may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The scopes that the caller says the token has.
    pub scope: Option<Scopes>,
    /// The places of the resources that the caller means, any of them.
    pub resources: Option<Vec<usize>>,
}

/// What became of the request, and what was found out on the way.
pub struct Decided {
    /// What the caller gets, or why nothing.
    pub outcome: Result<Issued, IssueError>,
    /// Who the caller is and what covers them, once the token was verified.
    pub trail: Option<Trail>,
}

/// What is known of a verified caller at the end.
#[derive(Debug, Clone)]
pub struct Trail {
    /// Who they are.
    pub caller: CallerIds,
    /// The scopes of their token.
    pub scopes: Scopes,
    /// The resource that serves them, where there are several.
    pub resource: Option<Arc<str>>,
    /// What allows them a token.
    pub basis: Option<Basis>,
}

/// What the caller gets.
pub struct Issued {
    /// What was exchanged.
    pub exchanged: Arc<Exchanged>,
    /// Its scopes: those of the Entra token it was exchanged for, unless the exchange names others.
    pub scopes: Scopes,
    /// Whether it came from the cache.
    pub outcome: Outcome,
    /// How long each stage took.
    pub stages: Stages,
}

impl Issued {
    /// The ACS token.
    #[must_use]
    pub fn token(&self) -> &IssuedToken {
        &self.exchanged.token
    }
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
pub enum IssueError {
    /// No room for another request.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// Authentication refused the caller, or could not decide.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The caller asked for other scopes than their token has.
    #[error("requested scopes are not the token's, which are `{0}`")]
    ScopeMismatch(Untrusted),
    /// The caller asked for another resource than the one that serves them.
    #[error("the resource asked for is not the one that serves {0}")]
    TargetMismatch(CallerIds),
    /// Authorization refused the caller, or could not decide.
    #[error("{}: {caller}", caller.in_words_of_others(denied))]
    Denied {
        /// Why.
        denied: Denied,
        /// Who.
        caller: CallerIds,
    },
    /// The exchange failed.
    #[error("{}: {caller}", caller.in_words_of_others(error))]
    Exchange {
        /// Why.
        error: ExchangeError,
        /// For which caller.
        caller: CallerIds,
    },
    /// The request's deadline passed while the exchange was under way.
    #[error("the request's deadline passed during the exchange")]
    DeadlineExceeded,
}

impl TokenPipeline {
    /// Issues a token, or says why not.
    pub async fn issue(&self, request: IssueRequest) -> Decided {
        let mut trail = None;
        let outcome = self.decide(request, &mut trail).await;
        Decided { outcome, trail }
    }

    async fn decide(&self, request: IssueRequest, trail: &mut Option<Trail>) -> Result<Issued, IssueError> {
        let IssueRequest {
            presented,
            asked,
            deadline,
        } = request;
        let started = self.clock.monotonic().saturating_sub(presented.took);
        let (caller, presented) = self.authenticate(presented, deadline).await?;
        let authenticated = self.clock.monotonic();
        let trail = trail.insert(Trail {
            caller: CallerIds::of(&caller, &self.users),
            scopes: caller.scopes().clone(),
            resource: None,
            basis: None,
        });
        if asked.scope.as_ref().is_some_and(|scope| scope != caller.scopes()) {
            return Err(IssueError::ScopeMismatch(Untrusted::new(&caller.scopes().to_string())));
        }
        let resource = self.route(&caller, &asked, trail)?;
        let permit = Self::authorize(resource, caller, deadline, trail).await?;
        let authorized = self.clock.monotonic();
        let answer = self.exchange(resource, permit, presented, deadline, trail).await?;
        let scopes = answer.token.token.scopes().unwrap_or(&trail.scopes).clone();
        Ok(Issued {
            exchanged: answer.token,
            scopes,
            outcome: answer.outcome,
            stages: Stages {
                authenticate: authenticated.saturating_sub(started),
                authorize: authorized.saturating_sub(authenticated),
                exchange: self.clock.monotonic().saturating_sub(authorized),
            },
        })
    }

    /// The resource that serves the caller. A caller that no resource covers is not assigned anywhere.
    fn route(&self, caller: &Caller, asked: &Asked, trail: &mut Trail) -> Result<&Resource, IssueError> {
        let (place, resource) = self.routes.of(caller).ok_or_else(|| {
            self.metrics.unrouted();
            IssueError::Denied {
                denied: Denied::NoAssignment,
                caller: trail.caller.clone(),
            }
        })?;
        trail.resource.clone_from(&resource.name);
        match &asked.resources {
            Some(places) if !places.contains(&place) => Err(IssueError::TargetMismatch(trail.caller.clone())),
            _ => Ok(resource),
        }
    }

    /// Before the cache, on every request: an assignment taken away takes effect at once.
    async fn authorize(
        resource: &Resource,
        caller: Caller,
        deadline: Instant,
        trail: &mut Trail,
    ) -> Result<Permit, IssueError> {
        let span = info_span!("authorize", acs_broker.resource.name = resource.name.as_deref(),
            acs_broker.assignment.kind = Empty, error.type = Empty, otel.status_code = Empty);
        let authorized = resource.authorizer.authorize(caller, deadline);
        authorized
            .instrument(span.clone())
            .await
            .inspect(|permit| {
                trail.basis = Some(permit.basis());
                span.record("acs_broker.assignment.kind", permit.basis().name());
                resource.metrics.authorized(permit.basis().counted());
            })
            .inspect_err(|denied| resource.metrics.authorized(denied.counted()))
            .map_err(|denied| IssueError::Denied {
                denied,
                caller: trail.caller.clone(),
            })
            .inspect_err(|error| fail(&span, error))
    }

    async fn exchange(
        &self,
        resource: &Resource,
        permit: Permit,
        known: Known,
        deadline: Instant,
        trail: &Trail,
    ) -> Result<Answer<Exchanged>, IssueError> {
        let span = info_span!("cache", acs_broker.cache.outcome = Empty, error.type = Empty, otel.status_code = Empty);
        let caller = || trail.caller.clone();
        let digest = TokenDigest::new(&known.token);
        let max_age = (permit.basis() == Basis::AcsAlone).then_some(resource.unknown_groups_max_age);
        let plan = resource
            .exchanger
            .plan(permit, digest, known.operation)
            .map_err(|error| IssueError::Exchange {
                error,
                caller: caller(),
            })
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
            token: known.token.clone(),
            deadline,
            caller: caller(),
            trace: span.in_scope(Trace::current),
            underway: self.underway.clone(),
            metrics: resource.metrics.clone(),
        };
        let answer = self
            .cache
            .get(key, &wish, move |waiting| flight.clone().run(waiting))
            .instrument(span.clone());
        let Ok(answer) = tokio::time::timeout_at(deadline, answer).await else {
            let error = IssueError::DeadlineExceeded;
            fail(&span, &error);
            return Err(error);
        };
        match answer {
            Ok(answer) => {
                span.record("acs_broker.cache.outcome", answer.outcome.name());
                resource.metrics.cache(match answer.outcome {
                    Outcome::Hit => CacheRequest::Hit,
                    Outcome::Miss => CacheRequest::Miss,
                    Outcome::Shared => CacheRequest::Shared,
                });
                if let (Outcome::Shared, Some(exchange)) = (answer.outcome, answer.token.span) {
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

fn fail(span: &Span, error: &IssueError) {
    trace::record_error(span, error.name(), || error.to_string());
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
