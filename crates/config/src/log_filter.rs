//! How a log filter is read, at start and whenever it is set anew.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Reads tracing-subscriber's syntax; where nothing is said of a target, INFO holds.
///
/// A field's value is a text here, compared as it is. tracing-subscriber would take it for a regular expression,
/// without a bound on what that costs: a short one can use up the memory.
pub fn log_filter(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder()
        .with_regex(false)
        .with_default_directive(LevelFilter::INFO.into())
        .parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fields_value_costs_nothing() {
        // As a regular expression the first is larger than any memory.
        let repeated = format!("[x{{y=(0|1)*1{}}}]=trace", "(0|1)".repeat(22));
        for text in [repeated.as_str(), "[x{y=(}]=trace", "[x{y=2}]=trace", "[x{y}]=trace"] {
            assert!(log_filter(text).is_ok(), "{text}");
        }
    }
}
