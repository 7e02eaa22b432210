//! Who has a place among the connections of a listener, and who must give theirs up for a newcomer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::memory::{Budget, Share};

/// How long a connection may be silent at its begin before it can be closed for another. Its first request may be on
/// its way.
const GRACE: Duration = Duration::from_millis(100);
/// How long a connection may be at anything, where [`Yielding::All`] holds.
const BUSY_GRACE: Duration = Duration::from_secs(1);
/// How often who waits for a place looks whether somebody can be closed by now.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is looked for memory at most, in milliseconds.
const MEMORY_LOOK: u64 = 4;
/// Places kept free where there are many, so that a newcomer need not wait for another's end.
const RESERVE: usize = 16;
/// The part of the memory that is kept free in the same way, so that those who are there find some.
const MEMORY_RESERVE: usize = 16;
/// How often it is logged that connections were refused.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Which connections can be closed for a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yielding {
    /// Those without a request.
    Idle,
    /// Those first, and then whichever has been at the same for more than a second.
    All,
}

/// How many connections of a listener are open, and how many had to go. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct OpenConnections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    refused: AtomicU64,
    evicted: AtomicU64,
}

impl OpenConnections {
    /// How many there are now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// How many were closed at once, since their address had as many as it may.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// How many were closed for newcomers.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }
}

/// The rules for places.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) limit: usize,
    pub(super) by_address: Option<usize>,
    pub(super) exempt: Vec<IpNet>,
    pub(super) yielding: Yielding,
    /// What the connections take from.
    pub(super) memory: Budget,
    /// What each takes at its begin.
    pub(super) bytes: usize,
}

/// All places of a listener.
pub(super) struct Places {
    rules: Rules,
    start: Instant,
    open: OpenConnections,
    // When somebody last looked for room for more memory.
    looked: AtomicU64,
    // Given to each place, and wakes who waits for one.
    left: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    places: HashMap<u64, Arc<Standing>>,
    by_address: HashMap<IpAddr, usize>,
    unlogged: u64,
    logged: Option<Instant>,
}

/// What is known of a connection.
struct Standing {
    /// Milliseconds since the listener's start, times two, plus one while it is busy.
    since: AtomicU64,
    served: AtomicBool,
    close: CancellationToken,
    overdrawn: AtomicBool,
}

/// A connection's place; it is free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    address: Option<IpAddr>,
    standing: Arc<Standing>,
    memory: Mutex<Share>,
}

/// There is no memory left for more of a connection.
#[derive(Debug, thiserror::Error)]
#[error("no memory left for this connection")]
pub(super) struct NoMemory;

impl Places {
    pub(super) fn new(rules: Rules, open: OpenConnections) -> Arc<Self> {
        Arc::new(Self {
            rules,
            start: Instant::now(),
            open,
            looked: AtomicU64::new(u64::MAX),
            left: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// Waits for a place for a connection from `address`, whose longest silent neighbour must go if there is none.
    /// `None` if that address has all that it may have.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Place>> {
        let address = (!self.is_exempt(address)).then(|| of_one_holder(address));
        if let Some(address) = address
            && !self.may_have_more(address)
        {
            return None;
        }
        loop {
            let left = self.left.notified();
            if let Some(place) = self.try_take(address) {
                return Some(place);
            }
            self.make_room();
            let _ = tokio::time::timeout(LOOK, left).await;
        }
    }

    fn try_take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Arc<Place>> {
        let mut state = self.state();
        if state.places.len() >= self.rules.limit {
            return None;
        }
        let memory = self.rules.memory.take(self.rules.bytes)?;
        let id = state.next;
        state.next += 1;
        let standing = Arc::new(Standing {
            since: AtomicU64::new(self.now() << 1),
            served: AtomicBool::new(false),
            close: CancellationToken::new(),
            overdrawn: AtomicBool::new(false),
        });
        state.places.insert(id, Arc::clone(&standing));
        if let Some(address) = address {
            *state.by_address.entry(address).or_default() += 1;
        }
        self.open.0.open.fetch_add(1, Ordering::Relaxed);
        let free = self.rules.limit - state.places.len();
        drop(state);
        if free < RESERVE.min(self.rules.limit / 64) {
            self.make_room();
        }
        Some(Arc::new(Place {
            places: Arc::clone(self),
            id,
            address,
            standing,
            memory: Mutex::new(memory),
        }))
    }

    fn may_have_more(&self, address: IpAddr) -> bool {
        let mut state = self.state();
        let has = state.by_address.get(&address).copied().unwrap_or(0);
        if self.rules.by_address.is_none_or(|limit| has < limit) {
            return true;
        }
        self.open.0.refused.fetch_add(1, Ordering::Relaxed);
        state.unlogged += 1;
        let now = Instant::now();
        if state.logged.is_none_or(|logged| now - logged >= LOG_INTERVAL) {
            state.logged = Some(now);
            let connections = std::mem::take(&mut state.unlogged);
            drop(state);
            tracing::warn!(
                connections,
                "connections were closed at once: one address has server.max_connections_per_address of them"
            );
        }
        false
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.rules.exempt.iter().any(|network| network.contains(&address))
    }

    /// Has the connection closed that has been silent for longest, if any may be and none is being closed already for
    /// each place that is wanted.
    fn make_room(&self) {
        let state = self.state();
        let wanted = 1 + RESERVE.min(self.rules.limit / 64);
        let free = self.rules.limit - state.places.len().min(self.rules.limit);
        let closing = state.places.values().filter(|place| place.close.is_cancelled()).count();
        let short_of_places = free + closing < wanted;
        let short_of_memory = self.is_short_of_memory() && closing < wanted;
        if !short_of_places && !short_of_memory {
            return;
        }
        let now = self.now();
        let longest = state
            .places
            .iter()
            .filter(|(_, place)| !place.close.is_cancelled())
            .filter_map(|(id, place)| Some((place.yields(now, self.rules.yielding)?, id, place)))
            .min_by_key(|(order, id, _)| (*order, **id));
        if let Some((_, _, place)) = longest {
            place.close.cancel();
            self.open.0.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same, for those who have a place. There can be very many of them: looking at each takes a while.
    fn make_some_room(&self) {
        let now = self.now() / MEMORY_LOOK;
        if self.looked.swap(now, Ordering::Relaxed) != now {
            self.make_room();
        }
    }

    fn is_short_of_memory(&self) -> bool {
        self.rules.memory.left() < self.rules.memory.limit() / MEMORY_RESERVE
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Its order among those that can be closed, if it can: the idle before the busy, the longest first.
    fn yields(&self, now: u64, yielding: Yielding) -> Option<(bool, u64)> {
        let since = self.since.load(Ordering::Relaxed);
        let (since, busy) = (since >> 1, since & 1 == 1);
        let grace = match (busy, self.served.load(Ordering::Relaxed)) {
            (false, true) => Duration::ZERO,
            (false, false) => GRACE,
            (true, _) if yielding == Yielding::All => BUSY_GRACE,
            (true, _) => return None,
        };
        let held = Duration::from_millis(now.saturating_sub(since));
        (held >= grace).then_some((busy, since))
    }
}

impl Place {
    /// The connection has no request and no part of one, or it has.
    pub(super) fn note(&self, idle: bool) {
        let since = (self.places.now() << 1) | u64::from(!idle);
        self.standing.since.store(since, Ordering::Relaxed);
        if !idle {
            self.standing.served.store(true, Ordering::Relaxed);
        }
    }

    /// Ends when the connection must go for another.
    pub(super) async fn wanted(&self) {
        self.standing.close.cancelled().await;
    }

    /// Asks the connection itself to go once its requests are answered.
    pub(super) fn give_up(&self) {
        self.standing.close.cancel();
    }

    /// The connection has more than there was memory for: it is ended before it reads on.
    pub(super) fn overdraw(&self) {
        self.standing.overdrawn.store(true, Ordering::Relaxed);
        self.give_up();
    }

    /// Whether it has.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.standing.overdrawn.load(Ordering::Relaxed)
    }

    /// Takes `bytes` more for as long as the connection lasts.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), NoMemory> {
        let grown = self.memory().grow(bytes);
        if !grown || self.places.is_short_of_memory() {
            self.places.make_some_room();
        }
        if grown { Ok(()) } else { Err(NoMemory) }
    }

    fn memory(&self) -> MutexGuard<'_, Share> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.places.remove(&self.id);
        if let Some(address) = self.address
            && let Some(has) = state.by_address.get_mut(&address)
        {
            *has -= 1;
            if *has == 0 {
                state.by_address.remove(&address);
            }
        }
        drop(state);
        // The place is free before its memory is: who waits for that looks again soon.
        self.places.open.0.open.fetch_sub(1, Ordering::Relaxed);
        self.places.left.notify_one();
    }
}

/// One holder of addresses has a whole /64 of IPv6 (RFC 6177); an IPv4-mapped address is the IPv4 one.
fn of_one_holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
