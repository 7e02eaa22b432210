//! What an idle connection over HTTP/1.1 gives back.
//!
//! hyper keeps a buffer of 8 KiB for each direction for as long as it has a connection: most of what an idle one takes. So a
//! connection that has had no request for [`IDLE`] is taken from hyper, and given to it anew with the next byte. To hyper it
//! looks as if the client had closed it between two requests: what hyper does then is to flush, and to shut the stream down,
//! which is left out. What a client sees of it is nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection is without a request before it gives its buffers back. Taking it from hyper and giving it back costs a
/// few microseconds, which who sends one request after the other shall not pay.
pub(super) const IDLE: Duration = Duration::from_millis(100);

/// Where a connection is on its way to rest.
#[derive(Default)]
pub(super) enum Rest {
    /// hyper has it.
    #[default]
    Awake,
    /// hyper has it, and it is looked at again whether it is idle.
    Looking(Pin<Box<Sleep>>),
    /// hyper was told that the client sends no more.
    Ending,
    /// hyper is done with it.
    Resting,
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
                Self::Awake => *self = Self::Looking(Box::pin(sleep_until(Instant::now() + IDLE))),
                Self::Looking(timer) => {
                    ready!(timer.as_mut().poll(cx));
                    let now = Instant::now();
                    let idle_at = idle_since().map_or(now + IDLE, |since| since + IDLE);
                    if idle_at > now {
                        timer.as_mut().reset(idle_at);
                    } else {
                        *self = Self::Ending;
                    }
                }
                Self::Ending | Self::Resting => return Poll::Ready(()),
            }
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self, Self::Ending)
    }

    pub(super) fn is_resting(&self) -> bool {
        matches!(self, Self::Resting)
    }
}
