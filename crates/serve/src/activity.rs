//! What a connection is doing, and how long it may go on doing it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::limiter::ConnectionPermit;
use super::linger::Linger;
use super::memory::Share;

/// What an answer takes until it is written: it is small, and waits in buffers.
const ANSWER: usize = 2 * 1024;

/// What a connection is doing now.
#[derive(Debug, Clone, Copy)]
struct State {
    in_flight: usize,
    /// Answers for which their client makes no room (HTTP/2's windows).
    unsent: usize,
    /// Since when nothing can be written, as their client does not read.
    stuck: Option<Instant>,
    served: bool,
    /// When the head began to come of which the rest is awaited.
    head: Option<Instant>,
    /// Since when there has been no request, or when the connection began.
    idle_since: Instant,
}

/// Where a connection's parts report what it is doing. Clones are of the same connection.
///
/// Requests come and go without waking anybody: what watches for overdue connections looks at them again before anything
/// that began meanwhile can be overdue.
#[derive(Debug, Clone)]
pub(super) struct ConnectionActivity(Arc<Activity>);

#[derive(Debug)]
struct Activity {
    state: Mutex<State>,
    permit: Arc<ConnectionPermit>,
    // Notified of what may be overdue sooner than what went before.
    hurried: Notify,
    // Notified of every change, for a drain.
    changed: Notify,
}

impl ConnectionActivity {
    pub(super) fn new(permit: Arc<ConnectionPermit>) -> Self {
        let state = State {
            in_flight: 0,
            unsent: 0,
            stuck: None,
            served: false,
            head: None,
            idle_since: Instant::now(),
        };
        Self(Arc::new(Activity {
            state: Mutex::new(state),
            permit,
            hurried: Notify::new(),
            changed: Notify::new(),
        }))
    }

    /// The connection's permit.
    pub(super) fn permit(&self) -> &Arc<ConnectionPermit> {
        &self.0.permit
    }

    /// A part of a head is there, and the rest is not.
    pub(super) fn head_began(&self) {
        if self.state().head.is_none() {
            self.change(|activity, now| activity.head = Some(now));
            self.0.hurried.notify_waiters();
        }
    }

    /// Nothing of a head is awaited any more.
    pub(super) fn head_ended(&self) {
        if self.state().head.is_some() {
            self.change(|activity, _| activity.head = None);
        }
    }

    /// Something waits to be written that the client does not read, or nothing does.
    pub(super) fn is_stuck(&self, stuck: bool) {
        if self.state().stuck.is_some() != stuck {
            self.change(|activity, now| activity.stuck = stuck.then_some(now));
            self.0.hurried.notify_waiters();
        }
    }

    /// Requests that are not answered, or whose answers have not been taken.
    pub(super) fn requests(&self) -> usize {
        let activity = self.state();
        activity.in_flight + activity.unsent
    }

    /// Since when there has been nothing to do after a request, if there is nothing.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let activity = self.state();
        let is_idle = activity.served
            && activity.in_flight == 0
            && activity.unsent == 0
            && activity.stuck.is_none()
            && activity.head.is_none();
        is_idle.then_some(activity.idle_since)
    }

    /// Whether the rest of a head is all that is awaited: every request before it is answered.
    pub(super) fn awaits_head(&self) -> bool {
        let activity = self.state();
        activity.in_flight == 0 && activity.unsent == 0 && activity.stuck.is_none() && activity.head.is_some()
    }

    fn requests_in_flight(&self) -> usize {
        self.state().in_flight
    }

    /// A request is there; it counts until what is given is dropped.
    pub(super) fn request(&self) -> InFlight {
        self.change(|activity, _| {
            activity.in_flight += 1;
            activity.served = true;
        });
        InFlight(Some(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        let now = Instant::now();
        let mut activity = self.state();
        change(&mut activity, now);
        let idle = activity.in_flight == 0 && activity.head.is_none();
        self.0.permit.set_idle(idle, now);
        drop(activity);
        self.0.changed.notify_waiters();
    }

    /// Ends when no request has been in flight for `flush`, in which the last answer is written. While `linger` lets an
    /// answer reach its client it does not end: that is bounded by itself, and the connection ends with it.
    pub(super) fn drained(&self, flush: Duration, linger: Option<Linger>) -> impl Future<Output = ()> + Send + 'static {
        let connection = self.clone();
        async move {
            loop {
                let mut changed = pin!(connection.0.changed.notified());
                // From here on no change is missed.
                changed.as_mut().enable();
                if connection.requests_in_flight() > 0 {
                    changed.await;
                    continue;
                }
                match tokio::time::timeout(flush, changed).await {
                    Ok(()) => {}
                    Err(_) if linger.as_ref().is_some_and(Linger::is_under_way) => {
                        return std::future::pending().await;
                    }
                    Err(_) => return,
                }
            }
        }
    }

    /// Ends when the connection has had no request, or only a part of a head, for longer than `timeouts` allow. Returns
    /// whether there ever was a request.
    pub(super) fn overdue(&self, timeouts: Timeouts) -> impl Future<Output = bool> + Send + 'static {
        let connection = self.clone();
        async move {
            loop {
                let mut hurried = pin!(connection.0.hurried.notified());
                hurried.as_mut().enable();
                let now = Instant::now();
                let activity = *connection.state();
                let deadline = timeouts.deadline(&activity);
                if deadline.is_some_and(|deadline| deadline <= now) {
                    return activity.served;
                }
                // Nothing that begins from now on is overdue before that.
                let look_again = now + timeouts.head.min(timeouts.next);
                let until = deadline.map_or(look_again, |deadline| deadline.min(look_again));
                let _ = tokio::time::timeout_at(until, hurried).await;
            }
        }
    }
}

/// A request being worked on; counted until its answer is known or it is given up.
pub(super) struct InFlight(Option<ConnectionActivity>);

impl InFlight {
    /// Its answer is known. `memory` is what the request had; most of it is given back.
    pub(super) fn answered(mut self, mut memory: Share) -> Unsent {
        memory.shrink(memory.bytes().saturating_sub(ANSWER));
        let activity = self.0.take();
        if let Some(activity) = &activity {
            activity.change(|activity, now| {
                activity.in_flight -= 1;
                activity.unsent += 1;
                activity.idle_since = now;
            });
        }
        Unsent {
            activity,
            memory: Some(memory),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(activity) = &self.0 {
            activity.change(|activity, now| {
                activity.in_flight -= 1;
                activity.idle_since = now;
            });
        }
    }
}

/// An answer that its connection has not taken yet.
pub(super) struct Unsent {
    activity: Option<ConnectionActivity>,
    memory: Option<Share>,
}

impl Unsent {
    /// It has.
    pub(super) fn taken(mut self) -> Option<Share> {
        self.memory.take()
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.change(|activity, now| {
                activity.unsent -= 1;
                activity.idle_since = now;
            });
        }
    }
}

/// The memory of answers that were handed to the connection's buffers, and may not have left them yet.
#[derive(Clone, Default)]
pub(super) struct Unflushed(Arc<Mutex<Vec<Share>>>);

impl Unflushed {
    pub(super) fn push(&self, memory: Share) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// They have.
    pub(super) fn flushed(&self) {
        let flushed = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(flushed);
    }
}

/// How long a connection may stay without progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For a head, from its first byte, and for a connection's first request, from the connection's begin.
    pub(super) head: Duration,
    /// For the next request, from the last answer.
    pub(super) next: Duration,
    /// Whether heads come beside requests (HTTP/2).
    pub(super) multiplexed: bool,
}

impl Timeouts {
    fn deadline(self, activity: &State) -> Option<Instant> {
        if !activity.served {
            // Whatever has come: hyper itself waits without limit for a connection's first bytes.
            return Some(activity.idle_since + self.head);
        }
        if let Some(stuck) = activity.stuck {
            return Some(stuck + self.head);
        }
        if activity.unsent > 0 && activity.in_flight == 0 {
            return Some(activity.idle_since + self.head);
        }
        match activity.head {
            // It holds up all other streams.
            Some(began) if self.multiplexed => Some(began + self.head),
            // Behind a request nothing more is read.
            Some(began) => (activity.in_flight == 0).then(|| began.max(activity.idle_since) + self.head),
            None => (activity.in_flight == 0).then(|| activity.idle_since + self.next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limiter::ConnectionLimiter;
    use super::super::memory::Budget;
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(10),
        next: Duration::from_secs(75),
        multiplexed: false,
    };

    fn activity() -> ConnectionActivity {
        ConnectionActivity::new(ConnectionLimiter::for_test())
    }

    async fn ends_after(activity: &ConnectionActivity, seconds: u64) -> bool {
        let start = Instant::now();
        let served = activity.overdue(TIMEOUTS).await;
        assert_eq!(start.elapsed().as_secs(), seconds);
        served
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_is_awaited_shorter_than_the_next() {
        let connection = activity();
        assert!(!ends_after(&connection, 10).await);

        let connection = activity();
        let overdue = tokio::spawn(connection.overdue(TIMEOUTS));
        let request = connection.request();
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!overdue.is_finished(), "a request is in flight");
        let answered = Instant::now();
        drop(request);
        assert!(overdue.await.unwrap());
        assert_eq!(answered.elapsed().as_secs(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_awaited_from_its_first_byte() {
        // The first: the wait before it counts, however often a byte comes.
        let connection = activity();
        tokio::time::sleep(Duration::from_secs(6)).await;
        connection.head_began();
        assert!(!ends_after(&connection, 4).await);

        // A later one: only its own time counts.
        let connection = activity();
        drop(connection.request());
        tokio::time::sleep(Duration::from_secs(70)).await;
        connection.head_began();
        tokio::time::sleep(Duration::from_secs(3)).await;
        connection.head_began();
        assert!(ends_after(&connection, 7).await);

        // One that came in full gives the whole time back.
        let connection = activity();
        connection.head_began();
        connection.head_ended();
        drop(connection.request());
        assert!(ends_after(&connection, 75).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_behind_a_request_is_awaited_from_the_answer() {
        let connection = activity();
        let request = connection.request();
        connection.head_began();
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(request);
        assert!(ends_after(&connection, 10).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_beside_a_request_holds_up_the_others() {
        let connection = activity();
        let _request = connection.request();
        connection.head_began();
        let start = Instant::now();
        let multiplexed = Timeouts {
            multiplexed: true,
            ..TIMEOUTS
        };
        assert!(connection.overdue(multiplexed).await);
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_is_not_awaited_for_long() {
        let connection = activity();
        let memory = Budget::new(10_000);
        let unsent = connection.request().answered(memory.take(10_000).unwrap());
        assert_eq!(memory.used(), ANSWER, "the request is over");
        assert!(ends_after(&connection, 10).await);
        let unflushed = Unflushed::default();
        unflushed.push(unsent.taken().unwrap());
        assert_eq!(memory.used(), ANSWER, "it is in a buffer");
        assert!(ends_after(&connection, 75).await);
        connection.is_stuck(true);
        tokio::time::sleep(Duration::from_secs(4)).await;
        connection.is_stuck(true);
        assert!(ends_after(&connection, 6).await);
        connection.is_stuck(false);
        unflushed.flushed();
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_what_is_in_flight() {
        let connection = activity();
        let request = connection.request();
        let drained = tokio::spawn(connection.drained(Duration::from_millis(500), None));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!drained.is_finished());
        drop(request);
        drained.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_lets_the_last_answer_reach_its_client() {
        let flush = Duration::from_millis(500);
        let connection = activity();
        let linger = Linger::default();
        let waiting = tokio::spawn(connection.drained(flush, Some(linger.clone())));
        let start = Instant::now();
        connection.drained(flush, None).await;
        assert_eq!(start.elapsed(), flush);
        waiting.await.unwrap();

        linger.begin();
        let waiting = tokio::spawn(connection.drained(flush, Some(linger)));
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!waiting.is_finished(), "the connection ends it");
    }
}
