//! The set in force while sources come and go.

use std::time::Duration;

use super::*;
use crate::authorize::assignment::{Assignment, PrincipalType};
use base::clock::{ManualClock, SharedClock};
use base::ids::{ClientAppId, ObjectId, TenantId};

const MAX_AGE: Duration = Duration::from_secs(3600);

fn id<T: std::str::FromStr<Err = base::ids::NotAGuid>>(number: u32) -> T {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

fn users(numbers: &[u32]) -> Vec<Assignment> {
    let user = |number: &u32| Assignment {
        object_id: id(*number),
        tenant_id: id(1),
        principal_type: PrincipalType::User,
        client_ids: vec![id(2)],
        allowed_scopes: None,
    };
    numbers.iter().map(user).collect()
}

/// Which of users 10 to 13 are covered, and whether the set is complete.
fn seen(watch: &AssignmentWatch) -> Option<(Vec<u32>, bool)> {
    let set = watch.current()?;
    let covered = (10..14)
        .filter(|number| {
            set.index
                .user(id::<TenantId>(1), id::<ObjectId>(*number), id::<ClientAppId>(2))
        })
        .collect();
    Some((covered, set.complete))
}

#[test]
fn two_sources_are_one_set() {
    let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let shared: SharedClock = std::sync::Arc::clone(&clock) as SharedClock;
    let watch = AssignmentWatch::new(shared, [SourceKind::Acs, SourceKind::File]);
    let (file, acs) = (watch.source(SourceKind::File), watch.source(SourceKind::Acs));
    acs.ages(Duration::from_secs(450), MAX_AGE);
    assert_eq!(seen(&watch), None);

    acs.replace(users(&[10]));
    assert_eq!(seen(&watch), Some((vec![10], false)));
    assert!(!watch.current().unwrap().narrowing_known);
    file.replace(users(&[11, 10]));
    assert_eq!(seen(&watch), Some((vec![10, 11], true)));
    assert!(watch.current().unwrap().narrowing_known);

    // A failure changes nothing but what is reported.
    acs.failed();
    clock.advance(Duration::from_secs(7));
    assert_eq!(seen(&watch), Some((vec![10, 11], true)));
    let failing: Vec<_> = watch.status().into_iter().map(|status| status.failing_for).collect();
    assert_eq!(failing, [None, Some(Duration::from_secs(7))]);

    // The file is read anew while ACS's list grows old.
    file.replace(users(&[12]));
    assert_eq!(seen(&watch), Some((vec![10, 12], true)));
    clock.advance(Duration::from_secs(3600 - 7));
    assert_eq!(seen(&watch), Some((vec![10, 12], true)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(seen(&watch), Some((vec![12], false)));
    assert!(watch.status()[1].over && watch.status()[1].overdue);
    file.replace(users(&[13]));
    assert_eq!(seen(&watch), Some((vec![13], false)));

    // ACS is back with what it had.
    acs.confirmed();
    assert_eq!(seen(&watch), Some((vec![10, 13], true)));
    assert_eq!(watch.status()[1].failing_for, None);
    clock.advance(MAX_AGE);
    acs.confirmed();
    clock.advance(MAX_AGE);
    assert_eq!(seen(&watch), Some((vec![10, 13], true)));
    acs.replace(Vec::new());
    assert_eq!(seen(&watch), Some((vec![13], true)));
}

#[test]
fn one_source_alone() {
    let clock = ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap());
    let shared: SharedClock = std::sync::Arc::clone(&clock) as SharedClock;
    let watch = AssignmentWatch::new(shared, [SourceKind::Acs]);
    let acs = watch.source(SourceKind::Acs);
    acs.ages(Duration::from_secs(450), MAX_AGE);
    acs.failed();
    assert_eq!(seen(&watch), None);
    assert!(!acs.serves());
    // An empty list is a list.
    acs.replace(Vec::new());
    assert_eq!(seen(&watch), Some((vec![], true)));
    acs.replace(users(&[10]));
    assert_eq!(seen(&watch), Some((vec![10], true)));
    assert!(watch.current().unwrap().narrowing_known && acs.serves());
    clock.advance(MAX_AGE + Duration::from_millis(1));
    assert_eq!(seen(&watch), None);
    assert!(!acs.serves());
    acs.confirmed();
    assert_eq!(seen(&watch), Some((vec![10], true)));
}
