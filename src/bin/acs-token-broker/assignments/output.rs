//! Results for people and for programs.

use std::fmt::Write as _;

use azure::acs_assignments::EntraAssignment;
use serde_json::Value;

use super::difference::Difference;
use crate::output::OutputFormat;
use crate::say;

/// A result in both forms.
pub(super) struct Report {
    json: String,
    text: String,
}

impl Report {
    pub(super) fn new(json: &Value, text: String) -> Self {
        Self {
            json: format!("{json:#}"),
            text,
        }
    }

    pub(super) fn print(&self, format: OutputFormat) {
        match format {
            OutputFormat::Json => say(&self.json),
            OutputFormat::Table => say(&self.text),
        }
    }
}

/// Aligned columns under a head. Every value is an id or a word of ours: nothing here could drive a terminal.
pub(super) fn table(assignments: &[EntraAssignment]) -> String {
    const HEAD: [&str; 4] = ["OBJECT ID", "TYPE", "TENANT ID", "CLIENT IDS"];
    let rows = assignments.iter().map(|assignment| {
        [
            assignment.object_id.to_string(),
            assignment.principal_type.as_ref().to_owned(),
            assignment.tenant_id.to_string(),
            clients(assignment),
        ]
    });
    let rows: Vec<[String; 4]> = std::iter::once(HEAD.map(str::to_owned)).chain(rows).collect();
    columns(&rows)
}

/// One line for each row, so that it can be searched and counted; columns are aligned.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default());
    let line = |row: &[String; N]| -> String {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One assignment, a line a member.
pub(super) fn details(assignment: &EntraAssignment) -> String {
    let mut text = format!(
        "object id       {}\nprincipal type  {}\ntenant id       {}",
        assignment.object_id,
        assignment.principal_type.as_ref(),
        assignment.tenant_id
    );
    for (index, client) in assignment.client_ids.iter().enumerate() {
        let name = if index == 0 { "client ids" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{name:<14}  {client}");
    }
    text
}

/// `+` is in the file alone, `-` at ACS alone, `~` in both and not the same.
pub(super) fn difference(difference: &Difference) -> String {
    if difference.is_none() {
        return "no difference".to_owned();
    }
    let mut lines = Vec::new();
    for assignment in &difference.added {
        lines.push(format!("+ {}", line(assignment)));
    }
    for change in &difference.changed {
        lines.push(format!("~ {}", line(&change.before)));
        lines.push(format!("  becomes {}", members(&change.after)));
    }
    for assignment in &difference.removed {
        lines.push(format!("- {}", line(assignment)));
    }
    lines.push(format!(
        "{} to add, {} to change, {} to remove",
        difference.added.len(),
        difference.changed.len(),
        difference.removed.len()
    ));
    lines.join("\n")
}

fn line(assignment: &EntraAssignment) -> String {
    format!("{} {}", assignment.object_id, members(assignment))
}

fn members(assignment: &EntraAssignment) -> String {
    format!(
        "{} of {} with {}",
        assignment.principal_type.as_ref(),
        assignment.tenant_id,
        clients(assignment)
    )
}

fn clients(assignment: &EntraAssignment) -> String {
    let clients: Vec<String> = assignment.client_ids.iter().map(ToString::to_string).collect();
    clients.join(", ")
}
