//! Assignment files: TOML, JSON of our own, or JSON as ACS's list call returns it.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::node::Node;
use crate::authorize::assignment::{AllowedScopes, Assignment, PrincipalType};
use base::ids::{ObjectId, TenantId};
use config::{IdentityScope, invisible};

/// How an assignment file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `[[assignments]]`
    Toml,
    /// `{"assignments":[…]}`, or `{"value":[…]}` as ACS returns it.
    Json,
}

/// The file's name ends neither in `.toml` nor in `.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the assignment file must end in .toml or .json")]
pub struct UnknownFormat;

impl Format {
    /// The format, known by the file's name.
    pub fn of(path: &Path) -> Result<Self, UnknownFormat> {
        let extension = path.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("toml") {
            Ok(Self::Toml)
        } else if extension.eq_ignore_ascii_case("json") {
            Ok(Self::Json)
        } else {
            Err(UnknownFormat)
        }
    }
}

/// One thing that is wrong with an assignment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentProblem {
    /// Where: `assignments[3].objectId`, or `line 7`.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for AssignmentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for AssignmentProblem {}

/// Reads a file's text: all assignments, or everything that is wrong.
pub fn parse(format: Format, text: &str) -> Result<Vec<Assignment>, Vec<AssignmentProblem>> {
    // Editors and shells on Windows put a mark there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node = match format {
        Format::Toml => parse_toml(text),
        Format::Json => parse_json(text),
    };
    let mut problems = Problems(Vec::new());
    let assignments = match node {
        Ok(node) => document(format, node, &mut problems),
        Err(problem) => return Err(vec![problem]),
    };
    if problems.0.is_empty() {
        Ok(assignments)
    } else {
        Err(problems.0)
    }
}

fn parse_toml(text: &str) -> Result<Node<'_>, AssignmentProblem> {
    toml::from_str(text).map_err(|error| {
        let (before, at) = error
            .span()
            .and_then(|span| text.split_at_checked(span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        // A string across lines is the one place where TOML stops at a blank of its own.
        let culprit = at.get(..at.chars().next().map_or(0, char::len_utf8));
        let culprit = culprit.filter(|c| !matches!(*c, "\t" | "\n" | "\r"));
        AssignmentProblem {
            place: format!("line {line}"),
            reason: named(culprit.unwrap_or_default(), error.message()),
        }
    })
}

fn parse_json(text: &str) -> Result<Node<'_>, AssignmentProblem> {
    serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        // The place is named before it.
        let reason = reason
            .rsplit_once(" at line ")
            .map_or(reason.as_str(), |(reason, _)| reason);
        AssignmentProblem {
            place: format!("line {}", error.line()),
            reason: reason.to_owned(),
        }
    })
}

struct Problems(Vec<AssignmentProblem>);

impl Problems {
    fn add(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        self.0.push(AssignmentProblem {
            place: place.into(),
            reason: reason.into(),
        });
    }
}

/// The member under which the list stands, and with it who wrote the file.
#[derive(Clone, Copy)]
enum Author {
    /// Written for the broker: an unknown key is a mistake.
    Operator,
    /// Returned by ACS, which may add members.
    Acs,
}

impl Author {
    fn member(self) -> &'static str {
        match self {
            Self::Operator => "assignments",
            Self::Acs => "value",
        }
    }
}

fn document(format: Format, node: Node<'_>, problems: &mut Problems) -> Vec<Assignment> {
    const WHOLE: &str = "file";
    let Node::Object(members) = node else {
        problems.add(
            WHOLE,
            format!("is {}, not an object with \"assignments\" or \"value\"", node.kind()),
        );
        return Vec::new();
    };
    let has = |name: &str| members.iter().any(|(other, _)| other == name);
    let author = match (format, has("assignments"), has("value")) {
        (Format::Toml, ..) | (Format::Json, true, false) => Author::Operator,
        (Format::Json, false, true) => Author::Acs,
        (Format::Json, true, true) => {
            problems.add(WHOLE, "has both \"assignments\" and \"value\"");
            return Vec::new();
        }
        (Format::Json, false, false) => {
            problems.add(WHOLE, "has neither \"assignments\" nor \"value\"");
            return Vec::new();
        }
    };
    let mut list = None;
    let mut next_link = None;
    for (name, node) in members {
        match (author, &*name) {
            (_, name) if name == author.member() => once(&mut list, node, name, problems),
            (Author::Acs, "nextLink") => once(&mut next_link, node, "nextLink", problems),
            (Author::Acs, _) => {}
            // What editors go by; TOML has a comment for it.
            (Author::Operator, "$schema") if format == Format::Json => match node {
                Node::Text(_) => {}
                other => problems.add("$schema", format!("is {}, not a string", other.kind())),
            },
            (Author::Operator, name) => problems.add(shown(name), "unknown key"),
        }
    }
    if !matches!(next_link, None | Some(Node::Null)) {
        problems.add("nextLink", "the list is incomplete: there are further pages");
    }
    match list {
        None => Vec::new(),
        Some(Node::List(items)) => assignments(author, items, problems),
        Some(other) => {
            problems.add(author.member(), format!("is {}, not a list", other.kind()));
            Vec::new()
        }
    }
}

fn assignments(author: Author, items: Vec<Node<'_>>, problems: &mut Problems) -> Vec<Assignment> {
    let mut seen: HashMap<(ObjectId, TenantId), usize> = HashMap::with_capacity(items.len());
    let mut assignments = Vec::with_capacity(items.len());
    for (index, node) in items.into_iter().enumerate() {
        let Node::Object(members) = node else {
            problems.add(place(author, index), format!("is {}, not an object", node.kind()));
            continue;
        };
        let mut entry = Entry {
            author,
            index,
            problems,
        };
        let (ids, assignment) = entry.read(members);
        if let Some(ids) = ids
            && let Some(first) = seen.get(&ids)
        {
            let reason = format!("has the objectId and tenantId of {}", place(author, *first));
            problems.add(place(author, index), reason);
        } else {
            seen.extend(ids.map(|ids| (ids, index)));
        }
        assignments.extend(assignment);
    }
    assignments
}

fn place(author: Author, index: usize) -> String {
    format!("{}[{index}]", author.member())
}

/// One assignment while it is read.
struct Entry<'p> {
    author: Author,
    index: usize,
    problems: &'p mut Problems,
}

impl Entry<'_> {
    /// The assignment, if nothing is wrong with it, and the pair that distinguishes it from others, if that is legible.
    fn read(
        &mut self,
        members: Vec<(impl AsRef<str>, Node<'_>)>,
    ) -> (Option<(ObjectId, TenantId)>, Option<Assignment>) {
        let [
            mut object_id,
            mut tenant_id,
            mut principal_type,
            mut client_ids,
            mut allowed_scopes,
        ] = [const { None }; 5];
        for (name, node) in members {
            let name = name.as_ref();
            let slot = match (self.author, name) {
                (_, "objectId") => &mut object_id,
                (_, "tenantId") => &mut tenant_id,
                (_, "principalType") => &mut principal_type,
                (_, "clientIds") => &mut client_ids,
                // Ours, not ACS's: in its list the member would be somebody else's.
                (Author::Operator, "allowedScopes") => &mut allowed_scopes,
                (Author::Acs, _) => continue,
                (Author::Operator, _) => {
                    self.problem(&shown(name), "unknown key");
                    continue;
                }
            };
            if slot.replace(node).is_some() {
                self.problem(name, "stands there twice");
            }
        }
        let object_id = self
            .text("objectId", object_id)
            .and_then(|text| self.guid::<ObjectId>("objectId", &text));
        let tenant_id = self
            .text("tenantId", tenant_id)
            .and_then(|text| self.guid::<TenantId>("tenantId", &text));
        let principal_type = self
            .text("principalType", principal_type)
            .and_then(|text| self.principal_type(&text));
        let client_ids = self.client_ids(client_ids);
        let allowed_scopes = match allowed_scopes {
            None => Some(None),
            Some(node) => self.allowed_scopes(node).map(Some),
        };
        let ids = object_id.zip(tenant_id);
        if let (Some((object_id, tenant_id)), Some(PrincipalType::Tenant)) = (ids, principal_type)
            && object_id != tenant_id.as_object_id()
        {
            self.problem(
                "objectId",
                "must be the tenantId, since the assignment is for the tenant",
            );
        }
        let assignment = || {
            let (object_id, tenant_id) = ids?;
            Some(Assignment {
                object_id,
                tenant_id,
                principal_type: principal_type?,
                client_ids: client_ids?,
                allowed_scopes: allowed_scopes?,
            })
        };
        (ids, assignment())
    }

    fn problem(&mut self, key: &str, reason: impl Into<String>) {
        self.problems
            .add(format!("{}.{key}", place(self.author, self.index)), reason);
    }

    fn text<'a>(&mut self, key: &str, node: Option<Node<'a>>) -> Option<std::borrow::Cow<'a, str>> {
        match node {
            Some(Node::Text(text)) => return Some(text),
            Some(other) => self.problem(key, format!("is {}, not a string", other.kind())),
            None => self.problem(key, "is missing"),
        }
        None
    }

    fn guid<T: std::str::FromStr>(&mut self, key: &str, text: &str) -> Option<T> {
        let id = text.parse().ok();
        if id.is_none() {
            self.problem(key, named(text, "is not a GUID"));
        }
        id
    }

    fn principal_type(&mut self, text: &str) -> Option<PrincipalType> {
        let principal_type = PrincipalType::from_name(text);
        if principal_type.is_none() {
            let reason = named(text, "must be \"user\", \"group\" or \"tenant\"");
            self.problem("principalType", reason);
        }
        principal_type
    }

    fn client_ids<T: std::str::FromStr>(&mut self, node: Option<Node<'_>>) -> Option<Vec<T>> {
        let Some(node) = node else {
            self.problem("clientIds", "is missing");
            return None;
        };
        let empty = "must list at least one client application";
        self.list("clientIds", node, empty, |text| {
            text.parse().map_err(|_| "is not a GUID".to_owned())
        })
    }

    fn allowed_scopes(&mut self, node: Node<'_>) -> Option<AllowedScopes> {
        let empty = "must list at least one scope; left out, it allows all";
        let scopes = self.list("allowedScopes", node, empty, IdentityScope::parse)?;
        Some(scopes.into_iter().collect())
    }

    /// A list of texts that is not empty, or every problem with it.
    fn list<T>(
        &mut self,
        key: &str,
        node: Node<'_>,
        empty: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let Node::List(items) = node else {
            self.problem(key, format!("is {}, not a list", node.kind()));
            return None;
        };
        if items.is_empty() {
            self.problem(key, empty);
            return None;
        }
        let mut list = Vec::with_capacity(items.len());
        let mut is_whole = true;
        for (index, item) in items.into_iter().enumerate() {
            let item = match item {
                Node::Text(text) => read(&text).map_err(|reason| named(&text, &reason)),
                other => Err(format!("is {}, not a string", other.kind())),
            };
            match item {
                Ok(item) => list.push(item),
                Err(reason) => {
                    self.problem(&format!("{key}[{index}]"), reason);
                    is_whole = false;
                }
            }
        }
        is_whole.then_some(list)
    }
}

/// Keeps the first of members with one name; which of two was meant cannot be known.
fn once<'a>(slot: &mut Option<Node<'a>>, node: Node<'a>, name: &str, problems: &mut Problems) {
    if slot.is_some() {
        problems.add(name, "stands there twice");
    } else {
        *slot = Some(node);
    }
}

/// The reason, with a character beside it that nobody sees and that is most likely the cause. Nothing is trimmed here,
/// since the schema that editors go by does not.
fn named(text: &str, reason: &str) -> String {
    match invisible::found(text) {
        Some(name) => format!("{reason}; it holds {name}"),
        None => reason.to_owned(),
    }
}

/// A foreign name, quoted where it could be taken for something else or break a line.
fn shown(name: &str) -> String {
    let is_plain = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_plain { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests;
