//! The limit on a listener's connections: each holds a permit, and an idle one is closed for a newcomer.

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
/// How long a connection may be at anything, where [`Eviction::Any`] holds.
const BUSY_GRACE: Duration = Duration::from_secs(1);
/// How often a newcomer without a permit checks whether a connection can be closed by now.
const RECHECK_INTERVAL: Duration = Duration::from_millis(20);
/// The shortest time between two searches for memory, in milliseconds.
const MEMORY_CHECK_INTERVAL: u64 = 4;
/// Permits kept free where there are many, so that a newcomer need not wait until another connection ends.
const RESERVE: usize = 16;
/// The part of the memory that is kept free in the same way, so that the open connections find some.
const MEMORY_RESERVE: usize = 16;
/// How often it is logged that connections were refused.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Which connections can be closed for a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Those without a request.
    Idle,
    /// Those first, and then any that has been at the same for more than a second.
    Any,
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

/// The rules for permits.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) limit: usize,
    pub(super) by_address: Option<usize>,
    pub(super) exempt: Vec<IpNet>,
    pub(super) eviction: Eviction,
    /// What the connections take from.
    pub(super) memory: Budget,
    /// What each takes at its begin.
    pub(super) bytes: usize,
}

/// Grants the permits of a listener.
pub(super) struct ConnectionLimiter {
    rules: Rules,
    start: Instant,
    open: OpenConnections,
    // When memory was last searched for.
    looked: AtomicU64,
    // Notified when a permit is free again.
    freed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    permits: HashMap<u64, Arc<PermitState>>,
    by_address: HashMap<IpAddr, usize>,
    unlogged: u64,
    logged: Option<Instant>,
}

/// What is known of a connection.
struct PermitState {
    /// Milliseconds since the listener's start, times two, plus one while it is busy.
    since: AtomicU64,
    served: AtomicBool,
    close: CancellationToken,
    overdrawn: AtomicBool,
}

/// A connection's permit; the limiter has it back when this is dropped.
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    address: Option<IpAddr>,
    state: Arc<PermitState>,
    memory: Mutex<Share>,
}

/// There is no memory left for more of a connection.
#[derive(Debug, thiserror::Error)]
#[error("no memory left for this connection")]
pub(super) struct NoMemory;

impl ConnectionLimiter {
    pub(super) fn new(rules: Rules, open: OpenConnections) -> Arc<Self> {
        Arc::new(Self {
            rules,
            start: Instant::now(),
            open,
            looked: AtomicU64::new(u64::MAX),
            freed: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// Waits for a permit for a connection from `address`, closing the one that has been idle for longest if there is none.
    /// `None` if that address has as many as it may have.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Arc<ConnectionPermit>> {
        let address = (!self.is_exempt(address)).then(|| address_block(address));
        if let Some(address) = address
            && !self.may_have_more(address)
        {
            return None;
        }
        loop {
            let freed = self.freed.notified();
            if let Some(permit) = self.try_take(address) {
                return Some(permit);
            }
            self.make_room();
            let _ = tokio::time::timeout(RECHECK_INTERVAL, freed).await;
        }
    }

    fn try_take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Arc<ConnectionPermit>> {
        let mut state = self.state();
        if state.permits.len() >= self.rules.limit {
            return None;
        }
        let memory = self.rules.memory.take(self.rules.bytes)?;
        let id = state.next;
        state.next += 1;
        let permit = Arc::new(PermitState {
            since: AtomicU64::new(self.now() << 1),
            served: AtomicBool::new(false),
            close: CancellationToken::new(),
            overdrawn: AtomicBool::new(false),
        });
        state.permits.insert(id, Arc::clone(&permit));
        if let Some(address) = address {
            *state.by_address.entry(address).or_default() += 1;
        }
        self.open.0.open.fetch_add(1, Ordering::Relaxed);
        let free = self.rules.limit - state.permits.len();
        drop(state);
        if free < RESERVE.min(self.rules.limit / 64) {
            self.make_room();
        }
        Some(Arc::new(ConnectionPermit {
            limiter: Arc::clone(self),
            id,
            address,
            state: permit,
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

    /// Closes the connection that has been idle for longest, if one may be closed, unless as many as are needed are being
    /// closed already.
    fn make_room(&self) {
        let state = self.state();
        let wanted = 1 + RESERVE.min(self.rules.limit / 64);
        let free = self.rules.limit - state.permits.len().min(self.rules.limit);
        let closing = state
            .permits
            .values()
            .filter(|permit| permit.close.is_cancelled())
            .count();
        let short_of_permits = free + closing < wanted;
        let short_of_memory = self.is_short_of_memory() && closing < wanted;
        if !short_of_permits && !short_of_memory {
            return;
        }
        let now = self.now();
        let longest = state
            .permits
            .iter()
            .filter(|(_, permit)| !permit.close.is_cancelled())
            .filter_map(|(id, permit)| Some((permit.eviction_order(now, self.rules.eviction)?, id, permit)))
            .min_by_key(|(order, id, _)| (*order, **id));
        if let Some((_, _, permit)) = longest {
            permit.close.cancel();
            self.open.0.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same for open connections that need memory. There can be very many of them, and looking at each takes a while.
    fn make_room_for_memory(&self) {
        let now = self.now() / MEMORY_CHECK_INTERVAL;
        if self.looked.swap(now, Ordering::Relaxed) != now {
            self.make_room();
        }
    }

    fn is_short_of_memory(&self) -> bool {
        self.rules.memory.remaining() < self.rules.memory.limit() / MEMORY_RESERVE
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX >> 1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitState {
    /// Its order among those that can be closed, if it can: the idle before the busy, the longest first.
    fn eviction_order(&self, now: u64, eviction: Eviction) -> Option<(bool, u64)> {
        let since = self.since.load(Ordering::Relaxed);
        let (since, busy) = (since >> 1, since & 1 == 1);
        let grace = match (busy, self.served.load(Ordering::Relaxed)) {
            (false, true) => Duration::ZERO,
            (false, false) => GRACE,
            (true, _) if eviction == Eviction::Any => BUSY_GRACE,
            (true, _) => return None,
        };
        let held = Duration::from_millis(now.saturating_sub(since));
        (held >= grace).then_some((busy, since))
    }
}

impl ConnectionPermit {
    /// Records whether the connection has neither a request nor a part of one, `now`.
    pub(super) fn set_idle(&self, idle: bool, now: Instant) {
        let since = (self.limiter.at(now) << 1) | u64::from(!idle);
        self.state.since.store(since, Ordering::Relaxed);
        if !idle {
            self.state.served.store(true, Ordering::Relaxed);
        }
    }

    /// Ends when the connection is to be closed for another.
    pub(super) async fn evicted(&self) {
        self.state.close.cancelled().await;
    }

    /// Asks the connection to close once its requests are answered.
    pub(super) fn request_close(&self) {
        self.state.close.cancel();
    }

    /// The connection has more than there was memory for: it is ended before it reads on.
    pub(super) fn overdraw(&self) {
        self.state.overdrawn.store(true, Ordering::Relaxed);
        self.request_close();
    }

    /// Whether it has.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.state.overdrawn.load(Ordering::Relaxed)
    }

    /// Takes `bytes` more for as long as the connection lasts.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), NoMemory> {
        let grown = self.memory().grow(bytes);
        if !grown || self.limiter.is_short_of_memory() {
            self.limiter.make_room_for_memory();
        }
        if grown { Ok(()) } else { Err(NoMemory) }
    }

    fn memory(&self) -> MutexGuard<'_, Share> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ConnectionPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionPermit")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.permits.remove(&self.id);
        if let Some(address) = self.address
            && let Some(has) = state.by_address.get_mut(&address)
        {
            *has -= 1;
            if *has == 0 {
                state.by_address.remove(&address);
            }
        }
        drop(state);
        // The permit is free before its memory is: a newcomer that waits for memory checks again soon.
        self.limiter.open.0.open.fetch_sub(1, Ordering::Relaxed);
        self.limiter.freed.notify_one();
    }
}

/// What counts as one address: one holder has a whole /64 of IPv6 (RFC 6177); an IPv4-mapped address is the IPv4 one.
fn address_block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
