//! Reads typed settings from TOML with the environment over it, and goes on after a problem.
//!
//! serde stops at the first error, but an operator who corrects a configuration wants to see all of them. So each
//! setting is taken out of its table one by one; what is left in the end is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base::untrusted::OneLine;
use toml::Table;

use super::environment::{Environment, Override, path_of_variable};
use super::section::Section;
use super::units::Reason;
use super::unknown;

/// The longest key and the longest reason that are displayed, in characters. A key may be a path, and a reason may repeat the key.
const LONGEST_KEY: usize = 400;
const LONGEST_REASON: usize = 600;

/// One thing that is wrong with the configuration. Displayed, it is one line, whatever a key or a variable is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting (`server.listen`), variable or file that it is about.
    pub key: String,
    /// What is wrong with it. Holds no value, since that may be a secret.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, reason) = (OneLine(&self.key, LONGEST_KEY), OneLine(&self.reason, LONGEST_REASON));
        write!(f, "{key}: {reason}")
    }
}

/// A setting after reading.
pub(super) enum Field<T> {
    /// It is not set.
    Absent,
    /// It is set to something unusable, and a problem says so.
    Refused,
    /// It is set.
    Given(T),
}

impl<T> Field<T> {
    /// The value, or the default. After a problem the default stands in, so that the rest can be checked.
    pub(super) fn or(self, default: T) -> T {
        self.given().unwrap_or(default)
    }

    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Refused => None,
        }
    }

    pub(super) fn and_then<U>(self, next: impl FnOnce(T) -> Field<U>) -> Field<U> {
        match self {
            Self::Absent => Field::Absent,
            Self::Refused => Field::Refused,
            Self::Given(value) => next(value),
        }
    }
}

/// The whole configuration while it is read.
pub(super) struct Reader<'e> {
    /// Variables not used yet, by the path of their setting.
    pub(super) variables: BTreeMap<String, Override<'e>>,
    /// Names of the variables used, by the path of their setting.
    pub(super) origins: BTreeMap<String, String>,
    pub(super) known: BTreeSet<String>,
    /// The paths of all settings that were there.
    pub(super) given: BTreeSet<String>,
    pub(super) unknown: Vec<String>,
    pub(super) problems: Vec<Problem>,
    /// Settings for which a default stands in, since what they hold is unusable.
    pub(super) misread: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) complete: bool,
}

/// The problems and warnings of a configuration that was read.
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// Every setting that was asked for, those within lists as `list[].key`.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with config.example.toml"))]
    pub(super) known: BTreeSet<String>,
}

impl<'e> Reader<'e> {
    /// `complete` is false if the file could not be read: then only what the environment holds is judged, since
    /// what seems missing or contradictory may be put right by the file.
    pub(super) fn new(environment: &'e Environment, complete: bool) -> Self {
        let mut reader = Self {
            variables: BTreeMap::new(),
            origins: BTreeMap::new(),
            known: BTreeSet::new(),
            given: BTreeSet::new(),
            unknown: Vec::new(),
            problems: Vec::new(),
            misread: Vec::new(),
            warnings: Vec::new(),
            complete,
        };
        for (key, character) in environment.misnamed() {
            let reason = format!("the variable's name holds {character}");
            reader.problems.push(Problem { key, reason });
        }
        for variable in environment.overrides() {
            let path = path_of_variable(&variable.name);
            if let Some(other) = reader.variables.get(&path) {
                let reason = format!("sets the same setting as {}", other.name);
                reader.problems.push(Problem {
                    key: variable.name,
                    reason,
                });
            } else {
                reader.variables.insert(path, variable);
            }
        }
        reader
    }

    /// Reads all sections from the file's top table.
    pub(super) fn read<T>(&mut self, table: Table, read: impl FnOnce(&mut Section<'_, 'e>) -> T) -> T {
        let mut root = Section {
            reader: self,
            path: String::new(),
            table,
            given: true,
        };
        let value = read(&mut root);
        root.finish();
        value
    }

    /// Ends reading: what was never asked for is unknown.
    pub(super) fn finish(mut self) -> Report {
        // Sections are read as they depend on each other, and reported in the order of the example.
        self.problems.sort_by_key(|problem| rank(&problem.key));
        for path in std::mem::take(&mut self.unknown) {
            let reason = unknown::key(&path, &self.known);
            self.problem(&path, &[], reason);
        }
        for (path, variable) in std::mem::take(&mut self.variables) {
            let reason = unknown::variable(&path, &self.known);
            self.problems.push(Problem {
                key: variable.name,
                reason,
            });
        }
        Report {
            problems: self.problems,
            warnings: self.warnings,
            known: self.known,
        }
    }

    /// Records a problem; `beside` are further settings that it depends on.
    pub(super) fn problem(&mut self, path: &str, beside: &[&str], mut reason: Reason) {
        let paths = std::iter::once(path).chain(beside.iter().copied());
        let variables: BTreeSet<&str> = paths.filter_map(|path| self.origin(path)).collect();
        if !variables.is_empty() {
            let variables = Vec::from_iter(variables).join(", ");
            reason = format!("{reason} (from {variables})");
        }
        self.problems.push(Problem {
            key: path.to_owned(),
            reason,
        });
    }

    /// The variable that a setting came from: its own, or that of the nearest table or list around it.
    pub(super) fn origin(&self, path: &str) -> Option<&str> {
        let mut ancestors = std::iter::successors(Some(path), |path| path.rfind(['.', '[']).map(|end| &path[..end]));
        ancestors.find_map(|path| self.origins.get(path)).map(String::as_str)
    }

    /// Whether the setting's value, or that of anything around or within it, is what was meant.
    pub(super) fn is_sound(&self, path: &str) -> bool {
        self.complete
            && !self
                .misread
                .iter()
                .any(|other| within(path, other) || within(other, path))
    }

    pub(super) fn has_variable_below(&self, path: &str) -> bool {
        let below = format!("{path}.");
        self.variables
            .range(below.clone()..)
            .next()
            .is_some_and(|(path, _)| path.starts_with(&below))
    }
}

/// The place of a setting's section in `config.example.toml`.
fn rank(key: &str) -> usize {
    const ORDER: [&str; 11] = [
        "server",
        "management",
        "entra",
        "exchange",
        "resources",
        "upstream",
        "graph",
        "assignments",
        "cache",
        "shared_cache",
        "telemetry",
    ];
    ORDER
        .iter()
        .position(|section| within(key, section))
        .map_or(0, |place| place + 1)
}

/// Whether `path` is `ancestor` or lies within it.
pub(super) fn within(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
