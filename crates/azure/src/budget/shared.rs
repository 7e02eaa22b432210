//! A budget that replicas share: places come from a store while it can be reached. While it cannot, a replica goes by the part
//! that is its own.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Budget, LONGEST_SLEEP, NoPlace, Place, Turn};
use crate::pause::Pause;
use crate::retry::Withheld;

/// A budget in a store.
pub trait SharedBudget: Debug + Send + Sync {
    /// A place, if there is one. With `share`, for a renewal, only while fewer requests than that part of the budget count. With
    /// any `ahead` there is none, only when there would be one behind so many others.
    fn take(&self, share: Option<f64>, ahead: usize) -> BoxFuture<'_, SharedTurn>;
    /// The service wants to be left alone for so long. `is_new`: this replica knew of no pause.
    fn pause(&self, length: Duration, is_new: bool);
    /// So many requests were sent without a place of the store's: they count for a window from now.
    fn count(&self, requests: u32);
    /// What the store said last; nothing while it is away.
    fn last_known(&self) -> Option<SharedStatus>;
    /// Asks the store, so that what is known is of now.
    fn look(&self) -> BoxFuture<'_, ()>;
}

/// What a store answers to who wants a place.
#[derive(Debug)]
pub enum SharedTurn {
    /// There is one.
    Place(Box<dyn SharedPlace>),
    /// There is none for so long, at the least.
    Full(Duration),
    /// Nothing is sent for so long.
    Paused(Duration),
    /// The store does not answer.
    Away,
}

/// A place in the store.
pub trait SharedPlace: Debug + Send + Sync {
    /// Its request has ended: it counts for one window more.
    fn end(self: Box<Self>);
    /// Nothing was sent.
    fn give_back(self: Box<Self>);
}

/// How full a budget is for all replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedStatus {
    /// How many requests count.
    pub used: u64,
    /// The budget in force, whole or not.
    pub limit: f64,
}

/// The shared part of a budget.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) budget: Arc<dyn SharedBudget>,
    // What other replicas were told holds here too.
    pub(super) pause: Arc<Pause>,
}

/// What was sent while the store was away.
#[derive(Debug, Default)]
pub(super) struct Unshared {
    is_away: bool,
    // When they ended, the oldest first.
    ended: VecDeque<Duration>,
}

impl Unshared {
    /// A request without a place of the store's has ended. Whether the store can be told.
    pub(super) fn end(&mut self, now: Duration, window: Duration) -> bool {
        if !self.is_away {
            return true;
        }
        self.forget(now, window);
        self.ended.push_back(now);
        false
    }

    /// The store has answered: how many it has to be told of.
    fn reached(&mut self, now: Duration, window: Duration) -> usize {
        if !std::mem::take(&mut self.is_away) {
            return 0;
        }
        self.forget(now, window);
        std::mem::take(&mut self.ended).len()
    }

    fn forget(&mut self, now: Duration, window: Duration) {
        while self.ended.front().is_some_and(|ended| *ended + window <= now) {
            self.ended.pop_front();
        }
    }
}

impl Budget {
    pub(super) async fn shared_place(self: &Arc<Self>, common: &Common, share: Option<f64>) -> Option<Place> {
        if !self.nobody_waits() {
            return None;
        }
        match common.budget.take(share, 0).await {
            SharedTurn::Place(place) => Some(self.placed(common, place)),
            SharedTurn::Full(_) => {
                self.reached(common);
                None
            }
            SharedTurn::Paused(left) => {
                self.paused_elsewhere(common, left);
                None
            }
            SharedTurn::Away => {
                self.lock().unshared.is_away = true;
                match share {
                    Some(_) => self.try_acquire_for_renewal(),
                    None => self.try_acquire(),
                }
            }
        }
    }

    pub(super) async fn shared_turn(self: &Arc<Self>, common: &Common, deadline: Instant) -> Result<Turn, NoPlace> {
        let ahead = self.waiting();
        match common.budget.take(None, ahead).await {
            SharedTurn::Place(place) => Ok(Turn::Now(self.placed(common, place))),
            SharedTurn::Full(wait) => {
                self.reached(common);
                self.enqueue(&mut self.lock(), wait, deadline)
            }
            SharedTurn::Paused(left) => {
                self.paused_elsewhere(common, left);
                Err(Withheld::Paused(left).into())
            }
            SharedTurn::Away => {
                self.lock().unshared.is_away = true;
                self.acquire(deadline)
            }
        }
    }

    /// When a caller behind so many others has their turn, at the earliest. `None`: the store does not answer.
    pub(super) async fn shared_wait(common: &Common, ahead: usize) -> Option<Result<Duration, Withheld>> {
        // With nobody ahead a place would be taken.
        match common.budget.take(None, ahead.max(1)).await {
            SharedTurn::Full(wait) => Some(Ok(wait)),
            SharedTurn::Place(place) => {
                place.give_back();
                Some(Ok(Duration::ZERO))
            }
            SharedTurn::Paused(left) => Some(Err(Withheld::Paused(left))),
            SharedTurn::Away => None,
        }
    }

    /// Serves those who wait while the store has places. How long to wait until there may be more; `None` once nobody waits.
    pub(super) async fn serve_from(self: &Arc<Self>, common: &Common) -> Option<Duration> {
        loop {
            if self.ends_attending() {
                return None;
            }
            match common.budget.take(None, 0).await {
                SharedTurn::Place(place) => {
                    let place = self.placed(common, place);
                    // Without anybody left it is given back.
                    if let Some(waiting) = self.first_waiting() {
                        let _ = waiting.send(Ok(place));
                    }
                }
                SharedTurn::Full(wait) => {
                    self.reached(common);
                    return Some(wait.min(LONGEST_SLEEP));
                }
                SharedTurn::Paused(left) => self.paused_elsewhere(common, left),
                SharedTurn::Away => {
                    self.lock().unshared.is_away = true;
                    return self.serve();
                }
            }
        }
    }

    /// A place of the store's counts here too, for when the store is away.
    fn placed(self: &Arc<Self>, common: &Common, place: Box<dyn SharedPlace>) -> Place {
        self.reached(common);
        self.lock().window.take();
        Place {
            budget: Arc::clone(self),
            is_sent: false,
            shared: Some(place),
        }
    }

    fn reached(&self, common: &Common) {
        let now = self.clock.monotonic();
        let untold = self.lock().unshared.reached(now, self.settings.rate.window);
        if untold > 0 {
            common.budget.count(u32::try_from(untold).unwrap_or(u32::MAX));
        }
    }

    /// Another replica was told to leave the service alone.
    fn paused_elsewhere(&self, common: &Common, left: Duration) {
        self.reached(common);
        let (is_new, until) = common.pause.extend(left);
        self.pause_here(is_new, until);
    }
}
