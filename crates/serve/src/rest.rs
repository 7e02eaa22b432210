//! What an idle connection over HTTP/1.1 gives back.
//!
//! hyper keeps a buffer of 8 KiB for each direction for as long as it has a connection: most of what an idle one takes. So a
//! connection that has had no request for [`IDLE`], or for up to [`LONGEST`] after it was busy, is taken from hyper, and given to
//! it anew with the next byte. To hyper it looks as if the client had closed it between two requests: what hyper does then is
//! to flush, and to shut the stream down, which is left out. What a client sees of it is nothing.
//!
//! Behind a body in chunks hyper may have read the begin of a head that the meter did not see. Such a connection stays with hyper
//! until the end of a head is seen.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection is without a request before it gives its buffers back. Taking it from hyper and giving it back costs a
/// few microseconds, which who sends one request after the other shall not pay.
pub(super) const IDLE: Duration = Duration::from_millis(100);
/// The longest that a connection goes without a look at it. Each look wakes it up, so who is busy has fewer and fewer of them,
/// and may keep its buffers for that long.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// Where a connection is on its way to rest.
#[derive(Default)]
pub(super) enum Rest {
    /// hyper has it.
    #[default]
    Awake,
    /// hyper has it, and it is looked at again whether it is idle.
    Looking {
        timer: Pin<Box<Sleep>>,
        /// If it is not, how long after that the next look is.
        wait: Duration,
    },
    /// hyper reads the end of the stream, and shall be done with it.
    Ending,
}

impl Rest {
    /// Ends when the connection has been idle for long enough, by what `idle_since` says at each look.
    pub(super) fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        mut idle_since: impl FnMut() -> Option<Instant>,
    ) -> Poll<()> {
        loop {
            match self {
                Self::Awake => {
                    *self = Self::Looking {
                        timer: Box::pin(sleep_until(Instant::now() + IDLE)),
                        wait: IDLE,
                    }
                }
                Self::Looking { timer, wait } => {
                    ready!(timer.as_mut().poll(cx));
                    let now = Instant::now();
                    let since = idle_since().unwrap_or(now);
                    if since + IDLE > now {
                        timer.as_mut().reset(since + *wait);
                        *wait = (*wait * 2).min(LONGEST);
                    } else {
                        *self = Self::Ending;
                    }
                }
                Self::Ending => return Poll::Ready(()),
            }
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self, Self::Ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_busy_is_seldom_looked_at() {
        // With one long request, and with one after the other.
        for short in [false, true] {
            let mut looks = 0;
            let mut rest = Rest::default();
            let idle = std::future::poll_fn(|cx| {
                rest.poll_idle(cx, || {
                    looks += 1;
                    short.then(Instant::now)
                })
            });
            let outcome = tokio::time::timeout(Duration::from_mins(1), idle).await;
            assert!(outcome.is_err(), "it is busy");
            assert!((30..70).contains(&looks), "{looks} looks");
        }
    }
}
