//! A token between the moment when it is looked at and the one when its caller is answered.

use std::time::Duration;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use super::{IssueError, TokenPipeline, fail};
use crate::admission::{Overloaded, Place};
use crate::authenticate::{Caller, Verdict};
use crate::exchange::Operation;
use base::secret::BearerToken;
use telemetry::metrics::labels::Authentication;

/// A token that was looked at, which costs no waiting: the rest of its request can be read with that in mind.
pub struct Presented {
    token: BearerToken,
    operation: Option<Operation>,
    verdict: Verdict,
    place: Place,
    span: Span,
    // How long looking took.
    pub(super) took: Duration,
}

impl Presented {
    /// Whether it is refused, whatever else its request says.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.verdict, Verdict::Refused(_))
    }

    /// Gives the request's place to others for as long as the rest of it is on its way.
    pub fn leave_place(&mut self) {
        self.place.leave();
    }

    /// Takes a place again.
    pub fn return_to_place(&mut self) -> Result<(), Overloaded> {
        self.place.return_to()
    }
}

/// What is still needed of a token whose caller is known. It holds the request's place.
pub(super) struct Known {
    pub(super) token: BearerToken,
    pub(super) operation: Option<Operation>,
    _place: Place,
}

impl TokenPipeline {
    /// Looks at `token`, which came by ACS's path for `operation`, if by one. What that decides is returned by
    /// [`issue`](Self::issue).
    pub fn look(&self, token: BearerToken, operation: Option<Operation>) -> Result<Presented, IssueError> {
        let place = self.admission.enter()?;
        let started = self.clock.monotonic();
        let span = info_span!("authenticate", acs_broker.tenant.id = Empty, acs_broker.client_app.id = Empty,
            acs_broker.key.id = Empty, enduser.pseudo.id = Empty, enduser.id = Empty, error.type = Empty, otel.status_code = Empty);
        let verdict = span.in_scope(|| self.verify(&token, operation));
        let took = self.clock.monotonic().saturating_sub(started);
        Ok(Presented {
            token,
            operation,
            verdict,
            place,
            span,
            took,
        })
    }

    /// Tells what was decided, which may have to wait for keys.
    pub(super) async fn authenticate(
        &self,
        presented: Presented,
        deadline: Instant,
    ) -> Result<(Caller, Known), IssueError> {
        let Presented {
            token,
            operation,
            verdict,
            mut place,
            span,
            took: _,
        } = presented;
        let outcome = self
            .settle(verdict, &token, operation, &mut place, deadline)
            .instrument(span.clone())
            .await;
        if let Some(decided) = authentication(&outcome) {
            self.metrics.authenticated(decided);
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
        let known = Known {
            token,
            operation,
            _place: place,
        };
        outcome.map(|caller| (caller, known))
    }

    fn verify(&self, token: &BearerToken, operation: Option<Operation>) -> Verdict {
        let is_wanted = |presenter| operation.is_none_or(|operation| self.routes.take(operation, presenter));
        self.authenticator.verify(token, &is_wanted)
    }

    async fn settle(
        &self,
        verdict: Verdict,
        token: &BearerToken,
        operation: Option<Operation>,
        place: &mut Place,
        deadline: Instant,
    ) -> Result<Caller, IssueError> {
        let miss = match verdict {
            Verdict::Accepted(caller) => return Ok(caller),
            Verdict::Refused(rejection) => return Err(rejection.into()),
            Verdict::KeyMiss(miss) => miss,
        };
        // Anyone can send an unknown `kid`: those who wait for keys must not keep others out.
        place.leave();
        tokio::time::timeout_at(deadline, miss.settle())
            .await
            .map_err(|_| IssueError::DeadlineExceeded)??;
        match self.verify(token, operation) {
            // Only a caller who goes on needs a place again; the others get the outcome they waited for.
            Verdict::Accepted(caller) => {
                place.return_to()?;
                Ok(caller)
            }
            Verdict::Refused(rejection) => Err(rejection.into()),
            Verdict::KeyMiss(miss) => Err(miss.into_rejection().into()),
        }
    }
}

/// What is counted of it. A caller who finds no place again was authenticated; that refusal is counted as such.
fn authentication(outcome: &Result<Caller, IssueError>) -> Option<Authentication> {
    match outcome {
        Ok(_) | Err(IssueError::Overloaded(_)) => Some(Authentication::Accepted),
        Err(IssueError::Rejected(rejection)) => Some(rejection.counted()),
        Err(IssueError::DeadlineExceeded) => Some(Authentication::UpstreamTimeout),
        Err(_) => None,
    }
}
