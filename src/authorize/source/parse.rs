//! Assignment files: TOML, JSON of our own, or JSON as ACS's list call returns it.

mod entry;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use self::entry::Entry;
use crate::authorize::assignment::Assignment;
use base::document::Node;
use base::ids::{ObjectId, TenantId};
use config::invisible;

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
    pub fn from_path(path: &Path) -> Result<Self, UnknownFormat> {
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

/// Why a file gives no assignments.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// Its name does not say how it is written.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    /// Everything that is wrong with its content.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Content(Vec<AssignmentProblem>),
}

/// The assignments of the file at `path`, for what looks at it once.
pub fn read_file(path: &Path) -> Result<Vec<Assignment>, FileProblem> {
    let format = Format::from_path(path)?;
    let text = std::fs::read_to_string(path)?;
    parse(format, &text).map_err(FileProblem::Content)
}

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

/// Whose layout a file has: the member under which the list stands.
#[derive(Clone, Copy)]
enum Layout {
    /// Written for the broker: an unknown key is a mistake.
    Operator,
    /// Returned by ACS, which may add members.
    Acs,
}

impl Layout {
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
    let layout = match (format, has("assignments"), has("value")) {
        (Format::Toml, ..) | (Format::Json, true, false) => Layout::Operator,
        (Format::Json, false, true) => Layout::Acs,
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
        match (layout, &*name) {
            (_, name) if name == layout.member() => once(&mut list, node, name, problems),
            (Layout::Acs, "nextLink") => once(&mut next_link, node, "nextLink", problems),
            (Layout::Acs, _) => {}
            // What editors go by; TOML has a comment for it.
            (Layout::Operator, "$schema") if format == Format::Json => match node {
                Node::Text(_) => {}
                other => problems.add("$schema", format!("is {}, not a string", other.kind())),
            },
            (Layout::Operator, name) => problems.add(shown(name), "unknown key"),
        }
    }
    if !matches!(next_link, None | Some(Node::Null)) {
        problems.add("nextLink", "the list is incomplete: there are further pages");
    }
    match list {
        None => Vec::new(),
        Some(Node::List(items)) => assignments(layout, items, problems),
        Some(other) => {
            problems.add(layout.member(), format!("is {}, not a list", other.kind()));
            Vec::new()
        }
    }
}

fn assignments(layout: Layout, items: Vec<Node<'_>>, problems: &mut Problems) -> Vec<Assignment> {
    let mut seen: HashMap<(ObjectId, TenantId), usize> = HashMap::with_capacity(items.len());
    let mut assignments = Vec::with_capacity(items.len());
    for (index, node) in items.into_iter().enumerate() {
        let Node::Object(members) = node else {
            problems.add(place(layout, index), format!("is {}, not an object", node.kind()));
            continue;
        };
        let mut entry = Entry {
            layout,
            index,
            problems,
        };
        let (ids, assignment) = entry.read(members);
        if let Some(ids) = ids
            && let Some(first) = seen.get(&ids)
        {
            let reason = format!("has the objectId and tenantId of {}", place(layout, *first));
            problems.add(place(layout, index), reason);
        } else {
            seen.extend(ids.map(|ids| (ids, index)));
        }
        assignments.extend(assignment);
    }
    assignments
}

fn place(layout: Layout, index: usize) -> String {
    format!("{}[{index}]", layout.member())
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
