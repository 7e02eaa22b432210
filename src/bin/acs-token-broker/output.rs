//! How commands answer those who read them by a program.

use std::ffi::OsString;

use clap::ValueEnum;
use serde_json::{Value, json};

/// How results are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Json,
    Table,
}

/// Whether a command line that cannot be read asks for an answer in JSON.
pub(crate) fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<String> = arguments.map(|text| text.to_string_lossy().into_owned()).collect();
    let asks = |pair: &[String]| pair == ["--output", "json"];
    let is_read_by_programs =
        |text: &String| matches!(text.as_str(), "assignments" | "teams-assignments" | "doctor" | "setup");
    arguments.iter().any(is_read_by_programs)
        && (arguments.iter().any(|text| text == "--output=json") || arguments.windows(2).any(asks))
}

/// What such a command line is answered.
pub(crate) fn usage_error(message: &str) -> Value {
    json!({ "error": { "code": "Usage", "message": message } })
}
