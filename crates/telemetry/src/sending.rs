//! Sends the queued items to the collector, batch by batch, in the background. A failed batch is kept while there is room.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::filter::OTLP_TARGET;
use super::otlp::{Backoff, Client, Export, Item, Outcome};
use super::queue::Queue;

/// Until when there is still time to send something; `None` before the end has begun.
pub(super) type End = watch::Receiver<Option<Instant>>;

/// One signal's way out.
pub(super) struct Sending<T> {
    pub(super) queue: Arc<Queue<T>>,
    pub(super) client: Client,
    pub(super) resource: ResourceAttributesWithSchema,
    pub(super) end: End,
}

impl<T: Item> Sending<T> {
    /// Runs until the end: then sends what is left, as long as there is time.
    pub(super) async fn run(self) {
        let mut attempts = Attempts::new(
            self.queue.signal().into_str(),
            Backoff::new(self.queue.batching().delay),
        );
        let over = expired(self.end.clone());
        let sent = tokio::select! {
            () = self.work(&mut attempts) => true,
            () = over => false,
        };
        if !sent {
            tracing::warn!(
                target: OTLP_TARGET,
                signal = self.queue.signal().into_str(),
                "telemetry that was left at the end is lost"
            );
        }
        self.queue.give_up();
    }

    async fn work(&self, attempts: &mut Attempts) {
        let mut end = self.end.clone();
        loop {
            tokio::select! {
                biased;
                () = shutdown_begun(&mut end) => break,
                () = self.queue.filled() => {}
                () = sleep(self.queue.batching().delay) => {}
            }
            self.send_all(attempts).await;
        }
        attempts.backoff.reset();
        self.send_all(attempts).await;
    }

    /// Sends until nothing waits.
    async fn send_all(&self, attempts: &mut Attempts) {
        loop {
            let batch = InFlightBatch::take(&self.queue);
            if batch.items.is_empty() {
                return;
            }
            let request = T::request(&batch.items, &self.resource);
            match self.client.send(request).await {
                Outcome::Taken { rejected } => {
                    batch.sent(rejected);
                    attempts.succeeded();
                }
                Outcome::Refused { reason } => {
                    let lost = batch.items.len() as u64;
                    batch.sent(lost);
                    attempts.refused(&reason, lost);
                }
                Outcome::Later { reason, pause } => {
                    drop(batch);
                    let wait = attempts.failed_for_now(&reason, pause);
                    sleep_before_retry(wait, &self.end).await;
                }
            }
        }
    }
}

/// A batch on its way. It goes back into the queue if it is dropped: the attempt failed, or was broken off.
struct InFlightBatch<'q, T> {
    queue: &'q Queue<T>,
    items: Vec<T>,
}

impl<'q, T> InFlightBatch<'q, T> {
    fn take(queue: &'q Queue<T>) -> Self {
        Self {
            queue,
            items: queue.take(),
        }
    }

    /// The collector has it, but for so many.
    fn sent(mut self, lost: u64) {
        self.items.clear();
        self.queue.lost(lost);
    }
}

impl<T> Drop for InFlightBatch<'_, T> {
    fn drop(&mut self) {
        if !self.items.is_empty() {
            self.queue.put_back(std::mem::take(&mut self.items));
        }
    }
}

/// What the log says of attempts, and when the next one is.
pub(super) struct Attempts {
    signal: &'static str,
    backoff: Backoff,
    failing: bool,
}

impl Attempts {
    pub(super) fn new(signal: &'static str, backoff: Backoff) -> Self {
        Self {
            signal,
            backoff,
            failing: false,
        }
    }

    fn succeeded(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.failing) {
            tracing::warn!(target: OTLP_TARGET, signal = self.signal, "the collector takes telemetry again");
        }
    }

    fn refused(&mut self, reason: &str, items: u64) {
        // It answers.
        self.backoff.reset();
        tracing::warn!(
            target: OTLP_TARGET,
            signal = self.signal,
            reason,
            items,
            "the collector refuses telemetry, which is lost"
        );
    }

    fn failed_for_now(&mut self, reason: &str, pause: Option<Duration>) -> Duration {
        self.failing = true;
        tracing::warn!(
            target: OTLP_TARGET,
            signal = self.signal,
            reason,
            "the collector does not take telemetry now, which is kept as far as there is room"
        );
        self.backoff.wait(pause)
    }
}

/// Waits until the end has begun.
async fn shutdown_begun(end: &mut End) {
    // An error means that the sender is gone.
    let _ = end.wait_for(Option::is_some).await;
}

/// Waits until there is no time left.
async fn expired(mut end: End) {
    let deadline = end.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

/// Waits before another attempt. When the shutdown begins the wait ends at once; from then on it takes its full time.
async fn sleep_before_retry(wait: Duration, end: &End) {
    let mut end = end.clone();
    if end.borrow().is_some() {
        sleep(wait).await;
    } else {
        tokio::select! {
            () = sleep(wait) => {}
            () = shutdown_begun(&mut end) => {}
        }
    }
}

/// Sends a message that is not queued, and retries: at most for `retry_for`, if given, and while there is time.
pub(super) async fn send_with_retry<M: Export + Clone>(
    client: &Client,
    message: M,
    attempts: &mut Attempts,
    retry_for: Option<Duration>,
    end: &End,
) -> bool {
    let began = Instant::now();
    let trying = async {
        loop {
            match client.send(message.clone()).await {
                Outcome::Taken { .. } => {
                    attempts.succeeded();
                    return true;
                }
                Outcome::Refused { reason } => {
                    attempts.refused(&reason, 1);
                    return false;
                }
                Outcome::Later { reason, pause } => {
                    let wait = attempts.failed_for_now(&reason, pause);
                    if retry_for.is_some_and(|retry_for| began.elapsed() + wait >= retry_for) {
                        return false;
                    }
                    sleep_before_retry(wait, end).await;
                }
            }
        }
    };
    tokio::select! {
        sent = trying => sent,
        () = expired(end.clone()) => false,
    }
}
