//! The limit on open files, which every connection counts against.
//!
//! A process that has used it up (EMFILE) accepts no connection, not even a probe's, and opens none to Azure. So the
//! limit is raised as far as the process may, and connections of callers take no more of it than leaves room for what
//! serving them needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sockets and files that do not depend on how many callers there are: standard streams, listeners, event queues,
/// watched files, files that are read again, exporters' connections.
const OTHERS: u64 = 64;

/// With room for fewer connections there is no point in starting.
const FEWEST_CONNECTIONS: u64 = 16;

/// How many files the process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub struct OpenFiles(u64);

impl OpenFiles {
    /// Raises the soft limit to the hard one, and gives what then holds. Where that is not permitted, the soft limit
    /// stays.
    #[must_use]
    pub fn raise() -> Self {
        let now = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: now.maximum,
            ..now
        };
        if now.current != now.maximum
            && let Err(error) = setrlimit(Resource::Nofile, raised)
        {
            tracing::debug!(%error, "the limit on open files was not raised");
        }
        Self(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// What [`raise`](Self::raise) could come to, without raising it.
    #[must_use]
    pub fn most() -> Self {
        Self(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX))
    }

    /// How many connections of callers fit, beside all that is kept for other things.
    pub fn capacity(self, wanted: Wanted) -> Result<Capacity, TooFewFiles> {
        let upstream = wanted.upstream as u64;
        let connections = wanted.connections as u64;
        let kept = OTHERS + wanted.management as u64;
        let enough = connections.saturating_add(upstream).saturating_add(kept);
        if self.0 >= enough {
            return Ok(Capacity::Enough);
        }
        // A caller's request takes one connection to Azure at most, so half of what is left is the most they need.
        let remaining = self.0.saturating_sub(kept);
        let connections = connections.min(remaining - upstream.min(remaining.div_ceil(2)));
        if connections < FEWEST_CONNECTIONS.min(wanted.connections as u64) {
            return Err(TooFewFiles {
                limit: self.0,
                fewest: enough.min(kept + 2 * FEWEST_CONNECTIONS),
                enough,
            });
        }
        if connections == wanted.connections as u64 {
            return Ok(Capacity::Enough);
        }
        Ok(Capacity::Reduced(Clamped {
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            limit: self.0,
            enough,
        }))
    }
}

/// What may be open at once.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Connections of callers.
    pub connections: usize,
    /// Connections to Azure, if each carries one request only.
    pub upstream: usize,
    /// Connections of the management listener.
    pub management: usize,
}

/// Whether all fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// It does.
    Enough,
    /// Fewer connections of callers do.
    Reduced(Clamped),
}

/// Fewer connections than were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clamped {
    /// How many of callers there can be.
    pub connections: usize,
    /// The limit on open files.
    pub limit: u64,
    /// The limit at which all would fit.
    pub enough: u64,
}

/// The limit on open files leaves no room for callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit on open files (RLIMIT_NOFILE, `ulimit -n`) is {limit}; at least {fewest} are needed, and {enough} for \
     server.max_connections and server.max_in_flight as they are set"
)]
pub struct TooFewFiles {
    limit: u64,
    fewest: u64,
    enough: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(connections: usize, upstream: usize) -> Wanted {
        Wanted {
            connections,
            upstream,
            management: 64,
        }
    }

    #[test]
    fn connections_take_what_is_left() {
        for (limit, connections, upstream, expected) in [
            (u64::MAX, 4096, 1024, None),
            (1 << 20, 4096, 1024, None),
            (5248, 4096, 1024, None),
            (5247, 4096, 1024, Some(4095)),
            (4096, 4096, 1024, Some(2944)),
            (1024, 4096, 1024, Some(448)),
            (256, 4096, 1024, Some(64)),
            (160, 4096, 1024, Some(16)),
            // Few callers keep all that they were promised.
            (1024, 100, 1024, None),
            (256, 8, 8, None),
            (143, 7, 8, None),
        ] {
            let capacity = OpenFiles(limit).capacity(wanted(connections, upstream));
            let clamped = match capacity.unwrap() {
                Capacity::Enough => None,
                Capacity::Reduced(clamped) => Some(clamped.connections),
            };
            assert_eq!(clamped, expected, "{limit} {connections} {upstream}");
        }
    }

    #[test]
    fn without_room_for_anybody_it_says_what_is_needed() {
        for limit in [0, 32, 128, 159] {
            let error = OpenFiles(limit).capacity(wanted(4096, 1024)).unwrap_err().to_string();
            assert!(error.contains(&format!("is {limit}; at least 160")), "{error}");
            assert!(error.contains("5248"), "{error}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let most = OpenFiles::most();
        assert!(OpenFiles::raise() <= most);
        assert_eq!(OpenFiles::raise(), OpenFiles::raise());
    }

    proptest! {
        #[test]
        fn all_that_is_served_and_kept_fits(limit in 0_u64..20_000, connections in 1_usize..10_000, upstream in 1_usize..10_000) {
            if let Ok(Capacity::Reduced(clamped)) = OpenFiles(limit).capacity(wanted(connections, upstream)) {
                prop_assert!(clamped.connections <= connections);
                // Each connection can have its request sent on.
                let busy = clamped.connections.min(upstream) as u64;
                prop_assert!(clamped.connections as u64 + busy + 64 + OTHERS <= limit);
            }
        }
    }
}
