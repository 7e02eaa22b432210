//! The budget of an endpoint, common to all replicas: places, the pause and what is left of the budget after one.
//!
//! The rule is that of a replica by itself: a request counts from its sending until one window after its end, so that no window
//! of the service's holds more. It is kept by scripts within the store, by the store's own clock.

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use config::Rate;

use crate::chores::{Chore, Chores};
use crate::observer::Operation;
use crate::random_name;
use crate::script;
use crate::store::{Asker, Away, Store};

/// How far a turn is foreseen. The store does nothing else meanwhile.
const FORESEEN: u32 = 10_000;

/// The budget of one endpoint, for all replicas that use the store.
#[derive(Clone)]
pub struct SharedWindow {
    store: Arc<Store>,
    chores: Chores,
    places: String,
    pause: String,
    last: Arc<Mutex<Option<WindowStatus>>>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// The whole budget, as this replica is configured.
    pub rate: Rate,
    /// For a renewal: a place is given only while fewer than this part of the budget in force count.
    pub share: Option<f64>,
    /// The longest that the request may be on its way. If the replica dies meanwhile, its place counts for so long and a window.
    pub longest: Duration,
    /// How many of this replica wait before this one. With any, no place is given, only when there would be one.
    pub ahead: u32,
}

/// The answer.
#[derive(Debug)]
pub enum Taken {
    /// A place.
    Place(SharedPlace),
    /// None now.
    Full {
        /// When it may be this one's turn, at the earliest.
        next_free_in: Duration,
    },
    /// Nothing may be sent.
    Paused {
        /// For how long.
        remaining: Duration,
    },
    /// The store says nothing: the replica goes by its part of the budget.
    Away,
}

/// How full the budget is, as the store said last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowStatus {
    /// How many requests count.
    pub used: u64,
    /// The budget in force, whole or not.
    pub limit: f64,
    /// What is left of a pause.
    pub paused_for: Option<Duration>,
}

/// A place for one request. Dropped without a word it counts as one whose request has ended just now.
pub struct SharedPlace {
    window: SharedWindow,
    length: Duration,
    id: Option<String>,
}

impl SharedWindow {
    pub(crate) fn new(store: Arc<Store>, chores: Chores, endpoint: &str) -> Self {
        let mut hash = String::with_capacity(64);
        for byte in digest(&SHA256, endpoint.as_bytes()).as_ref() {
            // Writing into a string cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        let prefix = &store.settings.prefix;
        Self {
            places: format!("{prefix}{{{hash}}}:places"),
            pause: format!("{prefix}{{{hash}}}:pause"),
            store,
            chores,
            last: Arc::default(),
        }
    }

    /// A place, if there is one.
    pub async fn take(&self, ask: &Ask) -> Taken {
        // If the answer does not arrive, or nobody waits for it any longer, a place may have been taken all the same.
        let mut unsure = Unsure {
            window: self,
            id: Some(random_name()),
        };
        let id = unsure.id.clone().unwrap_or_default();
        let answer = self.run(&id, ask).await;
        if answer != Err(Away::Unanswered) {
            unsure.id = None;
        }
        let Ok((what, wait)) = answer else {
            return Taken::Away;
        };
        match what.as_str() {
            "taken" => Taken::Place(SharedPlace {
                window: self.clone(),
                length: ask.rate.window,
                id: Some(id),
            }),
            "paused" => Taken::Paused { remaining: wait },
            _ => Taken::Full { next_free_in: wait },
        }
    }

    /// How full it is.
    pub async fn status(&self, rate: Rate) -> Option<WindowStatus> {
        let ask = Ask {
            rate,
            share: None,
            longest: Duration::ZERO,
            ahead: 0,
        };
        self.run("", &ask).await.ok()?;
        self.last_known()
    }

    /// How full it was when the store was asked last; nothing while it is away.
    #[must_use]
    pub fn last_known(&self) -> Option<WindowStatus> {
        let known = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|_| self.store.is_reachable())
    }

    /// The service limits us for `length`. `is_new`: this replica knew of no pause.
    pub fn pause(&self, length: Duration, is_new: bool, window: Duration) {
        self.chores.add(Chore::Pause {
            pause: self.pause.clone(),
            length,
            is_new,
            window,
        });
    }

    /// Lets so many requests count for a window from now: those that were sent while the store was away.
    pub fn count(&self, requests: u32, window: Duration) {
        if requests > 0 {
            self.chores.add(Chore::End {
                places: self.places.clone(),
                ids: (0..requests).map(|_| random_name()).collect(),
                window,
            });
        }
    }

    async fn run(&self, id: &str, ask: &Ask) -> Result<(String, Duration), Away> {
        let arguments = [
            id.to_owned(),
            ask.rate.count.to_string(),
            ask.rate.window.as_micros().to_string(),
            ask.longest.as_micros().to_string(),
            ask.share.unwrap_or(1.0).to_string(),
            ask.ahead.min(FORESEEN).to_string(),
        ];
        let arguments = arguments.each_ref().map(String::as_bytes);
        let keys = [self.places.as_str(), self.pause.as_str()];
        let answer = self.store.operate(
            Operation::Budget,
            self.store
                .run::<(String, u64, String, u64)>(Asker::Request, &script::TAKE, &keys, &arguments),
        );
        let (what, used, limit, wait) = answer.await?;
        let wait = Duration::from_micros(wait);
        let status = WindowStatus {
            used,
            limit: limit.parse().unwrap_or_default(),
            paused_for: (what == "paused").then_some(wait),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        Ok((what, wait))
    }
}

impl SharedPlace {
    /// The request has ended: it counts for one window more.
    pub fn end(self) {
        drop(self);
    }

    /// Nothing was sent.
    pub fn give_back(mut self) {
        if let Some(id) = self.id.take() {
            self.window.give_back(id);
        }
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.window.chores.add(Chore::End {
                places: self.window.places.clone(),
                ids: vec![id],
                window: self.length,
            });
        }
    }
}

impl SharedWindow {
    fn give_back(&self, id: String) {
        self.chores.add(Chore::GiveBack {
            places: self.places.clone(),
            id,
        });
    }
}

/// A place that may have been taken.
struct Unsure<'w> {
    window: &'w SharedWindow,
    id: Option<String>,
}

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.window.give_back(id);
        }
    }
}

impl fmt::Debug for SharedWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWindow")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPlace")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
