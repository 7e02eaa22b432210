//! `replay`: the callers of an audit log against the assignment files of today.

mod judge;
mod log;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use acs_token_broker::authorize::AssignmentIndex;
use acs_token_broker::broker::StartError;
use acs_token_broker::broker::configured_user_hash;
use acs_token_broker::route::Selector;
use config::load::{Environment, load};
use config::{Config, ResourceConfig};
use serde::Serialize;
use serde_json::json;
use telemetry::UserNames;

use self::judge::{Judge, Present};
use self::log::{Before, Callers, Person, Record};
use super::failure::Failure;
use super::output::{self, Report};
use super::{apply, resource};
use crate::complain;

/// One caller whom the file treats otherwise, or of whom the log does not say enough.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    person: Person,
    tenant_id: String,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    before: Before,
    requests: u64,
    reason: &'static str,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replay {
    /// Got tokens, and would be refused.
    refused: Vec<Row>,
    /// Were refused for want of an assignment, and are covered now.
    admitted: Vec<Row>,
    /// Only a group's assignment could cover them, and the log does not say whether they are members.
    by_group: Vec<Row>,
    /// The log does not name them in a way that the file can be compared with.
    unknown: Vec<Row>,
    /// How many callers are treated as they were.
    unchanged: u64,
}

/// Where a caller of the log is judged.
struct Place {
    name: Option<String>,
    selector: Selector,
    // Absent where no file says who may have a token.
    judge: Option<Judge>,
}

pub(super) fn replay(
    config_file: Option<&Path>,
    environment: &Environment,
    name: Option<&str>,
    audit_log: &Path,
) -> Result<Report, Failure> {
    let config = load(config_file, environment).map_err(Failure::Configuration)?.config;
    let chosen = name.map(|name| resource::choose(&config, Some(name))).transpose()?;
    let hash = configured_user_hash(&config.telemetry).map_err(StartError::from)?;
    let places = places(&config, hash.as_ref())?;
    let callers = read(audit_log)?;
    if callers.records().next().is_none() {
        complain(&"the audit log holds no audit event of this broker");
    }
    if callers.unreadable() > 0 {
        complain(&format!(
            "{} lines of the audit log are audit events that cannot be read, and do not count",
            callers.unreadable()
        ));
    }
    let mut replay = Replay::default();
    for record in callers.records() {
        let place = places
            .iter()
            .find(|place| place.selector.matches(record.tenant, Some(record.client_app)));
        let is_chosen = |chosen: &ResourceConfig| place.is_some_and(|place| place.name == chosen.name);
        if chosen.is_none_or(is_chosen) {
            replay.add(record, place);
        }
    }
    Ok(Report::new(&json!(replay), replay.text()))
}

fn places(config: &Config, hash: Option<&UserNames>) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    for resource in &config.resources {
        let assignments = &resource.assignments;
        if assignments.acs.is_some() {
            let key = resource.key("assignments.sources");
            complain(&format!(
                "{key}: names \"acs\" too, which is not asked; the file alone is judged"
            ));
        }
        let judge = match &assignments.file {
            None => None,
            Some(file) => {
                let assignments = apply::read_all(&file.path)?;
                Some(Judge::new(AssignmentIndex::new(&assignments), &assignments, hash))
            }
        };
        places.push(Place {
            name: resource.name.clone(),
            selector: Selector {
                tenants: resource.tenants.iter().copied().collect::<HashSet<_>>(),
                client_ids: resource.client_ids.iter().copied().collect(),
            },
            judge,
        });
    }
    if places.iter().all(|place| place.judge.is_none()) {
        return Err(Failure::NoFile);
    }
    Ok(places)
}

fn read(path: &Path) -> Result<Callers, Failure> {
    let unreadable = |cause| Failure::Unreadable {
        file: path.to_owned(),
        cause,
    };
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(unreadable)?))
    };
    Callers::read(reader).map_err(unreadable)
}

impl Replay {
    fn add(&mut self, record: &Record, place: Option<&Place>) {
        let present = match place {
            None => Present::NotServed,
            Some(Place { judge: None, .. }) => Present::NoFile,
            Some(Place { judge: Some(judge), .. }) => judge.judge(record),
        };
        let list = match (present, record.before) {
            (Present::Covered, Before::Refused) => &mut self.admitted,
            (Present::Refused | Present::NotServed, Before::Issued | Before::WouldRefuse | Before::Other) => {
                &mut self.refused
            }
            (Present::ByGroup, _) => &mut self.by_group,
            (Present::NoFile | Present::NoHashKey | Present::NoUser, _) => &mut self.unknown,
            (Present::Covered, _) | (Present::Refused | Present::NotServed, Before::Refused) => {
                self.unchanged += 1;
                return;
            }
        };
        list.push(Row {
            person: record.person.clone(),
            tenant_id: record.tenant.to_string(),
            client_id: record.client_app.to_string(),
            resource: place.and_then(|place| place.name.clone()),
            before: record.before,
            requests: record.requests,
            reason: present.reason(),
        });
    }

    fn text(&self) -> String {
        let mut rows =
            vec![["CHANGE", "USER", "TENANT ID", "CLIENT ID", "BEFORE", "REQUESTS", "WHY"].map(str::to_owned)];
        for (change, list) in [
            ("refused", &self.refused),
            ("admitted", &self.admitted),
            ("by group", &self.by_group),
            ("unknown", &self.unknown),
        ] {
            rows.extend(list.iter().map(|row| {
                [
                    change.to_owned(),
                    row.person.to_string(),
                    row.tenant_id.clone(),
                    row.client_id.clone(),
                    row.before.name().to_owned(),
                    row.requests.to_string(),
                    row.reason.to_owned(),
                ]
            }));
        }
        let total = format!(
            "{} callers would be refused, {} newly admitted, {} depend on a group, {} unknown, {} unchanged",
            self.refused.len(),
            self.admitted.len(),
            self.by_group.len(),
            self.unknown.len(),
            self.unchanged
        );
        if rows.len() == 1 {
            return total;
        }
        format!("{}\n{total}", output::columns(&rows))
    }
}
