//! The callers of an audit log: one record for each user with a client app, however many events they have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead};

use base::ids::{ClientAppId, ObjectId, TenantId};
use serde::{Deserialize, Serialize};
use telemetry::AUDIT_TARGET;

/// No event is as long. A longer line is passed over, and not kept.
const MOST_BYTES: u64 = 64 * 1024;

/// Who called, as `telemetry.user_ids` let it be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Person {
    ObjectId(ObjectId),
    UserHash(String),
    #[serde(rename = "user")]
    Unnamed(()),
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ObjectId(id) => id.fmt(f),
            Self::UserHash(hash) => hash.fmt(f),
            Self::Unnamed(()) => f.write_str("-"),
        }
    }
}

/// What became of the caller at their last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Before {
    /// An assignment covered them, or ACS was left to decide.
    Issued,
    /// None covered them, and assignments were not enforced.
    WouldRefuse,
    /// They were refused, for want of an assignment.
    Refused,
    /// They got no token for another reason, and the log does not say what the assignments said.
    Other,
}

impl Before {
    pub(super) fn name(self) -> &'static str {
        self.into()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) person: Person,
    pub(super) tenant: TenantId,
    pub(super) client_app: ClientAppId,
    pub(super) before: Before,
    /// Groups by whose assignment they were covered: they are members.
    pub(super) groups: BTreeSet<ObjectId>,
    pub(super) requests: u64,
}

/// An audit event, as far as it is used.
#[derive(Deserialize)]
struct Event {
    decision: String,
    #[serde(rename = "acs_broker.tenant.id")]
    tenant: TenantId,
    #[serde(rename = "acs_broker.client_app.id")]
    client_app: ClientAppId,
    #[serde(rename = "enduser.id")]
    plain: Option<ObjectId>,
    #[serde(rename = "enduser.pseudo.id")]
    pseudonym: Option<String>,
    #[serde(rename = "acs_broker.assignment.kind")]
    kind: Option<String>,
    #[serde(rename = "acs_broker.assignment.object_id")]
    object: Option<String>,
    #[serde(rename = "acs_broker.error.code")]
    code: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    target: Option<String>,
}

/// All callers of a log.
#[derive(Debug, Default)]
pub(super) struct Callers {
    records: BTreeMap<(TenantId, Person, ClientAppId), Record>,
    unreadable: u64,
}

impl Callers {
    /// Reads JSON lines; those that are no audit events are passed over.
    pub(super) fn read(mut reader: impl BufRead) -> io::Result<Self> {
        let mut callers = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = io::Read::take(&mut reader, MOST_BYTES).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(callers);
            }
            if line.last() != Some(&b'\n') && line.len() as u64 == MOST_BYTES {
                reader.skip_until(b'\n')?;
                continue;
            }
            callers.add(&line);
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// How many audit events could not be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    fn add(&mut self, line: &[u8]) {
        let Ok(Line { target: Some(target) }) = serde_json::from_slice(line) else {
            return;
        };
        if target != AUDIT_TARGET {
            return;
        }
        let Some((record, group)) = serde_json::from_slice(line).ok().and_then(record) else {
            self.unreadable += 1;
            return;
        };
        let key = (record.tenant, record.person.clone(), record.client_app);
        let known = self.records.entry(key).or_insert(record.clone());
        known.requests += 1;
        known.groups.extend(group);
        // What another failure hid was decided at an earlier event, if at any.
        if record.before != Before::Other {
            known.before = record.before;
        }
    }
}

fn record(event: Event) -> Option<(Record, Option<ObjectId>)> {
    let person = match (event.plain, event.pseudonym) {
        (Some(id), _) => Person::ObjectId(id),
        (None, Some(hash)) => Person::UserHash(pseudonym(hash)?),
        (None, None) => Person::Unnamed(()),
    };
    let before = match (&*event.decision, event.kind.as_deref(), event.code.as_deref()) {
        ("would_refuse", ..) => Before::WouldRefuse,
        // An assignment covered the caller, whatever came after.
        ("issued", ..) | ("refused", Some(_), _) => Before::Issued,
        ("refused", None, Some("NotAssigned")) => Before::Refused,
        ("refused", None, _) => Before::Other,
        _ => return None,
    };
    let group = match event.kind.as_deref() {
        Some("group") => event.object.and_then(|id| id.parse().ok()),
        _ => None,
    };
    let record = Record {
        person,
        tenant: event.tenant,
        client_app: event.client_app,
        before,
        groups: BTreeSet::new(),
        requests: 0,
    };
    Some((record, group))
}

/// A hash as the broker writes it. Anything else is not repeated.
fn pseudonym(text: String) -> Option<String> {
    (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id(n: u32) -> String {
        format!("{n:08x}-0000-4000-8000-000000000000")
    }

    fn event(user: u32, more: &Value) -> String {
        let mut event = json!({
            "timestamp": "2026-11-24T12:00:00Z", "level": "INFO", "target": AUDIT_TARGET, "message": "token",
            "decision": "issued", "acs_broker.tenant.id": id(1), "enduser.id": id(user),
            "acs_broker.client_app.id": id(10), "acs_broker.assignment.kind": "user",
        });
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        event.to_string()
    }

    fn read(lines: &[String]) -> Callers {
        Callers::read(lines.join("\n").as_bytes()).unwrap()
    }

    #[test]
    fn the_last_decision_counts_and_groups_are_kept() {
        let refused =
            json!({"decision": "refused", "acs_broker.assignment.kind": null, "acs_broker.error.code": "NotAssigned"});
        let group = json!({"acs_broker.assignment.kind": "group", "acs_broker.assignment.object_id": id(30)});
        let away = json!({"decision": "refused", "acs_broker.assignment.kind": null,
            "acs_broker.error.code": "AssignmentsUnavailable"});
        let callers = read(&[
            event(20, &refused),
            event(20, &group),
            event(20, &away),
            event(21, &refused),
        ]);
        let records: Vec<_> = callers.records().collect();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].before, records[0].requests), (Before::Issued, 3));
        assert_eq!(records[0].groups, BTreeSet::from([id(30).parse().unwrap()]));
        assert_eq!((records[1].before, records[1].requests), (Before::Refused, 1));
    }

    #[test]
    fn what_an_event_says_of_the_assignments() {
        for (more, before) in [
            (json!({}), Before::Issued),
            (
                json!({"decision": "would_refuse", "acs_broker.assignment.kind": "acs"}),
                Before::WouldRefuse,
            ),
            (
                json!({"decision": "refused", "acs_broker.error.code": "ExchangeForbidden"}),
                Before::Issued,
            ),
            (
                json!({"decision": "refused", "acs_broker.assignment.kind": null, "acs_broker.error.code": "InvalidRequest"}),
                Before::Other,
            ),
        ] {
            let callers = read(&[event(20, &more)]);
            assert_eq!(callers.records().next().unwrap().before, before, "{more}");
        }
    }

    #[test]
    fn other_lines_are_passed_over_and_bad_events_counted() {
        let mut other: Value = serde_json::from_str(&event(20, &json!({}))).unwrap();
        other["target"] = json!("acs_token_broker::api");
        let hash = json!({"enduser.id": null, "enduser.pseudo.id": "\u{1b}[31m"});
        let callers = read(&[
            String::new(),
            "no JSON".to_owned(),
            "[]".to_owned(),
            other.to_string(),
            "x".repeat(200_000),
            event(20, &json!({"acs_broker.tenant.id": "?"})),
            event(20, &json!({"decision": "maybe"})),
            event(20, &hash),
            event(22, &json!({})),
        ]);
        assert_eq!(callers.unreadable(), 3);
        assert_eq!(callers.records().count(), 1);
    }
}
