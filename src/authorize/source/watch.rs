//! The set in force, and how its sources fare.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::{SourceKind, merge};
use crate::authorize::AssignmentIndex;
use crate::authorize::assignment::Assignment;
use base::clock::SharedClock;

/// The assignments in force: the last good set of each source, as one. Cheap to clone; reading takes no lock.
#[derive(Clone)]
pub struct AssignmentWatch {
    state: Arc<State>,
    clock: SharedClock,
}

struct State {
    kinds: Vec<SourceKind>,
    snapshot: ArcSwapOption<Snapshot>,
    reports: Mutex<BTreeMap<SourceKind, Report>>,
    // What each source listed, kept for the next union where there are several. Held while a union is made.
    lists: Mutex<BTreeMap<SourceKind, Arc<[Assignment]>>>,
}

/// What a source reported of itself. Monotonic times.
#[derive(Debug, Clone, Copy, Default)]
struct Report {
    entries: Option<usize>,
    loaded_at: Option<Duration>,
    failing_since: Option<Duration>,
    max_age: Option<Duration>,
    overdue_after: Option<Duration>,
}

/// What is in force, and from when on it is less.
struct Snapshot {
    index: Arc<AssignmentIndex>,
    loaded: Vec<SourceKind>,
    expiry: Option<Expiry>,
}

/// When what a source listed is too old, the others' serve alone. That is made ahead, for the reader who comes first.
struct Expiry {
    over_after: Duration,
    left: Option<Arc<AssignmentIndex>>,
    left_loaded: Vec<SourceKind>,
}

/// The assignments in force at one moment.
#[derive(Debug, Clone)]
pub struct InForce {
    /// All of them.
    pub index: Arc<AssignmentIndex>,
    /// Whether each source is in it. If not, nothing follows from what it does not hold.
    pub complete: bool,
    /// Whether each source that can narrow scopes is in it.
    pub narrowing_known: bool,
}

/// How a source fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStatus {
    /// Which.
    pub kind: SourceKind,
    /// How many assignments it listed at its last good look.
    pub entries: Option<usize>,
    /// Time since its last good look; `None` if there was none yet.
    pub age: Option<Duration>,
    /// How long it has been failing, if the last look failed.
    pub failing_for: Option<Duration>,
    /// Whether it should have been looked at again by now.
    pub overdue: bool,
    /// Whether what it listed is too old to count.
    pub over: bool,
}

impl AssignmentWatch {
    /// A watch over sources of these kinds, none of them loaded.
    #[must_use]
    pub fn new(clock: SharedClock, kinds: impl IntoIterator<Item = SourceKind>) -> Self {
        let kinds: Vec<SourceKind> = kinds.into_iter().collect();
        let reports = kinds.iter().map(|kind| (*kind, Report::default())).collect();
        Self {
            state: Arc::new(State {
                kinds,
                snapshot: ArcSwapOption::empty(),
                reports: Mutex::new(reports),
                lists: Mutex::default(),
            }),
            clock,
        }
    }

    /// Where the source of this kind writes to; one of those given to [`new`](Self::new).
    #[must_use]
    pub fn source(&self, kind: SourceKind) -> SourceHandle {
        SourceHandle {
            watch: self.clone(),
            kind,
        }
    }

    /// The assignments in force, if any source is loaded.
    #[must_use]
    pub fn current(&self) -> Option<InForce> {
        let snapshot = self.state.snapshot.load();
        let snapshot = snapshot.as_ref()?;
        let (index, loaded) = match &snapshot.expiry {
            Some(expiry) if self.clock.monotonic() > expiry.over_after => (expiry.left.as_ref()?, &expiry.left_loaded),
            _ => (&snapshot.index, &snapshot.loaded),
        };
        let has = |kind: &SourceKind| loaded.contains(kind);
        let kinds = &self.state.kinds;
        Some(InForce {
            index: Arc::clone(index),
            complete: kinds.iter().all(has),
            narrowing_known: kinds.iter().filter(|kind| kind.narrows()).all(has),
        })
    }

    /// How each source fares.
    #[must_use]
    pub fn status(&self) -> Vec<SourceStatus> {
        let now = self.clock.monotonic();
        let reports = self.state.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports
            .iter()
            .map(|(kind, report)| {
                let age = report.loaded_at.map(|at| now.saturating_sub(at));
                let beyond = |limit: Option<Duration>| age.zip(limit).is_some_and(|(age, limit)| age > limit);
                SourceStatus {
                    kind: *kind,
                    entries: report.entries,
                    age,
                    failing_for: report.failing_since.map(|since| now.saturating_sub(since)),
                    overdue: beyond(report.overdue_after),
                    over: beyond(report.max_age),
                }
            })
            .collect()
    }

    fn update(&self, kind: SourceKind, change: impl FnOnce(&mut Report, Duration)) {
        let now = self.clock.monotonic();
        let mut reports = self.state.reports.lock().unwrap_or_else(PoisonError::into_inner);
        change(reports.entry(kind).or_default(), now);
    }

    /// The sources that are loaded, with when their lists are too old, if ever.
    fn loaded(&self) -> Vec<(SourceKind, Option<Duration>)> {
        let reports = self.state.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports
            .iter()
            .filter_map(|(kind, report)| {
                let loaded_at = report.loaded_at?;
                Some((*kind, report.max_age.map(|max_age| loaded_at.saturating_add(max_age))))
            })
            .collect()
    }
}

/// The end of a watch that one source writes to.
#[derive(Clone)]
pub struct SourceHandle {
    watch: AssignmentWatch,
    kind: SourceKind,
}

impl SourceHandle {
    /// Which kind of source this is for.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Whether it is the watch's only source.
    pub(super) fn is_alone(&self) -> bool {
        self.watch.state.kinds.len() < 2
    }

    /// Whether a good set of this source serves now.
    pub(super) fn serves(&self) -> bool {
        let status = self.watch.status();
        status
            .iter()
            .any(|status| status.kind == self.kind && status.age.is_some() && !status.over)
    }

    /// From now on, lists older than `max_age` do not count, and one older than `overdue_after` is reported.
    pub(super) fn ages(&self, overdue_after: Duration, max_age: Duration) {
        self.watch.update(self.kind, |report, _| {
            report.overdue_after = Some(overdue_after);
            report.max_age = Some(max_age);
        });
    }

    /// A new list is in force. Takes a while where there are many assignments.
    pub fn replace(&self, assignments: Vec<Assignment>) {
        let state = &self.watch.state;
        let entries = assignments.len();
        let loaded = |report: &mut Report, now| {
            loaded(report, now);
            report.entries = Some(entries);
        };
        // One union at a time, so that the last one made is of the latest lists.
        let mut lists = state.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_alone() {
            let index = Arc::new(AssignmentIndex::new(&assignments));
            self.watch.update(self.kind, loaded);
            self.watch.store(index, None);
            return;
        }
        lists.insert(self.kind, assignments.into());
        self.watch.update(self.kind, loaded);
        let expiring: Vec<SourceKind> = self
            .watch
            .loaded()
            .into_iter()
            .filter_map(|(kind, over_after)| over_after.map(|_| kind))
            .collect();
        let union = |lists: &BTreeMap<SourceKind, Arc<[Assignment]>>, without: &[SourceKind]| {
            let kept = lists.iter().filter(|(kind, _)| !without.contains(kind));
            let kept: Vec<_> = kept.map(|(kind, list)| (*kind, &**list)).collect();
            (!kept.is_empty()).then(|| Arc::new(AssignmentIndex::new(&merge::union(kept))))
        };
        let left = (!expiring.is_empty()).then(|| union(&lists, &expiring)).flatten();
        if let Some(index) = union(&lists, &[]) {
            self.watch.store(index, left);
        }
    }

    /// The list is what it was: it has only become young again.
    pub(super) fn confirmed(&self) {
        let state = &self.watch.state;
        let _one_at_a_time = state.lists.lock().unwrap_or_else(PoisonError::into_inner);
        self.watch.update(self.kind, loaded);
        let snapshot = state.snapshot.load_full();
        if let Some(snapshot) = snapshot {
            let left = snapshot.expiry.as_ref().and_then(|expiry| expiry.left.clone());
            self.watch.store(Arc::clone(&snapshot.index), left);
        }
    }

    /// The source could not be looked at, or what it lists is no good.
    pub(super) fn failed(&self) {
        self.watch.update(self.kind, |report, now| {
            report.failing_since.get_or_insert(now);
        });
    }
}

fn loaded(report: &mut Report, now: Duration) {
    report.loaded_at = Some(now);
    report.failing_since = None;
}

impl AssignmentWatch {
    fn store(&self, index: Arc<AssignmentIndex>, left: Option<Arc<AssignmentIndex>>) {
        let sources = self.loaded();
        let over_after = sources.iter().filter_map(|(_, over_after)| *over_after).min();
        let expiry = over_after.map(|over_after| Expiry {
            over_after,
            left,
            left_loaded: sources
                .iter()
                .filter(|(_, over_after)| over_after.is_none())
                .map(|(kind, _)| *kind)
                .collect(),
        });
        self.state.snapshot.store(Some(Arc::new(Snapshot {
            index,
            loaded: sources.iter().map(|(kind, _)| *kind).collect(),
            expiry,
        })));
    }
}
