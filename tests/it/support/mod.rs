//! What the tests share.

pub(crate) mod fake;
pub(crate) mod forge;
pub(crate) mod http;
pub(crate) mod otlp;
pub(crate) mod process;
pub(crate) mod stack;

use std::time::Duration;

/// How often `eventually` looks.
const INTERVAL: Duration = Duration::from_millis(10);
/// How many times it looks before the test fails: ten seconds, for slow machines.
const TRIES: usize = 1000;

/// Awaits something that happens in the background and tells nobody: the last resort, where there is no answer, no
/// counter and no task to await.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..TRIES {
        if holds().await {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("never happened: {what}");
}
