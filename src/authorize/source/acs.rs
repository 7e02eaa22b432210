//! Assignments from ACS itself, asked for again and again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use tracing::Instrument as _;

use super::{SourceHandle, warnings};
use crate::authorize::assignment::Assignment;
use azure::acs_assignments::{AcsAssignments, AssignmentsError, EntraAssignment};
use base::ids::TenantId;

/// After the first failure; doubled with each that follows, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Intervals and retries are shortened or lengthened by up to this part, so that replicas do not stay together.
const JITTER: f64 = 0.1;

/// How often ACS is asked, and how long its answer counts.
#[derive(Debug, Clone, Copy)]
pub struct AcsSourceSettings {
    /// Time between two looks, give or take a tenth.
    pub refresh_interval: Duration,
    /// How long the last good list serves while ACS is away.
    pub max_age: Duration,
}

/// Keeps an [`AssignmentWatch`](super::AssignmentWatch) in step with what ACS lists. A list that cannot be had as a
/// whole leaves the last good one in force until it is too old.
pub struct AcsSource {
    client: AcsAssignments,
    listed_tenants: HashSet<TenantId>,
    handle: SourceHandle,
    settings: AcsSourceSettings,
    // Of the last good list: the same again changes nothing but its age.
    seen: Mutex<Option<[u8; 32]>>,
}

/// What one look at ACS's list came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// It is as before.
    Unchanged,
    /// A new list is in force.
    Loaded,
}

impl AcsSource {
    /// A source that asks through `client`. Assignments for tenants not in `listed_tenants` are warned of.
    #[must_use]
    pub fn new(
        client: AcsAssignments,
        listed_tenants: HashSet<TenantId>,
        handle: SourceHandle,
        settings: AcsSourceSettings,
    ) -> Arc<Self> {
        // Two good looks are at most so far apart.
        handle.ages(settings.refresh_interval.mul_f64(1.5), settings.max_age);
        Arc::new(Self {
            client,
            listed_tenants,
            handle,
            settings,
            seen: Mutex::new(None),
        })
    }

    /// Asks ACS now.
    pub async fn refresh(self: &Arc<Self>) -> Result<Refreshed, AssignmentsError> {
        let span = tracing::info_span!(
            parent: None,
            "assignments_fetch",
            otel.name = "fetch assignments",
            otel.status_code = tracing::field::Empty
        );
        let listed = self.client.list().instrument(span.clone()).await;
        match listed {
            Ok(assignments) => Ok(self.take_in(assignments).await),
            Err(error) => {
                span.record("otel.status_code", "ERROR");
                self.handle.failed();
                tracing::error!(
                    %error,
                    last_good_set_serves = self.handle.serves(),
                    "the assignments at ACS could not be fetched"
                );
                Err(error)
            }
        }
    }

    /// Sorting and indexing a large list is no work for the threads that serve requests.
    async fn take_in(self: &Arc<Self>, assignments: Vec<EntraAssignment>) -> Refreshed {
        let source = Arc::clone(self);
        tokio::task::spawn_blocking(move || source.replace(assignments))
            .await
            .unwrap_or(Refreshed::Unchanged)
    }

    fn replace(&self, assignments: Vec<EntraAssignment>) -> Refreshed {
        let mut assignments: Vec<Assignment> = assignments.into_iter().map(Assignment::from).collect();
        let digest = canonical_digest(&mut assignments);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == Some(digest) {
            self.handle.confirmed();
            tracing::debug!(assignments = assignments.len(), "the assignments at ACS are as before");
            return Refreshed::Unchanged;
        }
        warnings::log(&self.handle, "ACS", &assignments, &self.listed_tenants);
        tracing::info!(source = "acs", assignments = assignments.len(), "assignments loaded");
        self.handle.replace(assignments);
        *seen = Some(digest);
        Refreshed::Loaded
    }

    /// Asks now, and then at the interval, until dropped; after a failure sooner.
    pub async fn run(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let asked = match self.refresh().await {
                Ok(_) => {
                    failures = 0;
                    None
                }
                Err(error) => {
                    failures += 1;
                    error.retry_after()
                }
            };
            tokio::time::sleep(pause(self.settings.refresh_interval, failures, asked, fastrand::f64())).await;
        }
    }
}

/// How long to wait after so many failures in a row, when ACS asked for `asked`. `chance` is between 0 and 1.
fn pause(interval: Duration, failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let usual = match failures {
        0 => interval,
        _ => FIRST_RETRY
            .saturating_mul(2_u32.saturating_pow(failures - 1))
            .min(interval),
    };
    let jittered = usual.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance);
    // While ACS limits its resource, every call counts; callers' exchanges need them more.
    jittered.max(asked.unwrap_or_default())
}

/// Brings the list into one order, as ACS need not keep one, and returns what distinguishes it from others.
fn canonical_digest(assignments: &mut [Assignment]) -> [u8; 32] {
    for assignment in assignments.iter_mut() {
        assignment.client_ids.sort_unstable();
        assignment.client_ids.dedup();
    }
    assignments.sort_unstable_by_key(|assignment| (assignment.tenant_id, assignment.object_id));
    let mut context = digest::Context::new(&digest::SHA256);
    for assignment in &*assignments {
        context.update(assignment.principal_type.as_ref().as_bytes());
        context.update(assignment.tenant_id.as_bytes());
        context.update(assignment.object_id.as_bytes());
        context.update(&assignment.client_ids.len().to_be_bytes());
        for client in &assignment.client_ids {
            context.update(client.as_bytes());
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_interval() {
        let seconds = Duration::from_secs;
        for (interval, failures, asked, wanted) in [
            (300, 0, None, 300),
            (300, 1, None, 1),
            (300, 2, None, 2),
            (300, 5, None, 16),
            (300, 9, None, 256),
            (300, 10, None, 300),
            (300, 4_000_000_000, None, 300),
            (300, 1, Some(60), 60),
            (5, 1, Some(60), 60),
            (5, 9, None, 5),
        ] {
            let pause = |chance| pause(seconds(interval), failures, asked.map(seconds), chance);
            assert_eq!(pause(0.5), seconds(wanted), "{interval} {failures} {asked:?}");
            assert!(pause(0.0) <= pause(0.5) && pause(0.999) <= seconds(wanted).mul_f64(1.1));
        }
        assert_eq!(
            pause(Duration::from_millis(50), 1, None, 0.5),
            Duration::from_millis(50)
        );
    }

    #[test]
    fn order_is_no_difference_and_anything_else_is() {
        let one = |object: u32, clients: &[u32]| Assignment {
            object_id: format!("{object:08x}-0000-4000-8000-000000000000").parse().unwrap(),
            tenant_id: "00000009-0000-4000-8000-000000000000".parse().unwrap(),
            principal_type: crate::authorize::assignment::PrincipalType::User,
            client_ids: clients
                .iter()
                .map(|id| format!("{id:08x}-0000-4000-8000-000000000000").parse().unwrap())
                .collect(),
            allowed_scopes: None,
        };
        let digest = |mut list: Vec<Assignment>| canonical_digest(&mut list);
        let usual = digest(vec![one(1, &[5, 6]), one(2, &[5])]);
        assert_eq!(usual, digest(vec![one(2, &[5]), one(1, &[6, 5, 6])]));
        for other in [
            vec![one(1, &[5, 6])],
            vec![one(1, &[5]), one(2, &[5])],
            vec![one(1, &[5, 6]), one(3, &[5])],
            vec![],
        ] {
            assert_ne!(usual, digest(other));
        }
    }
}
