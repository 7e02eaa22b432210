//! Brings the file and the environment together.

use std::fmt;
use std::fs;
use std::path::Path;

use toml::Table;
use toml::de::DeTable;

use super::environment::PREFIX;
use super::reader::{Reader, Report, within};
use super::section::Section;
use super::{Config, ManagementConfig, invisible, sections};

pub use super::environment::Environment;
pub use super::reader::Problem;

/// A valid configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What is allowed but probably not meant, one line each.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a configuration; displayed as one line a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Reads where the management listener is, whatever the rest says: a probe must not depend on the whole.
pub fn load_management(file: Option<&Path>, environment: &Environment) -> Result<ManagementConfig, Problems> {
    load_part(
        file,
        environment,
        |key| key.starts_with("management"),
        |root| root.section("management", sections::management),
    )
}

/// Reads `telemetry.log_level` again while the broker runs. Every problem with `[telemetry]` counts, above all a mistyped
/// key: with it the default would be taken for what was meant.
pub fn load_log_level(file: Option<&Path>, environment: &Environment) -> Result<String, Problems> {
    let variable = format!("{PREFIX}TELEMETRY");
    load_part(
        file,
        environment,
        |key| within(key, "telemetry") || key.starts_with(&variable),
        |root| sections::log_level(root, folder(file), environment),
    )
}

/// Reads a part of the configuration; only problems with the keys that `concerns` names count.
fn load_part<T>(
    file: Option<&Path>,
    environment: &Environment,
    concerns: impl Fn(&str) -> bool,
    sections: impl FnOnce(&mut Section<'_, '_>) -> T,
) -> Result<T, Problems> {
    let table = table(file).map_err(|problem| Problems(vec![problem]))?;
    let (mut report, part) = read(Ok(table), environment, sections);
    report.problems.retain(|problem| concerns(&problem.key));
    if report.problems.is_empty() {
        Ok(part)
    } else {
        Err(Problems(report.problems))
    }
}

/// Reads the file, if there is one, lays the environment over it and checks the whole.
///
/// Relative paths are taken from the file's folder, without a file from the working directory.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, Problems> {
    let inspected = inspect(file, environment);
    match inspected.config {
        Some(config) if inspected.problems.0.is_empty() => Ok(Loaded {
            config,
            warnings: inspected.warnings,
        }),
        _ => Err(inspected.problems),
    }
}

/// What was found of a configuration, whether it can be used or not.
#[derive(Debug)]
pub struct Inspected {
    /// The settings, as far as they are there. Where there are problems, defaults may stand in: for looking further
    /// only, never for running.
    pub config: Option<Config>,
    /// Everything that is wrong.
    pub problems: Problems,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// The same as [`load`], with everything that can be found out where there are problems.
#[must_use]
pub fn inspect(file: Option<&Path>, environment: &Environment) -> Inspected {
    let folder = folder(file);
    let (report, config) = read(table(file), environment, |root| {
        sections::config(root, folder, environment)
    });
    Inspected {
        config,
        problems: Problems(report.problems),
        warnings: report.warnings,
    }
}

/// Where relative paths start.
fn folder(file: Option<&Path>) -> &Path {
    file.and_then(Path::parent).unwrap_or(Path::new(""))
}

/// The file's content; an empty table where there is no file.
fn table(file: Option<&Path>) -> Result<Table, Problem> {
    let Some(file) = file else {
        return Ok(Table::new());
    };
    let named = |reason| Problem {
        key: file.display().to_string(),
        reason,
    };
    let bytes = fs::read(file).map_err(|error| named(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| named("is not UTF-8 text".to_owned()))?;
    // Editors and shells on Windows put a mark there.
    parse(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(named)
}

/// Reads what `sections` wants, with every problem on the way.
fn read<T>(
    table: Result<Table, Problem>,
    environment: &Environment,
    sections: impl FnOnce(&mut Section<'_, '_>) -> T,
) -> (Report, T) {
    let mut reader = Reader::new(environment, table.is_ok());
    let (table, unreadable) = match table {
        Ok(table) => (table, None),
        Err(problem) => (Table::new(), Some(problem)),
    };
    let read = reader.read(table, sections);
    let mut report = reader.finish();
    report.problems.splice(0..0, unreadable);
    (report, read)
}

/// Parses the file. The reason holds no text of the file: the line could be that of a secret.
fn parse(text: &str) -> Result<Table, String> {
    // The first pass knows syntax only, so its messages are fixed texts; those of the second can repeat a value.
    if let Err(error) = DeTable::parse(text) {
        let (before, at) = error
            .span()
            .and_then(|span| text.split_at_checked(span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        // A string across lines is the one other place where TOML stops at these.
        let culprit = at.chars().next().filter(|c| !matches!(c, '\t' | '\n' | '\r'));
        return Err(
            match culprit.and_then(|c| invisible::found(c.encode_utf8(&mut [0; 4]))) {
                Some(name) => format!("line {line}: holds {name}"),
                None => format!("line {line}: {}", error.message()),
            },
        );
    }
    text.parse()
        .map_err(|_| "holds a number that is out of range".to_owned())
}

#[cfg(test)]
mod tests;
