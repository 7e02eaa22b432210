//! One table of the configuration while it is read.

use toml::{Table, Value};

use super::invisible;
use super::reader::{Field, Problem, Reader, within};
use super::units::Reason;
use super::unknown;
use super::value::{self, Raw};

/// One table while it is read.
pub(super) struct Section<'r, 'e> {
    pub(super) reader: &'r mut Reader<'e>,
    pub(super) path: String,
    pub(super) table: Table,
    pub(super) given: bool,
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

    /// Reads one setting that has a default. After a problem the default stands in, so that the rest can be checked.
    pub(super) fn field_or<T>(&mut self, key: &str, read: impl FnOnce(Raw<'_>) -> Result<T, Reason>, default: T) -> T {
        self.field(key, read).or(default)
    }

    /// Reads one setting that has no default.
    pub(super) fn required<T>(&mut self, key: &str, read: impl FnOnce(Raw<'_>) -> Result<T, Reason>) -> Option<T> {
        let field = self.field(key, read);
        if matches!(field, Field::Absent) {
            self.missing(key, "is required");
        }
        field.given()
    }

    /// Records that a setting is missing, unless that is reported already or cannot be known.
    pub(super) fn missing(&mut self, key: &str, reason: &str) {
        let path = self.path_of(key);
        if self.reader.complete && !self.reader.problems.iter().any(|problem| within(&path, &problem.key)) {
            self.reader.problem(&path, &[], reason.to_owned());
        }
    }

    /// Reads a list of strings.
    pub(super) fn list<T>(&mut self, key: &str, item: impl Fn(&str) -> Result<T, Reason>) -> Field<Vec<T>> {
        let items = self.field(key, value::list);
        items.and_then(|items| self.items(key, items, item))
    }

    /// Reads the strings of a list.
    fn items<T>(&mut self, key: &str, items: Vec<Value>, item: impl Fn(&str) -> Result<T, Reason>) -> Field<Vec<T>> {
        let path = self.path_of(key);
        let count = items.len();
        let items = items.into_iter().enumerate().filter_map(|(index, found)| {
            let read = match &found {
                Value::String(text) => invisible::plain(text).and_then(&item),
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
    }

    /// Reads a string or a list of strings that is not empty, and whether it is a list.
    pub(super) fn text_or_list<T>(
        &mut self,
        key: &str,
        item: impl Fn(&str) -> Result<T, Reason>,
    ) -> Field<(Vec<T>, bool)> {
        let found = self.field(key, value::text_or_list);
        found.and_then(|found| match found {
            value::TextOrList::Text(text) => {
                let path = self.path_of(key);
                self.judge(&path, item(&text))
                    .and_then(|item| Field::Given((vec![item], false)))
            }
            value::TextOrList::List(items) => self
                .items(key, items, item)
                .and_then(|items| Field::Given((items, true))),
        })
    }

    /// Reads a table within this one; it may be absent.
    pub(super) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_, 'e>) -> T) -> T {
        let table = self.field(key, value::table).given();
        self.section_of(key, table, read)
    }

    /// Reads `table`, which stands within this one as `key`; it may be absent.
    pub(super) fn section_of<T>(
        &mut self,
        key: &str,
        table: Option<Table>,
        read: impl FnOnce(&mut Section<'_, 'e>) -> T,
    ) -> T {
        let path = self.path_of(key);
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

    /// Ends the table: what is left in it is unknown.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            self.reader.unknown.push(self.path_of(key));
        }
    }
}
