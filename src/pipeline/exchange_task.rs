//! An exchange that continues without its caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, info_span};

use super::CallerIds;
use crate::admission::Admission;
use crate::cache::shared::{self, Claim, Exchanged};
use crate::cache::{Failure, RefusalScope, RunMode};
use crate::exchange::{ExchangeError, ExchangePlan, Exchanger, IssuedToken};
use crate::limits::{CallerLimits, User};
use azure::budget::{Place, Turn};
use base::flight::{Lost, NoOutcome, Ticket};
use base::secret::BearerToken;
use telemetry::metrics::ResourceMetrics;
use telemetry::trace::{self, SpanReference, Trace};

/// The target of warnings about renewals. Operators search for it, so it does not follow the module's name.
const RENEWAL_TARGET: &str = "acs_token_broker::pipeline::flight";

/// A failed exchange, with its span, to which the callers that shared it link.
#[derive(Debug, Clone)]
pub struct FailedExchange {
    pub(super) error: ExchangeError,
    pub(super) span: Option<SpanReference>,
}

impl From<NoOutcome> for FailedExchange {
    fn from(none: NoOutcome) -> Self {
        Self {
            error: none.into(),
            span: None,
        }
    }
}

impl Failure for FailedExchange {
    fn refusal_scope(&self) -> Option<RefusalScope> {
        self.error.refusal_scope()
    }

    fn is_skipped(&self) -> bool {
        matches!(self.error, ExchangeError::RenewalSkipped)
    }
}

/// An exchange with all that it needs once its caller has left.
#[derive(Clone)]
pub(super) struct ExchangeTask {
    pub(super) exchanger: Arc<Exchanger>,
    pub(super) plan: Arc<ExchangePlan>,
    pub(super) token: BearerToken,
    pub(super) deadline: Instant,
    pub(super) caller: CallerIds,
    pub(super) trace: Trace,
    pub(super) exchange_limit: Admission,
    pub(super) limits: Arc<CallerLimits>,
    pub(super) user: User,
    pub(super) metrics: ResourceMetrics,
}

/// Permission to send an exchange: its place in the endpoint's budget, and until when it may take.
struct Admitted {
    place: Option<Place>,
    deadline: Option<Instant>,
}

impl ExchangeTask {
    pub(super) async fn run(
        self,
        mode: RunMode,
        ticket: Ticket,
        claim: Claim,
    ) -> Result<Exchanged<IssuedToken>, FailedExchange> {
        let (metrics, mode_name, began) = (self.metrics.clone(), self.exchanger.mode_name(), Instant::now());
        let outcome = self.run_in_span(mode, &ticket, &claim).await;
        let name = match &outcome {
            Ok(Exchanged::Token(_)) => "granted",
            // No exchange was made.
            Ok(Exchanged::Elsewhere) => return outcome,
            Err(failed) => failed.error.name(),
        };
        metrics.exchanged(mode_name, name, mode == RunMode::BackgroundRenewal, began.elapsed());
        outcome
    }

    async fn run_in_span(
        self,
        mode: RunMode,
        ticket: &Ticket,
        claim: &Claim,
    ) -> Result<Exchanged<IssuedToken>, FailedExchange> {
        // In the caller's trace, but not holding its spans open: they end when the caller is answered.
        let is_ahead = mode == RunMode::BackgroundRenewal;
        let span = self.trace.follow(|| {
            info_span!(parent: None, "exchange", acs_broker.exchange.ahead = is_ahead,
                error.type = Empty, otel.status_code = Empty)
        });
        let Self {
            exchanger,
            plan,
            token,
            deadline,
            caller,
            trace,
            exchange_limit,
            limits,
            user,
            metrics: _,
        } = self;
        let exchange = async {
            let outcome = async {
                let started = StartedWork::count(&limits, user, mode)?;
                let mut waits = 0;
                loop {
                    if let Some(withheld) = exchanger.endpoint().guards().withhold() {
                        return Err(withheld.into());
                    }
                    let mut admitted = admit(&exchanger, mode, ticket, deadline).await?;
                    // Limited apart from the requests: a renewal, or an exchange whose caller has left, must not keep out
                    // callers that the cache can serve.
                    let permit = exchange_limit.acquire()?;
                    match claim.take().await {
                        shared::Turn::Own => {
                            started.mark_sent();
                            if waits > 0 {
                                // As with those who waited for a place.
                                admitted.deadline = None;
                            }
                            let exchange = exchanger.exchange(&plan, &token, admitted.place, admitted.deadline);
                            return exchange.await.map(Exchanged::Token);
                        }
                        shared::Turn::Found => return Ok(Exchanged::Elsewhere),
                        shared::Turn::Others(_) if is_ahead && waits == MOST_WAITS_AHEAD => {
                            return Err(ExchangeError::RenewalSkipped);
                        }
                        shared::Turn::Others(remaining) => {
                            // What is held here would be held for nothing.
                            drop((admitted, permit));
                            waits += 1;
                            if wait_for_others(claim, remaining, is_ahead, ticket).await? {
                                return Ok(Exchanged::Elsewhere);
                            }
                        }
                    }
                }
            };
            let outcome = outcome.await;
            if let Err(error) = &outcome
                && is_ahead
            {
                let error = caller.without_user_id(error);
                tracing::warn!(target: RENEWAL_TARGET, error, "renewing a token in the background failed");
            }
            outcome
        };
        let exchange = trace.carry(exchange.instrument(span.clone()));
        // The caller's spans end with the answer, however long this task goes on.
        drop(trace);
        let outcome: Result<Exchanged<IssuedToken>, ExchangeError> = exchange.await;
        outcome.map_err(|error| {
            trace::record_error(&span, error.name(), || caller.without_user_id(&error));
            let span = SpanReference::from_span(&span);
            FailedExchange { error, span }
        })
    }
}

/// How often a renewal for which nobody waits waits for another replica.
const MOST_WAITS_AHEAD: u32 = 1;

/// Waits for what another replica brings. Callers hold nothing meanwhile, and without any the exchange is given up; a renewal in
/// the background has none.
async fn wait_for_others(
    claim: &Claim,
    at_most: Duration,
    is_ahead: bool,
    ticket: &Ticket,
) -> Result<bool, ExchangeError> {
    let wait = claim.wait(at_most);
    if is_ahead {
        return Ok(wait.await);
    }
    ticket.wait_for(wait).await.ok_or(ExchangeError::Abandoned)
}

/// Upstream work that a user starts. It does not count if nothing is sent.
struct StartedWork<'l> {
    limits: &'l CallerLimits,
    user: User,
    is_sent: bool,
}

impl<'l> StartedWork<'l> {
    fn count(limits: &'l CallerLimits, user: User, mode: RunMode) -> Result<Self, ExchangeError> {
        match limits.count_upstream(user) {
            Ok(()) => Ok(Self {
                limits,
                user,
                is_sent: false,
            }),
            Err(_) if mode.is_renewal() => Err(ExchangeError::RenewalSkipped),
            Err(exceeded) => Err(exceeded.into()),
        }
    }

    fn mark_sent(mut self) {
        self.is_sent = true;
    }
}

impl Drop for StartedWork<'_> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.limits.uncount_upstream(self.user);
        }
    }
}

/// Takes a place in the endpoint's budget. A first-time caller waits for it in the order of arrival; a renewal does not.
async fn admit(
    exchanger: &Exchanger,
    mode: RunMode,
    ticket: &Ticket,
    deadline: Instant,
) -> Result<Admitted, ExchangeError> {
    let admitted = |place| Admitted {
        place,
        deadline: (mode != RunMode::BackgroundRenewal).then_some(deadline),
    };
    let Some(budget) = &exchanger.endpoint().budget else {
        return Ok(admitted(None));
    };
    if mode.is_renewal() {
        let place = budget.place_for_renewal().await;
        return place
            .map(|place| admitted(Some(place)))
            .ok_or(ExchangeError::RenewalSkipped);
    }
    match budget.turn(deadline).await? {
        Turn::Now(place) => Ok(admitted(Some(place))),
        Turn::Later(turn) => {
            let waited = ticket.wait_for_turn(turn).await.ok_or(ExchangeError::Abandoned)?;
            let place = waited.map_err(|_| ExchangeError::Lost(Lost))??;
            // The one who began to wait may have gone, and others who came later wait on: the exchange has its own limit.
            Ok(Admitted {
                place: Some(place),
                deadline: None,
            })
        }
    }
}
