//! The ACS resources: `[[resources]]`, or the one of the top-level `[exchange]` and `[assignments]`.

use std::collections::HashMap;

use super::exchange::TokensTaken;
use super::{Context, assignments, exchange, parse_id};
use crate::reader::Field;
use crate::section::Section;
use crate::{ResourceConfig, UnknownGroups, validate, value};

/// Reads them. Whose tokens they take is added to `taken`.
pub(super) fn resources(
    root: &mut Section<'_, '_>,
    context: Context<'_>,
    taken: &mut TokensTaken,
) -> Option<Vec<ResourceConfig>> {
    let mut names: HashMap<String, usize> = HashMap::new();
    let listed = root.sections("resources", |section, index| {
        let name = section.required("name", |raw| validate::resource_name(&value::text(raw)?));
        if let Some(name) = &name {
            if let Some(first) = names.get(name) {
                section.problem("name", format!("is the name of resources[{first}]"));
            } else {
                names.insert(name.clone(), index);
            }
        }
        let tenants = section.list("tenants", |text| parse_id(text, "a tenant id"));
        let client_ids = section.list("client_ids", |text| parse_id(text, "a client id"));
        // An empty list might be meant as "none", and would match all.
        let is_empty = [
            ("tenants", matches!(&tenants, Field::Given(list) if list.is_empty())),
            (
                "client_ids",
                matches!(&client_ids, Field::Given(list) if list.is_empty()),
            ),
        ];
        for (key, _) in is_empty.into_iter().filter(|(_, is_empty)| *is_empty) {
            section.problem(key, "must hold at least one; leave it out to match all");
        }
        let unknown_groups = section.field("unknown_groups", value::choice).given();
        let (exchange, assignments) = both(section, context, unknown_groups, taken);
        Some(ResourceConfig {
            name: Some(name?),
            path: section.path.clone(),
            tenants: tenants.or(Vec::new()),
            client_ids: client_ids.or(Vec::new()),
            exchange: exchange?,
            assignments,
        })
    });
    match listed {
        Field::Absent => {
            let (exchange, assignments) = both(root, context, None, taken);
            Some(vec![ResourceConfig {
                name: None,
                path: String::new(),
                tenants: Vec::new(),
                client_ids: Vec::new(),
                exchange: exchange?,
                assignments,
            }])
        }
        listed => {
            for key in ["exchange", "assignments"] {
                root.forbid(key, "cannot stand beside [[resources]], which have their own");
            }
            if matches!(&listed, Field::Given(resources) if resources.is_empty()) {
                root.problem("resources", "must list at least one resource");
            }
            listed.given()
        }
    }
}

fn both(
    section: &mut Section<'_, '_>,
    context: Context<'_>,
    unknown_groups: Option<UnknownGroups>,
    taken: &mut TokensTaken,
) -> (Option<crate::ExchangeConfig>, crate::AssignmentsConfig) {
    let exchange = section.section("exchange", |section| exchange::exchange(section, context, taken));
    let assignments = section.section("assignments", |section| {
        let mode = exchange.as_ref().map(|exchange| &exchange.mode);
        assignments::assignments(section, context, mode, unknown_groups)
    });
    (exchange, assignments)
}

/// Whether any of them asks Microsoft Graph.
pub(super) fn asks_graph(resources: &[ResourceConfig]) -> bool {
    resources
        .iter()
        .any(|resource| resource.assignments.unknown_groups == UnknownGroups::Graph)
}
