//! Connection pools that can be given up: one for each origin, exchanged for a new one when its connections are in doubt.
//!
//! A connection can be dead and nobody says so: a firewall forgot it, a proxy's other side is gone. Whatever is sent on it
//! is swallowed, and an HTTP/2 connection takes every caller with it. Pings find that out in time
//! ([`PING_INTERVAL`](super::PING_INTERVAL)); a request that timed out knows it at once. reqwest offers no way to take one
//! connection out of its pool, so the whole pool of that origin is replaced. Requests under way end on the connection that
//! they have, and close it. A burst of time-outs replaces one pool once, since each names the pool that it was sent from.
//! So an upstream that is merely slow costs one new connection for each deadline at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use url::{Origin, Url};

use super::UpstreamSetupError;
use super::ended::Lost;

/// Makes a client without connections.
type Make = Box<dyn Fn() -> Result<reqwest::Client, UpstreamSetupError> + Send + Sync>;

/// The pools of one client's origins. They are few: those that the configuration names.
pub(super) struct Pools {
    make: Make,
    // For building requests; never sent with unless no other can be made.
    blank: reqwest::Client,
    of_origins: Mutex<HashMap<Origin, Arc<Pool>>>,
}

type Pool = ArcSwap<reqwest::Client>;

impl Pools {
    pub(super) fn new(make: Make) -> Result<Arc<Self>, UpstreamSetupError> {
        Ok(Arc::new(Self {
            blank: make()?,
            make,
            of_origins: Mutex::default(),
        }))
    }

    /// A client for building a request.
    pub(super) fn blank(&self) -> &reqwest::Client {
        &self.blank
    }

    /// The pool of `url`'s origin as it is now, for a request with this `deadline`.
    pub(super) fn lease(self: &Arc<Self>, url: &Url, deadline: Instant) -> Lease {
        let mut pools = self.of_origins.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry(url.origin()).or_insert_with(|| {
            let client = (self.make)().unwrap_or_else(|_| self.blank.clone());
            Arc::new(Pool::from_pointee(client))
        });
        Lease {
            client: pool.load_full(),
            pool: Arc::clone(pool),
            pools: Arc::clone(self),
            host: url.host_str().unwrap_or_default().to_owned(),
            deadline,
            ended: false,
        }
    }
}

/// A request's hold on the pool that it is sent from.
pub(super) struct Lease {
    client: Arc<reqwest::Client>,
    pool: Arc<Pool>,
    pools: Arc<Pools>,
    // For the log.
    host: String,
    deadline: Instant,
    ended: bool,
}

impl Lease {
    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Ends the request. Where its connection was `lost` no other of the pool takes a request either.
    pub(super) fn end(mut self, lost: Option<Lost>) {
        self.ended = true;
        match lost {
            Some(Lost::Silent) => self.replace("a request timed out"),
            Some(Lost::Broken) => self.replace("a connection broke"),
            None => {}
        }
    }

    fn replace(&self, reason: &'static str) {
        if !Arc::ptr_eq(&self.pool.load(), &self.client) {
            return;
        }
        match (self.pools.make)() {
            Ok(client) => {
                self.pool.compare_and_swap(&self.client, Arc::new(client));
                tracing::info!(server.address = %self.host, reason, "an upstream's open connections take no further request");
            }
            Err(error) => {
                tracing::error!(server.address = %self.host, %error, reason, "an upstream's connections cannot be replaced");
            }
        }
    }
}

impl Drop for Lease {
    /// The task that awaits a request may have the same deadline, and drop it at that moment.
    fn drop(&mut self) {
        if !self.ended && Instant::now() >= self.deadline {
            self.replace("a request timed out");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_time_outs_replaces_a_pool_once() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let pools = Pools::new(Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(crate::builder(Duration::from_secs(1)).build().unwrap())
        }))
        .unwrap();
        let url = |text: &str| text.parse::<Url>().unwrap();
        let lease = |text: &str| pools.lease(&url(text), Instant::now() + Duration::from_secs(60));
        let made = || made.load(Ordering::SeqCst);
        assert_eq!(made(), 1, "the blank one");
        let burst: Vec<_> = (0..20).map(|_| lease("https://a.test/x")).collect();
        let other = lease("https://b.test/");
        assert_eq!(made(), 3, "one for each origin");
        for lease in burst {
            lease.end(Some(Lost::Silent));
        }
        assert_eq!(made(), 4);
        // What was sent since is on new connections, which say for themselves how they are.
        let since = lease("https://a.test/y");
        lease("https://a.test/z").end(None);
        assert_eq!(made(), 4);
        since.end(Some(Lost::Broken));
        other.end(None);
        assert_eq!(made(), 5);
    }
}
