//! The budget of an ACS endpoint: how many requests it is sent, and who waits for a place.
//!
//! `window` is the rule; here are the queue of first-time callers and the places that are handed out. Azure's limits on
//! token exchanges are at "Service limits for Azure Communication Services".

mod window;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::window::Window;
use super::retry::Withheld;
use base::clock::SharedClock;
use config::Rate;

/// With less of its deadline left a request is not worth sending.
const LEAST_LEFT: Duration = Duration::from_secs(1);
/// The longest and the shortest `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// How long the queue is left alone at most. The clock may be moved forward, which no timer notices.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How a budget is used.
#[derive(Debug, Clone, Copy)]
pub struct BudgetSettings {
    /// How many requests in any window.
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
}

impl Place {
    /// Whether its request was sent, as far as is known by now.
    pub(crate) fn set_sent(&mut self, is_sent: bool) {
        self.is_sent = is_sent;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.return_place(self.is_sent);
    }
}

impl Budget {
    /// A budget of which nothing is used.
    #[must_use]
    pub fn new(settings: BudgetSettings, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                window: Window::new(settings.rate),
                queue: VecDeque::new(),
                is_attended: false,
            }),
            settings,
            changed: Notify::new(),
            clock,
        })
    }

    /// A place at once, or none: for a retry.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>) -> Option<Place> {
        self.take(&mut self.lock())
    }

    /// A place for a renewal, which never waits and leaves a part of the budget to first-time callers.
    #[must_use]
    pub fn try_acquire_for_renewal(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        let now = self.clock.monotonic();
        if state.window.is_below(self.settings.renewal_share, now) {
            self.take(&mut state)
        } else {
            None
        }
    }

    /// A place for a first-time caller, or how to wait for one in the order of arrival. `deadline` is theirs.
    pub fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<Turn, NoPlace> {
        let mut state = self.lock();
        if let Some(place) = self.take(&mut state) {
            return Ok(Turn::Now(place));
        }
        state.queue.retain(|waiting| !waiting.is_closed());
        let now = self.clock.monotonic();
        let ahead = state.queue.len();
        let wait = state
            .window
            .turn(now, ahead)
            .map_or(LONGEST_WAIT, |turn| turn.saturating_sub(now));
        if ahead >= self.settings.queue {
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
        BudgetStatus {
            free: state.window.free(now) as u64,
            limit: state.window.in_force(now),
            waiting: waiting as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one and nobody waits for it.
    fn take(self: &Arc<Self>, state: &mut State) -> Option<Place> {
        let nobody_waits = state.queue.iter().all(oneshot::Sender::is_closed);
        if nobody_waits && state.window.free(self.clock.monotonic()) > 0 {
            state.window.take();
            Some(Place {
                budget: Arc::clone(self),
                is_sent: false,
            })
        } else {
            None
        }
    }

    fn return_place(&self, was_sent: bool) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if was_sent {
            state.window.end(now);
        } else {
            state.window.give_back();
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Hands places to those who wait for as long as anybody does.
    async fn attend(self: Arc<Self>) {
        loop {
            // Places are handed over without the lock: one that is not taken is given back, which needs it.
            while let Some((waiting, place)) = self.next_turn() {
                let _ = waiting.send(Ok(place));
            }
            let wait = {
                let mut state = self.lock();
                if state.queue.is_empty() {
                    state.is_attended = false;
                    return;
                }
                let now = self.clock.monotonic();
                let next = state.window.next_change(now);
                next.map_or(LONGEST_SLEEP, |next| next.saturating_sub(now).min(LONGEST_SLEEP))
            };
            let _ = tokio::time::timeout(wait, self.changed.notified()).await;
        }
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
        };
        Some((waiting, place))
    }
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
mod tests;
