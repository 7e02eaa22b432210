//! From process signals to cancellation tokens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// When to stop: first politely, then at once.
#[derive(Debug, Clone, Default)]
pub struct ShutdownSignals {
    /// Stop accepting and finish what is in flight.
    pub draining: CancellationToken,
    /// Drop everything.
    pub abort: CancellationToken,
}

impl ShutdownSignals {
    /// The same signals with `draining` coming `delay` later: for listeners that keep serving while load balancers
    /// notice that the broker is no longer ready. An abort is not delayed.
    #[must_use]
    pub fn delayed(&self, delay: Duration) -> Self {
        let later = Self {
            draining: CancellationToken::new(),
            abort: self.abort.clone(),
        };
        let (first, last) = (self.clone(), later.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = first.abort.cancelled() => {}
                () = async {
                    first.draining.cancelled().await;
                    tokio::time::sleep(delay).await;
                } => {}
            }
            last.draining.cancel();
        });
        later
    }
}

/// Listens for SIGTERM and SIGINT: the first one cancels `draining`, the second one `abort`.
///
/// Handlers are installed before this returns. As process 1 of a container the broker depends on them: the
/// kernel gives that process no default action for SIGTERM.
pub fn signals() -> io::Result<ShutdownSignals> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signals = ShutdownSignals::default();
    let tokens = signals.clone();
    tokio::spawn(async move {
        for token in [tokens.draining, tokens.abort] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            token.cancel();
            tracing::info!(signal = name, "signal received");
        }
    });
    Ok(signals)
}

/// Listens for SIGHUP: `heard` is called at each, or once for several that come while it is at work. It may block. The
/// signal's default action, the end, is off from now on.
pub fn on_hangup(heard: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let heard = Arc::new(heard);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let heard = Arc::clone(&heard);
            // Off the workers: a file that does not let itself be read would hold up a worker and all its requests.
            let _ = tokio::task::spawn_blocking(move || heard()).await;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send_to_self(signal: &str) {
        // The shell's own `kill`: small images have no program of that name.
        let command = format!("kill {signal} {}", std::process::id());
        let status = std::process::Command::new("sh").args(["-c", &command]).status();
        assert!(status.unwrap().success());
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_aborts() {
        let signals = signals().unwrap();
        send_to_self("-TERM");
        signals.draining.cancelled().await;
        assert!(!signals.abort.is_cancelled());
        send_to_self("-INT");
        signals.abort.cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_draining_is_delayed() {
        let signals = ShutdownSignals::default();
        let later = signals.delayed(Duration::from_secs(5));
        signals.draining.cancel();
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!later.draining.is_cancelled());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(later.draining.is_cancelled());
        assert!(!later.abort.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn an_abort_ends_the_delay() {
        let signals = ShutdownSignals::default();
        let later = signals.delayed(Duration::from_hours(1));
        signals.draining.cancel();
        signals.abort.cancel();
        later.draining.cancelled().await;
        assert!(later.abort.is_cancelled());
    }
}
