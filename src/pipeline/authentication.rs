//! Authentication in two steps: what needs no waiting before the rest of the request is read, and the rest after it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use super::{IssueError, TokenPipeline, fail};
use crate::admission::{InFlightPermit, Overloaded};
use crate::authenticate::{Caller, Verdict};
use crate::exchange::Operation;
use base::secret::BearerToken;
use telemetry::metrics::labels::Authentication;

/// An authentication that has begun, as far as it needs no waiting: the rest of the request can be read in the
/// knowledge of its outcome.
pub struct PendingAuthentication {
    token: BearerToken,
    operation: Option<Operation>,
    verdict: Verdict,
    permit: InFlightPermit,
    span: Span,
    // How long it took so far.
    pub(super) elapsed: Duration,
}

impl PendingAuthentication {
    /// Whether the token is refused, whatever else its request says.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.verdict, Verdict::Refused(_))
    }

    /// Leaves the request's permit to others while the rest of the request is on its way.
    pub fn release_permit(&mut self) {
        self.permit.release();
    }

    /// Acquires a permit again.
    pub fn reacquire_permit(&mut self) -> Result<(), Overloaded> {
        self.permit.reacquire()
    }
}

/// What later stages need of the request of an authenticated caller. It holds the request's permit.
pub(super) struct AuthenticatedRequest {
    pub(super) token: BearerToken,
    pub(super) operation: Option<Operation>,
    permit: InFlightPermit,
}

impl AuthenticatedRequest {
    /// Leaves the request's permit to others for good.
    pub(super) fn release_permit(&mut self) {
        self.permit.release();
    }
}

impl TokenPipeline {
    /// Checks `token`, which came by ACS's path for `operation`, if by one. The outcome is returned by
    /// [`issue`](Self::issue).
    pub fn begin_authentication(
        &self,
        token: BearerToken,
        operation: Option<Operation>,
    ) -> Result<PendingAuthentication, IssueError> {
        let permit = self.admission.acquire()?;
        let started = self.clock.monotonic();
        let span = info_span!("authenticate", acs_broker.tenant.id = Empty, acs_broker.client_app.id = Empty,
            acs_broker.key.id = Empty, enduser.pseudo.id = Empty, enduser.id = Empty, error.type = Empty, otel.status_code = Empty);
        let verdict = span.in_scope(|| self.verify(&token, operation));
        let elapsed = self.clock.monotonic().saturating_sub(started);
        Ok(PendingAuthentication {
            token,
            operation,
            verdict,
            permit,
            span,
            elapsed,
        })
    }

    /// Completes `pending`, which may have to wait for keys.
    pub(super) async fn authenticate(
        &self,
        pending: PendingAuthentication,
        deadline: Instant,
    ) -> Result<(Caller, AuthenticatedRequest), IssueError> {
        let PendingAuthentication {
            token,
            operation,
            verdict,
            mut permit,
            span,
            elapsed: _,
        } = pending;
        let outcome = self
            .complete(verdict, &token, operation, &mut permit, deadline)
            .instrument(span.clone())
            .await;
        if let Some(counted) = counted(&outcome) {
            self.metrics.authenticated(counted);
        }
        match &outcome {
            Ok(caller) if !span.is_disabled() => {
                let user = self.users.name(caller.tenant(), caller.object_id());
                span.record("acs_broker.tenant.id", tracing::field::display(caller.tenant()));
                span.record("acs_broker.client_app.id", tracing::field::display(caller.client_app()));
                span.record("enduser.pseudo.id", user.pseudonym());
                span.record("enduser.id", user.plain().map(tracing::field::display));
            }
            Ok(_) => {}
            Err(error) => fail(&span, error),
        }
        let request = AuthenticatedRequest {
            token,
            operation,
            permit,
        };
        outcome.map(|caller| (caller, request))
    }

    fn verify(&self, token: &BearerToken, operation: Option<Operation>) -> Verdict {
        self.authenticator.verify(token, &self.routes.acceptance(operation))
    }

    async fn complete(
        &self,
        verdict: Verdict,
        token: &BearerToken,
        operation: Option<Operation>,
        permit: &mut InFlightPermit,
        deadline: Instant,
    ) -> Result<Caller, IssueError> {
        let miss = match verdict {
            Verdict::Accepted(caller) => return Ok(caller),
            Verdict::Refused(rejection) => return Err(rejection.into()),
            Verdict::KeyMiss(miss) => miss,
        };
        // Anyone can send an unknown `kid`: requests that wait for keys must not keep others out.
        permit.release();
        // On the heap, as it is rare.
        tokio::time::timeout_at(deadline, Box::pin(miss.settle()))
            .await
            .map_err(|_| IssueError::DeadlineExceeded)??;
        match self.verify(token, operation) {
            // Only an accepted caller needs a permit again; the others get the outcome that they waited for.
            Verdict::Accepted(caller) => {
                permit.reacquire()?;
                Ok(caller)
            }
            Verdict::Refused(rejection) => Err(rejection.into()),
            Verdict::KeyMiss(miss) => Err(miss.into_rejection().into()),
        }
    }
}

/// What is counted. A caller who gets no permit again was authenticated; that refusal is counted elsewhere.
fn counted(outcome: &Result<Caller, IssueError>) -> Option<Authentication> {
    match outcome {
        Ok(_) | Err(IssueError::Overloaded(_)) => Some(Authentication::Accepted),
        Err(IssueError::Rejected(rejection)) => Some(rejection.counted()),
        Err(IssueError::DeadlineExceeded) => Some(Authentication::UpstreamTimeout),
        Err(_) => None,
    }
}
