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
use redis::{ErrorKind, RedisError};

use crate::chores::{Chore, Chores};
use crate::observer::Operation;
use crate::random_name;
use crate::script;
use crate::store::{Asker, Away, Fault, Store};

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
        match answer {
            Ok(Turn::Taken) => Taken::Place(SharedPlace {
                window: self.clone(),
                length: ask.rate.window,
                id: Some(id),
            }),
            Ok(Turn::Full(wait)) => Taken::Full { next_free_in: wait },
            Ok(Turn::Paused(wait)) => Taken::Paused { remaining: wait },
            Err(_) => Taken::Away,
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

    async fn run(&self, id: &str, ask: &Ask) -> Result<Turn, Away> {
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
        let work = async {
            let answer: Answer = self.store.run(Asker::Request, &script::TAKE, &keys, &arguments).await?;
            let nonsense = || RedisError::from((ErrorKind::UnexpectedReturnType, "no answer of the script"));
            read(&answer).ok_or_else(|| Fault::Answer(nonsense()))
        };
        let (turn, status) = self.store.operate(Operation::Budget, work).await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        Ok(turn)
    }
}

/// What the script gives: what came of it, the places that count, the budget in force, and microseconds. The numbers are those of
/// the protocol: into another type the client would cast them.
pub(crate) type Answer = (String, i64, String, i64);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Taken,
    Full(Duration),
    Paused(Duration),
}

/// What an answer says, if it is one that the script gives.
pub(crate) fn read((what, used, limit, wait): &Answer) -> Option<(Turn, WindowStatus)> {
    let wait = Duration::from_micros(u64::try_from(*wait).ok()?);
    let (turn, paused_for) = match what.as_str() {
        "taken" => (Turn::Taken, None),
        "full" => (Turn::Full(wait), None),
        "paused" => (Turn::Paused(wait), Some(wait)),
        _ => return None,
    };
    let limit = limit
        .parse()
        .ok()
        .filter(|limit: &f64| limit.is_finite() && *limit >= 0.0)?;
    let status = WindowStatus {
        used: u64::try_from(*used).ok()?,
        limit,
        paused_for,
    };
    Some((turn, status))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_gives_is_an_answer_and_nothing_else_is() {
        let said = |what: &str, limit: &str| read(&(what.to_owned(), 3, limit.to_owned(), 1_500_000));
        let wait = Duration::from_millis(1500);
        let status = |paused_for| WindowStatus {
            used: 3,
            limit: 37.5,
            paused_for,
        };
        assert_eq!(said("taken", "37.500000000"), Some((Turn::Taken, status(None))));
        assert_eq!(said("full", "37.500000000"), Some((Turn::Full(wait), status(None))));
        assert_eq!(
            said("paused", "37.500000000"),
            Some((Turn::Paused(wait), status(Some(wait))))
        );
        for (what, limit) in [
            ("", "1"),
            ("Taken", "1"),
            ("taken", ""),
            ("taken", "many"),
            ("taken", "nan"),
            ("taken", "inf"),
            ("full", "-1"),
        ] {
            assert_eq!(said(what, limit), None, "{what} {limit}");
        }
        for (used, wait) in [(-1, 0), (0, -1)] {
            assert_eq!(read(&("full".to_owned(), used, "1".to_owned(), wait)), None);
        }
    }
}
