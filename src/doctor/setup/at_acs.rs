//! The assignments at ACS.

use std::collections::BTreeMap;

use azure::acs_assignments::EntraAssignment;
use base::ids::ObjectId;
use serde_json::json;

use super::super::check::Who;
use super::super::rules::acs::{ResourceLook, is_covered, wanted_at_acs};
use super::{Action, Request, Step};

/// The assignments that ACS lacks.
pub(super) fn assign(index: usize, look: &ResourceLook<'_>) -> Vec<Step> {
    let has_no_part = matches!(
        look.config.exchange.mode,
        config::ExchangeMode::Identity(_) | config::ExchangeMode::TeamsUser(_)
    );
    let (Some(Ok(listed)), Some(Ok(file)), false) = (look.listed(), &look.file, has_no_part) else {
        return Vec::new();
    };
    // Several entries of the file may be about one object, which has one assignment at ACS.
    let mut wanted: BTreeMap<ObjectId, EntraAssignment> = BTreeMap::new();
    for assignment in file {
        let one = wanted_at_acs(look.config, assignment);
        if is_covered(listed, &one) {
            continue;
        }
        let merged = wanted.entry(one.object_id).or_insert_with(|| EntraAssignment {
            client_ids: Vec::new(),
            ..one.clone()
        });
        for client in one.client_ids {
            if !merged.client_ids.contains(&client) {
                merged.client_ids.push(client);
            }
        }
    }
    wanted
        .into_values()
        .map(|wanted| assign_one(index, look, listed, &wanted))
        .collect()
}

fn assign_one(index: usize, look: &ResourceLook<'_>, listed: &[EntraAssignment], wanted: &EntraAssignment) -> Step {
    let object = wanted.object_id;
    let kind = wanted.principal_type.as_ref();
    let there = listed.iter().find(|other| other.object_id == object);
    let assignment = match there {
        Some(other) if other.tenant_id == wanted.tenant_id && other.principal_type == wanted.principal_type => {
            added(other, wanted)
        }
        Some(_) => {
            return Step::new(
                "acs.assignments",
                object,
                Who::Operator,
                Action::None,
                format!(
                    "{object} is assigned at ACS in another tenant or as another type than in the file: decide which is right; nothing is replaced"
                ),
            );
        }
        None => wanted.clone(),
    };
    let clients: Vec<String> = wanted.client_ids.iter().map(ToString::to_string).collect();
    let step = Step::new(
        "acs.assignments",
        object,
        Who::Operator,
        Action::Assign(index, assignment.clone()),
        format!(
            "assign {kind} {object} of tenant {} at ACS with {}",
            wanted.tenant_id,
            clients.join(", ")
        ),
    );
    let endpoint = look.config.exchange.endpoint.origin().ascii_serialization();
    let url = format!(
        "{endpoint}/access/entra/assignments/{object}?api-version={}",
        look.config.exchange.api_version
    );
    let body = json!({ "tenantId": assignment.tenant_id, "principalType": assignment.principal_type, "clientIds": assignment.client_ids });
    let az = format!("az rest --method PUT --resource https://communication.azure.com --url '{url}' --body '{body}'");
    step.with(
        az,
        Request {
            method: "PUT",
            url,
            body,
        },
    )
}

/// What is there with what is wanted added.
#[must_use]
pub fn added(there: &EntraAssignment, wanted: &EntraAssignment) -> EntraAssignment {
    let mut all = there.clone();
    let missing = wanted
        .client_ids
        .iter()
        .filter(|client| !there.client_ids.contains(client));
    all.client_ids.extend(missing);
    all
}
