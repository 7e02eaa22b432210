//! An exchange as it goes on without its caller, and how those who share it find its span.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, info_span};

use super::CallerIds;
use crate::admission::Admission;
use crate::cache::flight::Lost;
use crate::cache::{Failure, Token, Waiting};
use crate::exchange::{ExchangeError, ExchangePlan, Exchanger, IssuedToken};
use base::secret::BearerToken;
use telemetry::metrics::ResourceMetrics;
use telemetry::trace::{self, SpanReference, Trace};

/// A token with the span of the exchange that brought it, if that was recorded.
#[derive(Debug)]
pub struct Exchanged {
    /// The token.
    pub token: IssuedToken,
    pub(super) span: Option<SpanReference>,
}

impl Token for Exchanged {
    fn expires_on(&self) -> Timestamp {
        self.token.expires_on()
    }

    fn bytes(&self) -> usize {
        self.token.bytes() + size_of::<Self>() - size_of::<IssuedToken>()
    }
}

/// Why an exchange failed, with its span.
#[derive(Debug, Clone)]
pub struct FailedExchange {
    pub(super) error: ExchangeError,
    pub(super) span: Option<SpanReference>,
}

impl From<Lost> for FailedExchange {
    fn from(lost: Lost) -> Self {
        Self {
            error: lost.into(),
            span: None,
        }
    }
}

impl Failure for FailedExchange {
    fn is_definite_refusal(&self) -> bool {
        self.error.is_definite_refusal()
    }

    fn forbids(&self) -> bool {
        self.error.forbids()
    }

    fn ends(&self) -> bool {
        self.error.ends()
    }
}

/// What an exchange takes along.
#[derive(Clone)]
pub(super) struct Flight {
    pub(super) exchanger: Arc<Exchanger>,
    pub(super) plan: Arc<ExchangePlan>,
    pub(super) token: BearerToken,
    pub(super) deadline: Instant,
    pub(super) caller: CallerIds,
    pub(super) trace: Trace,
    pub(super) underway: Admission,
    pub(super) metrics: ResourceMetrics,
}

impl Flight {
    pub(super) async fn run(self, waiting: Waiting) -> Result<Exchanged, FailedExchange> {
        let (metrics, mode, began) = (self.metrics.clone(), self.exchanger.mode_name(), Instant::now());
        let outcome = self.fly(waiting).await;
        let name = outcome.as_ref().err().map_or("granted", |failed| failed.error.name());
        metrics.exchanged(mode, name, waiting == Waiting::Nobody, began.elapsed());
        outcome
    }

    async fn fly(self, waiting: Waiting) -> Result<Exchanged, FailedExchange> {
        // In the caller's trace, but not holding its spans open: they end when the caller is answered.
        let span = self.trace.follow(|| {
            info_span!(parent: None, "exchange", acs_broker.exchange.ahead = waiting == Waiting::Nobody,
                error.type = Empty, otel.status_code = Empty)
        });
        let Self {
            exchanger,
            plan,
            token,
            deadline,
            caller,
            trace,
            underway,
            metrics: _,
        } = self;
        let flight = async {
            // Bounded apart from the requests: a renewal, or an exchange whose caller has left, keeps nobody out who
            // can be served from the cache.
            let _place = underway.enter()?;
            let deadline = match waiting {
                Waiting::Caller => Some(deadline),
                Waiting::Nobody => None,
            };
            let outcome = exchanger.exchange(&plan, &token, deadline).await;
            if let Err(error) = &outcome
                && waiting == Waiting::Nobody
            {
                let error = caller.in_words_of_others(error);
                tracing::warn!(error, "renewing a token in the background failed");
            }
            outcome
        };
        let flight = trace.carry(flight.instrument(span.clone()));
        // The caller's spans end with the answer, whatever goes on here.
        drop(trace);
        let outcome: Result<IssuedToken, ExchangeError> = flight.await;
        let reference = SpanReference::from_span(&span);
        match outcome {
            Ok(token) => Ok(Exchanged { token, span: reference }),
            Err(error) => {
                trace::record_error(&span, error.name(), || caller.in_words_of_others(&error));
                Err(FailedExchange { error, span: reference })
            }
        }
    }
}
