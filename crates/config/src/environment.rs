//! The process's environment as a value, so that nothing else reads it and tests can make one up.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

use super::invisible;

/// Names the configuration file.
const CONFIG_VARIABLE: &str = "ACS_TOKEN_BROKER_CONFIG";

/// Before every variable that overrides a setting.
pub(super) const PREFIX: &str = "ACS_TOKEN_BROKER__";

/// Environment variables. Values may be secrets: `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

/// A variable that overrides a setting.
pub(super) struct Override<'e> {
    /// The variable's name; lossy where it is not UTF-8.
    pub(super) name: String,
    /// Its text, unless that is not UTF-8.
    pub(super) text: Option<&'e str>,
}

impl Environment {
    /// The environment of this process, as it is now.
    #[must_use]
    pub fn process() -> Self {
        std::env::vars_os().collect()
    }

    /// The variable's text, without quotes and invisible characters around it; `None` if it is not set, empty or not
    /// UTF-8.
    ///
    /// [`load`](super::load::load) reports those of the broker's own variables that are not UTF-8.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(OsStr::new(name))?
            .to_str()
            .map(invisible::bare)
            .filter(|text| !text.is_empty())
    }

    /// The broker's variables that are not read because an invisible character stands before or behind their names: a file
    /// of variables can begin with a byte order mark.
    pub(super) fn misnamed(&self) -> impl Iterator<Item = (String, String)> {
        self.variables.keys().filter_map(|name| {
            let name = name.to_str()?;
            let meant = invisible::trim(name);
            let found = invisible::found(name)?;
            let is_ours = meant.starts_with(PREFIX) || meant == CONFIG_VARIABLE;
            (is_ours && meant != name).then(|| (meant.to_owned(), found))
        })
    }

    /// The variables that override settings, each with the path of its setting (`server.listen`).
    pub fn settings(&self) -> impl Iterator<Item = (String, String)> {
        self.overrides().map(|variable| {
            let path = path_of_variable(&variable.name);
            (variable.name, path)
        })
    }

    /// Whether the variable is set to something that is not UTF-8.
    pub(super) fn is_garbled(&self, name: &str) -> bool {
        self.variables
            .get(OsStr::new(name))
            .is_some_and(|text| text.to_str().is_none())
    }

    /// Every variable with the broker's prefix, sorted by name.
    pub(super) fn overrides(&self) -> impl Iterator<Item = Override<'_>> {
        self.variables.iter().filter_map(|(name, text)| {
            let name = name.to_string_lossy();
            name.starts_with(PREFIX).then(|| Override {
                name: name.into_owned(),
                text: text.to_str(),
            })
        })
    }
}

/// The path of the setting that a variable overrides.
pub(super) fn path_of_variable(name: &str) -> String {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    if rest.contains('.') {
        // Would be taken for a path otherwise. No setting has the name as its path, so it ends as unknown.
        name.to_owned()
    } else {
        rest.to_ascii_lowercase().replace("__", ".")
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, text)| (name.into(), text.into()))
            .collect();
        Self { variables }
    }
}

impl<K: Into<OsString>, V: Into<OsString>, const N: usize> From<[(K, V); N]> for Environment {
    fn from(variables: [(K, V); N]) -> Self {
        variables.into_iter().collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_value() {
        let environment = Environment::from([("HTTPS_PROXY", "http://user:hunter2@proxy")]);
        let shown = format!("{environment:?}");
        assert!(shown.contains("HTTPS_PROXY") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn empty_variables_count_as_unset() {
        let environment = Environment::from([("A", ""), ("B", "b\r"), ("C", "\r")]);
        assert_eq!(
            (environment.get("A"), environment.get("B"), environment.get("C")),
            (None, Some("b"), None)
        );
    }

    #[test]
    fn only_the_prefix_with_two_underscores_is_ours() {
        // Kubernetes sets the second for a service of that name.
        let environment = Environment::from([
            ("ACS_TOKEN_BROKER__A", "1"),
            ("ACS_TOKEN_BROKER_SERVICE_HOST", "10.0.0.1"),
        ]);
        let names: Vec<_> = environment.overrides().map(|variable| variable.name).collect();
        assert_eq!(names, ["ACS_TOKEN_BROKER__A"]);
    }
}
