//! The union of what several sources list.

use std::collections::{HashMap, HashSet};

use super::SourceKind;
use crate::authorize::assignment::{Assignment, PrincipalType};
use base::ids::{ClientAppId, ObjectId, TenantId};

/// All assignments of `sources`, each of which lists none twice. What two of them say of one principal becomes one
/// assignment with the client apps of both and the scopes of the earlier one. Where they take its id for different
/// things, the earlier one's holds alone: nobody listed the later one's client apps for that.
pub(super) fn union<'a>(sources: impl IntoIterator<Item = (SourceKind, &'a [Assignment])>) -> Vec<Assignment> {
    let mut merged: Vec<Assignment> = Vec::new();
    let mut places: HashMap<(TenantId, ObjectId), usize> = HashMap::new();
    for (kind, assignments) in sources {
        for assignment in assignments {
            let key = (assignment.tenant_id, assignment.object_id);
            let Some(&place) = places.get(&key) else {
                places.insert(key, merged.len());
                merged.push(assignment.clone());
                continue;
            };
            let Some(earlier) = merged.get_mut(place) else {
                continue;
            };
            if earlier.principal_type != assignment.principal_type {
                tracing::warn!(
                    source = kind.as_ref(),
                    object = id_to_log(earlier, assignment).map(tracing::field::display),
                    // As `check-config` counts.
                    in_file_at = place,
                    acs_broker.tenant.id = %assignment.tenant_id,
                    here = assignment.principal_type.as_ref(),
                    in_file = earlier.principal_type.as_ref(),
                    "an assignment's principalType is not the one in the assignment file, which holds"
                );
                continue;
            }
            let mut known: HashSet<ClientAppId> = earlier.client_ids.iter().copied().collect();
            let new = assignment.client_ids.iter().copied();
            earlier.client_ids.extend(new.filter(|client| known.insert(*client)));
        }
    }
    merged
}

/// The id of a group or tenant. Where one of the two says that it is a user's, `telemetry.user_ids` might say otherwise.
fn id_to_log(one: &Assignment, other: &Assignment) -> Option<ObjectId> {
    let may_be_a_user = [one, other]
        .iter()
        .any(|assignment| assignment.principal_type == PrincipalType::User);
    (!may_be_a_user).then_some(other.object_id)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::authorize::assignment::AllowedScopes;
    use config::IdentityScope;

    fn id<T: std::str::FromStr<Err = base::ids::NotAGuid>>(number: u32) -> T {
        format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
    }

    fn assignment(object: u32, tenant: u32, principal_type: PrincipalType, clients: &[u32]) -> Assignment {
        Assignment {
            object_id: id(object),
            tenant_id: id(tenant),
            principal_type,
            client_ids: clients.iter().map(|client| id(*client)).collect(),
            allowed_scopes: None,
        }
    }

    #[test]
    fn what_both_say_of_one_principal() {
        use PrincipalType::{Group, User};
        let chat: AllowedScopes = [IdentityScope::Chat].into_iter().collect();
        let narrowed = Assignment {
            allowed_scopes: Some(chat),
            ..assignment(1, 9, User, &[20, 21])
        };
        let file = [
            narrowed.clone(),
            assignment(2, 9, User, &[20]),
            assignment(3, 9, User, &[20]),
        ];
        let acs = [
            assignment(1, 9, User, &[22, 20]),
            assignment(2, 9, Group, &[22]),
            // The same id in another tenant is somebody else.
            assignment(3, 8, User, &[20]),
            assignment(4, 9, Group, &[20]),
        ];
        let merged = union([(SourceKind::File, &file[..]), (SourceKind::Acs, &acs[..])]);
        let wanted = [
            Assignment {
                client_ids: vec![id(20), id(21), id(22)],
                ..narrowed
            },
            assignment(2, 9, User, &[20]),
            assignment(3, 9, User, &[20]),
            assignment(3, 8, User, &[20]),
            assignment(4, 9, Group, &[20]),
        ];
        assert_eq!(merged, wanted);
    }

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_id_that_may_be_a_users_is_not_logged() {
        use PrincipalType::{Group, Tenant, User};
        for (in_file, at_acs, logged) in [
            (User, Group, false),
            (Group, User, false),
            (User, Tenant, false),
            (Group, Tenant, true),
        ] {
            let file = [assignment(1, 9, User, &[20]), assignment(5, 9, in_file, &[20])];
            let acs = [assignment(5, 9, at_acs, &[20])];
            let output = Output::default();
            let writer = output.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                union([(SourceKind::File, &file[..]), (SourceKind::Acs, &acs[..])])
            });
            let line = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
            assert!(line.contains("in_file_at=1"), "{line}");
            assert_eq!(line.contains(&id::<ObjectId>(5).to_string()), logged, "{line}");
        }
    }
}
