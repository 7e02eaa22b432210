//! Where assignments come from, and the set in force.

pub mod file;
mod node;
pub mod parse;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::AssignmentIndex;
use crate::clock::SharedClock;

/// The set of assignments in force: the last good one. Cheap to clone and to read.
#[derive(Clone)]
pub struct AssignmentWatch {
    state: Arc<State>,
    clock: SharedClock,
}

#[derive(Default)]
struct State {
    current: ArcSwapOption<AssignmentIndex>,
    // Monotonic time since which the source could not be read, while the last good set serves.
    failing_since: ArcSwapOption<Duration>,
}

impl AssignmentWatch {
    /// A watch with no assignments loaded.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            state: Arc::default(),
            clock,
        }
    }

    /// The assignments in force, if any were loaded yet.
    #[must_use]
    pub fn current(&self) -> Option<Arc<AssignmentIndex>> {
        self.state.current.load_full()
    }

    /// How long the source has been unreadable or broken, if it is.
    #[must_use]
    pub fn failing_for(&self) -> Option<Duration> {
        let since = **self.state.failing_since.load().as_ref()?;
        Some(self.clock.monotonic().saturating_sub(since))
    }

    fn replace(&self, index: AssignmentIndex) {
        self.state.current.store(Some(Arc::new(index)));
        self.state.failing_since.store(None);
    }

    fn failed(&self) {
        if self.state.failing_since.load().is_none() {
            self.state.failing_since.store(Some(Arc::new(self.clock.monotonic())));
        }
    }
}

#[cfg(test)]
impl AssignmentWatch {
    /// A watch over `index`.
    pub(super) fn for_test(index: AssignmentIndex) -> Self {
        let watch = Self::new(crate::clock::SystemClock::shared());
        watch.replace(index);
        watch
    }
}
