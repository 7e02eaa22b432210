//! Assignments from a TOML or JSON file, read again when it changes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::Watcher as _;
use tokio::sync::Notify;

use super::parse::{self, Format};
use super::{SourceHandle, warnings};
use crate::authorize::assignment::Assignment;
use base::changing_file::ChangingFile;
use base::ids::TenantId;

/// A file larger than this is not read: 100,000 assignments make about 25 MiB.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Editors write in steps; between them a file can be empty, which would be a valid set.
const SETTLE: Duration = Duration::from_millis(50);

/// Keeps an [`AssignmentWatch`](super::AssignmentWatch) in step with a file. A file that cannot be read, does not parse or breaks a rule
/// leaves the last good set in force.
pub struct FileSource {
    file: ChangingFile,
    listed_tenants: HashSet<TenantId>,
    handle: SourceHandle,
}

/// What one look at the file came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Reload {
    /// As before.
    Unchanged,
    /// A new set is in force.
    Loaded,
    /// The file could not be used; the last good set stays.
    Failed,
}

impl FileSource {
    /// A source that reads `path` into its watch. Assignments for tenants not in `listed_tenants` are warned of.
    #[must_use]
    pub fn new(path: PathBuf, listed_tenants: HashSet<TenantId>, handle: SourceHandle) -> Arc<Self> {
        Arc::new(Self {
            file: ChangingFile::new(path, MAX_FILE_BYTES),
            listed_tenants,
            handle,
        })
    }

    /// Looks at the file now. Blocks on file I/O.
    pub fn reload(&self) -> Reload {
        let look = self.file.look();
        if !look.is_new {
            return Reload::Unchanged;
        }
        let outcome = look
            .content
            .map_err(|error| vec![error.to_string()])
            .and_then(|content| self.parse(&content));
        match outcome {
            Ok(assignments) => {
                let origin = self.file.path().display().to_string();
                warnings::log(&self.handle, &origin, &assignments, &self.listed_tenants);
                tracing::info!(file = %self.file.path().display(), assignments = assignments.len(), "assignments loaded");
                self.handle.replace(assignments);
                Reload::Loaded
            }
            Err(problems) => {
                self.handle.failed();
                for problem in &problems {
                    tracing::error!(
                        file = %self.file.path().display(),
                        problem,
                        last_good_set_serves = self.handle.serves(),
                        "the assignment file cannot be used"
                    );
                }
                Reload::Failed
            }
        }
    }

    fn parse(&self, content: &[u8]) -> Result<Vec<Assignment>, Vec<String>> {
        let text = std::str::from_utf8(content).map_err(|error| vec![error.to_string()])?;
        let format = Format::from_path(self.file.path()).map_err(|error| vec![error.to_string()])?;
        parse::parse(format, text).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// Looks at the file whenever it changes and at every `interval`, until dropped.
    pub async fn run(self: Arc<Self>, interval: Duration) {
        let changed = Arc::new(Notify::new());
        let _watcher = self.watch_folder(Arc::clone(&changed));
        loop {
            // A missed event costs one interval.
            if tokio::time::timeout(interval, changed.notified()).await.is_ok() {
                tokio::time::sleep(SETTLE).await;
            }
            let source = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || source.reload()).await {
                tracing::error!(%error, "looking at the assignment file failed");
            }
        }
    }

    /// The folder is watched, not the file: editors and Kubernetes replace files and links.
    fn watch_folder(&self, changed: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
        let folder = match self.file.path().parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the file is an event too; reacting to it would never end.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                changed.notify_one();
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "no change events for the assignment file; it is looked at on an interval");
            })
            .ok()
    }
}
