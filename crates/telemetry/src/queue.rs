//! What waits for the collector: bounded, and what is lost is counted.
//!
//! In place of the SDK's batch processors. Those drop the newest where there is no room, do not say how many, and do
//! nothing else while a batch is being sent: what is held back for another attempt could neither go back into the queue
//! nor be given up for what came later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::Notify;

use super::filter::AUDIT_TARGET;
use super::metrics::Metrics;
use super::metrics::labels::Signal;

/// Log records with the scope that they were written in.
pub(super) type LogItem = (SdkLogRecord, InstrumentationScope);

/// How much may wait, and how it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batching {
    /// What may wait, apart from the batch that is being sent.
    pub(super) capacity: usize,
    /// What is sent at once, at most.
    pub(super) batch: usize,
    /// How long the first of a batch waits for others.
    pub(super) delay: Duration,
}

/// What waits of one signal. Where there is no room, the oldest goes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// A whole batch is there.
    filled: Notify,
    batching: Batching,
    signal: Signal,
    metrics: Metrics,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(batching: Batching, signal: Signal, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                closed: false,
            }),
            filled: Notify::new(),
            batching,
            signal,
            metrics,
        })
    }

    pub(super) fn batching(&self) -> Batching {
        self.batching
    }

    pub(super) fn signal(&self) -> Signal {
        self.signal
    }

    /// One more. Never waits for anything but another who adds or takes.
    pub(super) fn add(&self, item: T) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            return self.lost(1);
        }
        let full = state.waiting.len() >= self.batching.capacity;
        // Dropped after the lock is given back.
        let oldest = if full { state.waiting.pop_front() } else { None };
        state.waiting.push_back(item);
        let filled = state.waiting.len() == self.batching.batch;
        drop(state);
        if full {
            self.lost(1);
        }
        drop(oldest);
        if filled {
            self.filled.notify_one();
        }
    }

    /// The oldest, as many as are sent at once.
    pub(super) fn take(&self) -> Vec<T> {
        let mut state = self.state();
        let batch = self.batching.batch.min(state.waiting.len());
        state.waiting.drain(..batch).collect()
    }

    /// Lets what was taken wait again, as the oldest; there may be no room for all of it any more.
    pub(super) fn put_back(&self, batch: Vec<T>) {
        let mut state = self.state();
        let room = self.batching.capacity.saturating_sub(state.waiting.len());
        let lost = batch.len().saturating_sub(room);
        for item in batch.into_iter().skip(lost).rev() {
            state.waiting.push_front(item);
        }
        drop(state);
        self.lost(lost as u64);
    }

    /// Waits until a whole batch is there.
    pub(super) async fn filled(&self) {
        loop {
            // No notice comes for what is there already.
            if self.state().waiting.len() >= self.batching.batch {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// Gives up all that waits.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        state.closed = true;
        let lost = std::mem::take(&mut state.waiting);
        drop(state);
        self.lost(lost.len() as u64);
    }

    /// So many went nowhere.
    pub(super) fn lost(&self, items: u64) {
        if items > 0 {
            self.metrics.dropped(self.signal, items);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never called: at the end the queues are sent by `Exports::stop`, which has a limit for it.
fn not_before_the_end() -> OTelSdkResult {
    Err(OTelSdkError::InternalFailure(
        "what is queued is sent in time, and at the end".to_owned(),
    ))
}

/// The way to the span exporter, as the SDK knows it. Spans that are made afterwards do not come by way of the SDK.
#[derive(Debug)]
pub(super) struct SpanQueue(pub(super) Arc<Queue<SpanData>>);

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.add(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        not_before_the_end()
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.0.close();
        Ok(())
    }
}

/// The way to the log exporter. Audit events have a queue of their own: anyone can cause log lines, and must not push out
/// what is said of verified callers.
#[derive(Debug)]
pub(super) struct LogQueue {
    pub(super) lines: Arc<Queue<LogItem>>,
    pub(super) audit: Arc<Queue<LogItem>>,
}

impl LogProcessor for LogQueue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        let is_audit = record.target().is_some_and(|target| target == AUDIT_TARGET);
        let queue = if is_audit { &self.audit } else { &self.lines };
        queue.add((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        not_before_the_end()
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.lines.close();
        self.audit.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn queue(capacity: usize, batch: usize) -> (Arc<Queue<u32>>, impl Fn() -> u64) {
        let metrics = Metrics::local();
        let batching = Batching {
            capacity,
            batch,
            delay: Duration::from_secs(1),
        };
        let queue = Queue::new(batching, Signal::Traces, metrics.clone());
        let lost = move || {
            let name = "acs_broker_telemetry_dropped_total{acs_broker_signal=\"traces\"} ";
            let text = metrics.scrape().unwrap();
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().parse::<u64>().unwrap()
        };
        (queue, lost)
    }

    #[test]
    fn where_there_is_no_room_the_oldest_goes_and_is_counted() {
        let (queue, lost) = queue(4, 3);
        (0..6).for_each(|item| queue.add(item));
        assert_eq!(lost(), 2);
        assert_eq!(queue.take(), [2, 3, 4]);
        assert_eq!(queue.take(), [5]);
        assert_eq!(lost(), 2);
    }

    #[test]
    fn what_comes_back_is_the_oldest_again_and_goes_first() {
        let (queue, lost) = queue(4, 3);
        (0..4).for_each(|item| queue.add(item));
        let batch = queue.take();
        (4..6).for_each(|item| queue.add(item));
        // Three wait, so there is room for one.
        queue.put_back(batch);
        assert_eq!(lost(), 2);
        queue.add(6);
        assert_eq!(lost(), 3);
        assert_eq!(queue.take(), [3, 4, 5]);
        queue.put_back(vec![3, 4, 5]);
        assert_eq!((queue.take(), queue.take(), lost()), (vec![3, 4, 5], vec![6], 3));
        (0..4).for_each(|item| queue.add(item));
        queue.put_back(vec![7, 8, 9]);
        assert_eq!((queue.take(), lost()), (vec![0, 1, 2], 6));
    }

    #[test]
    fn nothing_is_lost_unseen_at_the_end() {
        let (queue, lost) = queue(4, 3);
        queue.add(0);
        queue.close();
        queue.add(1);
        assert_eq!(lost(), 1);
        queue.give_up();
        assert_eq!((lost(), queue.take().len()), (2, 0));
    }

    #[tokio::test]
    async fn a_whole_batch_is_reported_at_once() {
        let (queue, _) = queue(4, 3);
        queue.add(0);
        assert!(queue.filled().now_or_never().is_none());
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.filled().await }
        });
        tokio::task::yield_now().await;
        queue.add(1);
        queue.add(2);
        waiting.await.unwrap();
        queue.filled().await;
    }
}
