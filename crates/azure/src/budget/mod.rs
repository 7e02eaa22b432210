//! The budget of an ACS endpoint: how many requests it is sent, and who waits for a place.
//!
//! `window` is the rule; here are the queue of first-time callers and the places that are handed out; `shared` takes places
//! from a store that replicas share. Azure's limits on token exchanges are at "Service limits for Azure Communication Services".

mod shared;
mod window;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::shared::{Common, Unshared};
pub use self::shared::{SharedBudget, SharedPlace, SharedStatus, SharedTurn};
use self::window::Window;
use super::pause::Pause;
use super::retry::Withheld;
use base::clock::SharedClock;
use config::Rate;

/// With less of its deadline left a request is not worth sending.
pub const LEAST_LEFT: Duration = Duration::from_secs(1);
/// The longest and the shortest `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// How long the queue is left alone at most. The clock may be moved forward, which no timer notices.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How a budget is used.
#[derive(Debug, Clone, Copy)]
pub struct BudgetSettings {
    /// How many requests in any window; of a shared budget, this replica's part of it, for when the store is away.
    pub rate: Rate,
    /// How many callers may wait.
    pub queue: usize,
    /// Up to which part of it renewals are sent.
    pub renewal_share: f64,
}

/// The budget of one endpoint.
#[derive(Debug)]
pub struct Budget {
    state: Mutex<State>,
    settings: BudgetSettings,
    common: Option<Common>,
    // What the timer of the queue waits for beside the time.
    changed: Notify,
    clock: SharedClock,
}

#[derive(Debug)]
struct State {
    window: Window,
    queue: VecDeque<oneshot::Sender<Result<Place, Withheld>>>,
    // Whether a task looks after the queue.
    is_attended: bool,
    unshared: Unshared,
}

/// Why there is no place for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Their turn would not come in time.
    #[error("the budget of exchanges is used up for {}s", .0.as_secs())]
    TooLate(Duration),
    /// As many wait as may.
    #[error("the queue for the budget of exchanges is full for {}s", .0.as_secs())]
    QueueFull(Duration),
    /// Nothing is sent to the endpoint.
    #[error(transparent)]
    Withheld(#[from] Withheld),
}

/// How full a budget is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetStatus {
    /// How many requests could be sent now.
    pub free: u64,
    /// The budget in force, whole or not.
    pub limit: f64,
    /// How many callers wait.
    pub waiting: u64,
}

/// A place in the budget, for one request. It counts once the request is sent.
#[derive(Debug)]
pub struct Place {
    budget: Arc<Budget>,
    is_sent: bool,
    // The same place in the store.
    shared: Option<Box<dyn SharedPlace>>,
}

impl Place {
    /// Whether its request was sent, as far as is known by now.
    pub(crate) fn set_sent(&mut self, is_sent: bool) {
        self.is_sent = is_sent;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = self.shared.take();
        self.budget.return_place(self.is_sent, shared.is_some());
        match shared {
            Some(place) if self.is_sent => place.end(),
            Some(place) => place.give_back(),
            None => {}
        }
    }
}

impl Budget {
    /// A budget of which nothing is used.
    #[must_use]
    pub fn new(settings: BudgetSettings, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self::own(settings, clock))
    }

    /// A budget that is shared. What other replicas were told of a pause is told to `pause`.
    #[must_use]
    pub fn shared(
        settings: BudgetSettings,
        budget: Arc<dyn SharedBudget>,
        pause: Arc<Pause>,
        clock: SharedClock,
    ) -> Arc<Self> {
        Arc::new(Self {
            common: Some(Common { budget, pause }),
            ..Self::own(settings, clock)
        })
    }

    fn own(settings: BudgetSettings, clock: SharedClock) -> Self {
        Self {
            state: Mutex::new(State {
                window: Window::new(settings.rate),
                queue: VecDeque::new(),
                is_attended: false,
                unshared: Unshared::default(),
            }),
            settings,
            common: None,
            changed: Notify::new(),
            clock,
        }
    }

    /// A place at once, or none: for a retry.
    pub async fn place(self: &Arc<Self>) -> Option<Place> {
        match &self.common {
            Some(common) => self.shared_place(common, None).await,
            None => self.try_acquire(),
        }
    }

    /// A place for a renewal, which never waits and leaves a part of the budget to first-time callers.
    pub async fn place_for_renewal(self: &Arc<Self>) -> Option<Place> {
        match &self.common {
            Some(common) => self.shared_place(common, Some(self.settings.renewal_share)).await,
            None => self.try_acquire_for_renewal(),
        }
    }

    /// A place for a first-time caller, or how to wait for one in the order of arrival. `deadline` is theirs.
    pub async fn turn(self: &Arc<Self>, deadline: Instant) -> Result<Turn, NoPlace> {
        match &self.common {
            Some(common) => self.shared_turn(common, deadline).await,
            None => self.acquire(deadline),
        }
    }

    /// The same as [`place`](Self::place), of what is this replica's own.
    fn try_acquire(self: &Arc<Self>) -> Option<Place> {
        self.take(&mut self.lock())
    }

    /// The same as [`place_for_renewal`](Self::place_for_renewal), of what is this replica's own.
    fn try_acquire_for_renewal(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        let now = self.clock.monotonic();
        if state.window.is_below(self.settings.renewal_share, now) {
            self.take(&mut state)
        } else {
            None
        }
    }

    /// The same as [`turn`](Self::turn), of what is this replica's own.
    fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<Turn, NoPlace> {
        let mut state = self.lock();
        if let Some(place) = self.take(&mut state) {
            return Ok(Turn::Now(place));
        }
        state.queue.retain(|waiting| !waiting.is_closed());
        let ahead = state.queue.len();
        let wait = self.foreseen(&mut state, ahead);
        self.enqueue(&mut state, wait, deadline)
    }

    /// When a caller behind so many others has their turn, at the earliest, of what is this replica's own.
    fn foreseen(&self, state: &mut State, ahead: usize) -> Duration {
        let now = self.clock.monotonic();
        let turn = state.window.turn(now, ahead);
        turn.map_or(LONGEST_WAIT, |turn| turn.saturating_sub(now))
    }

    /// What a caller is answered who waited and whose turn has not come in time.
    pub async fn missed(&self) -> NoPlace {
        // One of those who wait is this caller.
        let ahead = self.waiting().saturating_sub(1);
        let shared = match &self.common {
            Some(common) => Self::shared_wait(common, ahead).await,
            None => None,
        };
        match shared {
            Some(Ok(wait)) => NoPlace::TooLate(jittered(wait)),
            Some(Err(withheld)) => withheld.into(),
            None => NoPlace::TooLate(jittered(self.foreseen(&mut self.lock(), ahead))),
        }
    }

    /// Lets a caller wait whose turn comes in `wait`, at the earliest.
    fn enqueue(self: &Arc<Self>, state: &mut State, wait: Duration, deadline: Instant) -> Result<Turn, NoPlace> {
        state.queue.retain(|waiting| !waiting.is_closed());
        if state.queue.len() >= self.settings.queue {
            return Err(NoPlace::QueueFull(jittered(wait)));
        }
        if Instant::now() + wait + LEAST_LEFT > deadline {
            return Err(NoPlace::TooLate(jittered(wait)));
        }
        let (granted, turn) = oneshot::channel();
        state.queue.push_back(granted);
        if !state.is_attended {
            state.is_attended = true;
            tokio::spawn(Arc::clone(self).attend());
        }
        Ok(Turn::Later(turn))
    }

    /// The service limits us until `until`, a monotonic time. Those who wait are answered so.
    pub(crate) fn pause(&self, is_new: bool, until: Duration) {
        if let Some(common) = &self.common {
            let length = until.saturating_sub(self.clock.monotonic());
            common.budget.pause(length, is_new);
        }
        self.pause_here(is_new, until);
    }

    fn pause_here(&self, is_new: bool, until: Duration) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if is_new {
            state.window.halve(now, until);
        } else {
            state.window.prolong(until);
        }
        drop(state);
        self.refuse_waiting(Withheld::Paused(until.saturating_sub(now)));
    }

    /// Answers all who wait.
    pub(crate) fn refuse_waiting(&self, reason: Withheld) {
        let waiting = std::mem::take(&mut self.lock().queue);
        for waiting in waiting {
            // Whoever has gone needs no answer.
            let _ = waiting.send(Err(reason));
        }
    }

    /// How full it is.
    #[must_use]
    pub fn status(&self) -> BudgetStatus {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let waiting = state.queue.iter().filter(|waiting| !waiting.is_closed()).count();
        let (free, limit) = match self.common.as_ref().and_then(|common| common.budget.last_known()) {
            Some(known) => (whole(known.limit).saturating_sub(known.used), known.limit),
            None => (state.window.free(now) as u64, state.window.in_force(now)),
        };
        BudgetStatus {
            free,
            limit,
            waiting: waiting as u64,
        }
    }

    /// Asks the store how full a shared budget is, for [`status`](Self::status).
    pub async fn look(&self) {
        if let Some(common) = &self.common {
            common.budget.look().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one and nobody waits for it.
    fn take(self: &Arc<Self>, state: &mut State) -> Option<Place> {
        if state.nobody_waits() && state.window.free(self.clock.monotonic()) > 0 {
            state.window.take();
            Some(Place {
                budget: Arc::clone(self),
                is_sent: false,
                shared: None,
            })
        } else {
            None
        }
    }

    fn return_place(&self, was_sent: bool, is_shared: bool) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if was_sent {
            state.window.end(now);
        } else {
            state.window.give_back();
        }
        let tell = was_sent && !is_shared && self.common.is_some();
        let tell = tell && state.unshared.end(now, self.settings.rate.window);
        drop(state);
        if let Some(common) = self.common.as_ref().filter(|_| tell) {
            common.budget.count(1);
        }
        self.changed.notify_one();
    }

    /// Hands places to those who wait for as long as anybody does.
    async fn attend(self: Arc<Self>) {
        loop {
            let wait = match &self.common {
                Some(common) => self.serve_from(common).await,
                None => self.serve(),
            };
            let Some(wait) = wait else { return };
            let _ = tokio::time::timeout(wait, self.changed.notified()).await;
        }
    }

    /// Serves those who wait while there are places of this replica's own. How long to wait until there may be more; `None`
    /// once nobody waits.
    fn serve(self: &Arc<Self>) -> Option<Duration> {
        // Places are handed over without the lock: one that is not taken is given back, which needs it.
        while let Some((waiting, place)) = self.next_turn() {
            let _ = waiting.send(Ok(place));
        }
        if self.ends_attending() {
            return None;
        }
        let now = self.clock.monotonic();
        let next = self.lock().window.next_change(now);
        Some(next.map_or(LONGEST_SLEEP, |next| next.saturating_sub(now).min(LONGEST_SLEEP)))
    }

    /// Whether nobody waits, so that the queue is looked after no more.
    fn ends_attending(&self) -> bool {
        let mut state = self.lock();
        state.queue.retain(|waiting| !waiting.is_closed());
        if state.queue.is_empty() {
            state.is_attended = false;
        }
        state.queue.is_empty()
    }

    fn first_waiting(&self) -> Option<oneshot::Sender<Result<Place, Withheld>>> {
        let mut state = self.lock();
        state.queue.retain(|waiting| !waiting.is_closed());
        state.queue.pop_front()
    }

    fn nobody_waits(&self) -> bool {
        self.lock().nobody_waits()
    }

    fn waiting(&self) -> usize {
        let mut state = self.lock();
        state.queue.retain(|waiting| !waiting.is_closed());
        state.queue.len()
    }

    fn next_turn(self: &Arc<Self>) -> Option<(oneshot::Sender<Result<Place, Withheld>>, Place)> {
        let mut state = self.lock();
        while state.queue.front().is_some_and(oneshot::Sender::is_closed) {
            state.queue.pop_front();
        }
        if state.queue.is_empty() || state.window.free(self.clock.monotonic()) == 0 {
            return None;
        }
        let waiting = state.queue.pop_front()?;
        state.window.take();
        let place = Place {
            budget: Arc::clone(self),
            is_sent: false,
            shared: None,
        };
        Some((waiting, place))
    }
}

impl State {
    fn nobody_waits(&self) -> bool {
        self.queue.iter().all(oneshot::Sender::is_closed)
    }
}

/// Whole requests of a budget.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a u32 at most, never negative"
)]
fn whole(limit: f64) -> u64 {
    (limit + 1e-6).max(0.0).floor() as u64
}

/// A place, or the wait for one.
#[derive(Debug)]
pub enum Turn {
    /// There is one.
    Now(Place),
    /// There will be one.
    Later(oneshot::Receiver<Result<Place, Withheld>>),
}

/// How long a caller is to stay away: until their turn would have come, and a random part more, so that those who were sent
/// away together do not come back together. In whole seconds.
fn jittered(wait: Duration) -> Duration {
    let wait = wait.mul_f64(1.0 + fastrand::f64() / 2.0).as_secs_f64().ceil();
    Duration::from_secs_f64(wait).clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
