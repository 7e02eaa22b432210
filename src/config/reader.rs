//! Reads typed settings from TOML with the environment over it, and goes on after a problem.
//!
//! serde stops at the first error, but whoever corrects a configuration wants to see all of them. So each
//! setting is taken out of its table one by one; what is left in the end is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::{Table, Value};

use super::environment::{Environment, Override, PREFIX};
use super::units::Reason;
use super::unknown;
use super::value::{self, Raw};

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting (`server.listen`), variable or file that it is about.
    pub key: String,
    /// What is wrong with it. Holds no value, since that may be a secret.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
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
    variables: BTreeMap<String, Override<'e>>,
    /// Names of the variables used, by the path of their setting.
    origins: BTreeMap<String, String>,
    known: BTreeSet<String>,
    /// The paths of all settings that were there.
    given: BTreeSet<String>,
    unknown: Vec<String>,
    problems: Vec<Problem>,
    /// Settings for which a default stands in, since what they hold is unusable.
    misread: Vec<String>,
    warnings: Vec<String>,
    complete: bool,
}

/// What reading came to.
pub(super) struct Findings {
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
    pub(super) fn finish(mut self) -> Findings {
        // Sections are read as they depend on each other, and told as they stand in the example.
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
        Findings {
            problems: self.problems,
            warnings: self.warnings,
            known: self.known,
        }
    }

    /// Records a problem; `beside` are further settings that it depends on.
    fn problem(&mut self, path: &str, beside: &[&str], mut reason: Reason) {
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
    fn origin(&self, path: &str) -> Option<&str> {
        let mut ancestors = std::iter::successors(Some(path), |path| path.rfind(['.', '[']).map(|end| &path[..end]));
        ancestors.find_map(|path| self.origins.get(path)).map(String::as_str)
    }

    /// Whether the setting's value, or that of anything around or within it, is what was meant.
    fn is_sound(&self, path: &str) -> bool {
        self.complete
            && !self
                .misread
                .iter()
                .any(|other| within(path, other) || within(other, path))
    }

    fn has_variable_below(&self, path: &str) -> bool {
        let below = format!("{path}.");
        self.variables
            .range(below.clone()..)
            .next()
            .is_some_and(|(path, _)| path.starts_with(&below))
    }
}

/// The place of a setting's section in `config.example.toml`.
fn rank(key: &str) -> usize {
    const ORDER: [&str; 10] = [
        "server",
        "management",
        "entra",
        "exchange",
        "resources",
        "upstream",
        "graph",
        "assignments",
        "cache",
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

fn path_of_variable(name: &str) -> String {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    if rest.contains('.') {
        // Would be taken for a path otherwise. No setting has the name as its path, so it ends as unknown.
        name.to_owned()
    } else {
        rest.to_ascii_lowercase().replace("__", ".")
    }
}

/// One table while it is read.
pub(super) struct Section<'r, 'e> {
    reader: &'r mut Reader<'e>,
    path: String,
    table: Table,
    given: bool,
}

impl<'e> Section<'_, 'e> {
    /// Whether the table or any variable within it is set.
    pub(super) fn is_given(&self) -> bool {
        self.given
    }

    /// Whether the setting, read already, was there at all.
    pub(super) fn was_given(&self, key: &str) -> bool {
        self.reader.given.contains(&self.path_of(key))
    }

    /// Whether the setting came from a variable.
    pub(super) fn is_from_environment(&self, key: &str) -> bool {
        self.reader.origin(&self.path_of(key)).is_some()
    }

    /// Reads one setting.
    pub(super) fn field<T>(&mut self, key: &str, read: impl FnOnce(Raw<'_>) -> Result<T, Reason>) -> Field<T> {
        self.take(key).and_then(|raw| self.judge(&self.path_of(key), read(raw)))
    }

    /// Reads one setting that has no default.
    pub(super) fn required<T>(&mut self, key: &str, read: impl FnOnce(Raw<'_>) -> Result<T, Reason>) -> Option<T> {
        let field = self.field(key, read);
        if matches!(field, Field::Absent) {
            self.missing(key, "is required");
        }
        field.given()
    }

    /// Records that a setting is missing, unless that is told already or cannot be known.
    pub(super) fn missing(&mut self, key: &str, reason: &str) {
        let path = self.path_of(key);
        if self.reader.complete && !self.reader.problems.iter().any(|problem| within(&path, &problem.key)) {
            self.reader.problem(&path, &[], reason.to_owned());
        }
    }

    /// Reads a list of strings.
    pub(super) fn list<T>(&mut self, key: &str, item: impl Fn(&str) -> Result<T, Reason>) -> Field<Vec<T>> {
        let path = self.path_of(key);
        let items = self.field(key, value::list);
        items.and_then(|items| {
            let count = items.len();
            let items = items.into_iter().enumerate().filter_map(|(index, found)| {
                let read = match &found {
                    Value::String(text) => item(text),
                    other => Err(value::mistyped(other, "a string")),
                };
                self.judge(&format!("{path}[{index}]"), read).given()
            });
            let items: Vec<T> = items.collect();
            if items.len() == count {
                Field::Given(items)
            } else {
                Field::Refused
            }
        })
    }

    /// Reads a table within this one; it may be absent.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, 'e>) -> T) -> T {
        let path = self.path_of(key);
        let table = self.field(key, value::table).given();
        let given = table.is_some() || self.reader.has_variable_below(&path);
        let mut section = Section {
            reader: self.reader,
            path,
            table: table.unwrap_or_default(),
            given,
        };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Reads something of a table within this one that the rest of the table is read after: the table stays.
    pub(super) fn section_ahead<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, 'e>) -> T) -> T {
        let path = self.path_of(key);
        let variable = self.reader.variables.get(&path).and_then(|variable| variable.text);
        let table = match (variable, self.table.get_mut(key)) {
            (Some(text), _) => value::table(Raw::Variable(text)).unwrap_or_default(),
            (None, Some(Value::Table(table))) => std::mem::take(table),
            (None, _) => Table::new(),
        };
        let from_file = variable.is_none();
        let mut section = Section {
            reader: self.reader,
            path,
            table,
            given: true,
        };
        let value = read(&mut section);
        let rest = section.table;
        if from_file && let Some(Value::Table(table)) = self.table.get_mut(key) {
            *table = rest;
        }
        value
    }

    /// Refuses a table within this one, with everything that is set in it.
    pub(super) fn forbid(&mut self, key: &str, reason: &str) {
        let path = self.path_of(key);
        let below = format!("{path}.");
        let in_variables: Vec<String> = self
            .reader
            .variables
            .range(below.clone()..)
            .take_while(|(path, _)| path.starts_with(&below))
            .map(|(path, _)| path.clone())
            .collect();
        for variable in &in_variables {
            if let Some(variable) = self.reader.variables.remove(variable) {
                self.reader.problems.push(Problem {
                    key: variable.name,
                    reason: reason.to_owned(),
                });
            }
        }
        if !matches!(self.take(key), Field::Absent) {
            self.problem(key, reason);
        }
    }

    /// Reads a list of tables.
    pub(super) fn sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_, 'e>, usize) -> Option<T>,
    ) -> Field<Vec<T>> {
        let path = self.path_of(key);
        let items = self.field(key, value::tables);
        items.and_then(|items| {
            let count = items.len();
            let items = items.into_iter().enumerate().filter_map(|(index, found)| {
                let path = format!("{path}[{index}]");
                let table = self.judge(&path, value::table(Raw::Toml(found))).given()?;
                let mut section = Section {
                    reader: self.reader,
                    path,
                    table,
                    given: true,
                };
                let value = read(&mut section, index);
                section.finish();
                value
            });
            let items: Vec<T> = items.collect();
            if items.len() == count {
                Field::Given(items)
            } else {
                Field::Refused
            }
        })
    }

    /// Records a problem with one of this table's settings.
    pub(super) fn problem(&mut self, key: &str, reason: impl Into<Reason>) {
        let path = self.path_of(key);
        self.reader.problem(&path, &[], reason.into());
    }

    /// Records a problem with a variable outside the settings.
    pub(super) fn variable_problem(&mut self, name: &str, reason: impl Into<Reason>) {
        self.reader.problems.push(Problem {
            key: name.to_owned(),
            reason: reason.into(),
        });
    }

    /// Checks a rule between settings, named by their whole paths, unless the value of one of them is unusable anyway.
    pub(super) fn rule(&mut self, path: &str, beside: &[&str], holds: bool, reason: &str) {
        let is_sound = std::iter::once(&path)
            .chain(beside)
            .all(|path| self.reader.is_sound(path));
        if !holds && is_sound {
            self.reader.problem(path, beside, reason.to_owned());
        }
    }

    /// Records something that is allowed but probably not meant.
    pub(super) fn warn(&mut self, warning: String) {
        self.reader.warnings.push(warning);
    }

    fn judge<T>(&mut self, path: &str, read: Result<T, Reason>) -> Field<T> {
        match read {
            Ok(value) => Field::Given(value),
            Err(reason) => {
                self.reader.problem(path, &[], reason);
                self.reader.misread.push(path.to_owned());
                Field::Refused
            }
        }
    }

    fn take(&mut self, key: &str) -> Field<Raw<'e>> {
        let path = self.path_of(key);
        self.reader.known.insert(unknown::pattern(&path));
        let found = self.table.remove(key);
        if let Some(variable) = self.reader.variables.remove(&path) {
            self.reader.origins.insert(path.clone(), variable.name);
            self.reader.given.insert(path.clone());
            let text = variable.text.ok_or_else(|| "is not UTF-8 text".to_owned());
            return self.judge(&path, text.map(Raw::Variable));
        }
        found.map_or(Field::Absent, |value| {
            self.reader.given.insert(path);
            Field::Given(Raw::Toml(value))
        })
    }

    /// The whole path of one of this table's settings.
    pub(super) fn path_of(&self, key: &str) -> String {
        // Quoted as in TOML, so that a key can neither look like a path nor break a line.
        let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn finish(self) {
        for key in self.table.keys() {
            self.reader.unknown.push(self.path_of(key));
        }
    }
}
