//! Background work that a running broker owns: nothing is spawned that shutdown does not know of.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle for spawning work that ends with the broker.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Spawns work that is dropped at its next await once [`stop`](Self::stop) is called.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.track(work));
    }

    /// The same for work that runs elsewhere. It gives `None` if it was stopped.
    pub fn track<F: Future>(&self, work: F) -> impl Future<Output = Option<F::Output>> + use<F> {
        let work = self.stop.clone().run_until_cancelled_owned(work);
        self.tracker.track_future(work)
    }

    /// Cancels all work and waits for its end, at most for `limit`.
    pub async fn stop(&self, limit: Duration) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "background work did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_runs_elsewhere_is_stopped_and_waited_for() {
        let tasks = Tasks::default();
        assert_eq!(tasks.track(async { 1 }).await, Some(1));
        let endless = tokio::spawn(tasks.track(std::future::pending::<u8>()));
        tasks.stop(Duration::from_secs(60)).await;
        assert!(tasks.tracker.is_empty());
        assert_eq!(endless.await.unwrap(), None);
    }
}
