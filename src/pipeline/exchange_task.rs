//! An exchange that continues without its caller.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, info_span};

use super::CallerIds;
use crate::admission::Admission;
use crate::cache::{Failure, RefusalScope, RunMode};
use crate::exchange::{ExchangeError, ExchangePlan, Exchanger, IssuedToken};
use base::flight::Lost;
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

impl From<Lost> for FailedExchange {
    fn from(lost: Lost) -> Self {
        Self {
            error: lost.into(),
            span: None,
        }
    }
}

impl Failure for FailedExchange {
    fn refusal_scope(&self) -> Option<RefusalScope> {
        self.error.refusal_scope()
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
    pub(super) metrics: ResourceMetrics,
}

impl ExchangeTask {
    pub(super) async fn run(self, mode: RunMode) -> Result<IssuedToken, FailedExchange> {
        let (metrics, mode_name, began) = (self.metrics.clone(), self.exchanger.mode_name(), Instant::now());
        let outcome = self.run_in_span(mode).await;
        let name = outcome.as_ref().err().map_or("granted", |failed| failed.error.name());
        metrics.exchanged(mode_name, name, mode == RunMode::Background, began.elapsed());
        outcome
    }

    async fn run_in_span(self, mode: RunMode) -> Result<IssuedToken, FailedExchange> {
        // In the caller's trace, but not holding its spans open: they end when the caller is answered.
        let span = self.trace.follow(|| {
            info_span!(parent: None, "exchange", acs_broker.exchange.ahead = mode == RunMode::Background,
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
            metrics: _,
        } = self;
        let exchange = async {
            // Limited apart from the requests: a renewal, or an exchange whose caller has left, must not keep out callers
            // that the cache can serve.
            let _permit = exchange_limit.acquire()?;
            let deadline = (mode == RunMode::Foreground).then_some(deadline);
            let outcome = exchanger.exchange(&plan, &token, deadline).await;
            if let Err(error) = &outcome
                && mode == RunMode::Background
            {
                let error = caller.without_user_id(error);
                tracing::warn!(target: RENEWAL_TARGET, error, "renewing a token in the background failed");
            }
            outcome
        };
        let exchange = trace.carry(exchange.instrument(span.clone()));
        // The caller's spans end with the answer, however long this task goes on.
        drop(trace);
        let outcome: Result<IssuedToken, ExchangeError> = exchange.await;
        outcome.map_err(|error| {
            trace::record_error(&span, error.name(), || caller.without_user_id(&error));
            let span = SpanReference::from_span(&span);
            FailedExchange { error, span }
        })
    }
}
