//! What a setting's text or TOML value means, given the type that is wanted.
//!
//! As in [`units`], no reason repeats the value.

use std::str::FromStr;
use std::time::Duration;

use strum::VariantNames;
use toml::{Table, Value};

use super::invisible;
use super::units::{self, Reason};
use super::validate;

/// A setting as it was found.
pub(super) enum Raw<'e> {
    /// In TOML: in the file, or within a table or list that a variable holds.
    Toml(Value),
    /// The text of a variable.
    Variable(&'e str),
}

/// A string as `read` takes it.
fn string(raw: Raw<'_>, read: impl Fn(&str) -> Result<&str, Reason>) -> Result<String, Reason> {
    match raw {
        Raw::Toml(Value::String(text)) => read(&text).map(str::to_owned),
        Raw::Toml(other) => Err(mistyped(&other, "a string")),
        Raw::Variable(text) => read(text).map(str::to_owned),
    }
}

/// A string for people, perhaps an empty one.
pub(super) fn any_text(raw: Raw<'_>) -> Result<String, Reason> {
    string(raw, invisible::words)
}

/// A string, perhaps an empty one.
pub(super) fn plain_text(raw: Raw<'_>) -> Result<String, Reason> {
    string(raw, invisible::plain)
}

/// A string that is not empty.
pub(super) fn text(raw: Raw<'_>) -> Result<String, Reason> {
    plain_text(raw).and_then(|text| filled(&text))
}

/// A secret.
pub(super) fn secret(raw: Raw<'_>) -> Result<String, Reason> {
    string(raw, invisible::secret).and_then(|text| filled(&text))
}

/// Refuses an empty text.
pub(super) fn filled(text: &str) -> Result<String, Reason> {
    validate::require(text.to_owned(), !text.trim().is_empty(), "must not be empty")
}

/// One of the names of `T`.
pub(super) fn choice<T: FromStr + VariantNames>(raw: Raw<'_>) -> Result<T, Reason> {
    text(raw)?.parse().map_err(|_| {
        let names = T::VARIANTS.join("\", \"");
        match names.rsplit_once(", ") {
            Some((names, last)) => format!("must be \"{names} or {last}\""),
            None => format!("must be \"{names}\""),
        }
    })
}

/// `true` or `false`.
pub(super) fn boolean(raw: Raw<'_>) -> Result<bool, Reason> {
    match raw {
        Raw::Toml(Value::Boolean(value)) => Ok(value),
        Raw::Toml(other) => Err(mistyped(&other, "true or false")),
        Raw::Variable(text) => invisible::plain(text)?
            .parse()
            .map_err(|_| "is not true or false".to_owned()),
    }
}

/// A whole number that is not negative.
pub(super) fn number(raw: Raw<'_>) -> Result<u64, Reason> {
    match raw {
        Raw::Toml(Value::Integer(value)) => value.try_into().map_err(|_| "must not be negative".to_owned()),
        Raw::Toml(other) => Err(mistyped(&other, "a whole number")),
        Raw::Variable(text) => {
            let text = invisible::plain(text)?;
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits
                .then(|| text.parse().ok())
                .flatten()
                .ok_or_else(|| "is not a whole number".to_owned())
        }
    }
}

/// A number, perhaps with a fraction.
pub(super) fn fraction(raw: Raw<'_>) -> Result<f64, Reason> {
    match raw {
        Raw::Toml(Value::Float(value)) => Ok(value),
        #[expect(
            clippy::cast_precision_loss,
            reason = "numbers that large are refused by their bounds"
        )]
        Raw::Toml(Value::Integer(value)) => Ok(value as f64),
        Raw::Toml(other) => Err(mistyped(&other, "a number")),
        Raw::Variable(text) => {
            let text = invisible::plain(text)?;
            let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            is_plain
                .then(|| text.parse().ok())
                .flatten()
                .ok_or_else(|| "is not a number such as 0.5".to_owned())
        }
    }
}

/// A size in bytes.
pub(super) fn byte_size(raw: Raw<'_>) -> Result<u64, Reason> {
    match raw {
        Raw::Toml(Value::String(text)) => units::byte_size(invisible::plain(&text)?),
        Raw::Toml(Value::Integer(_)) => number(raw),
        Raw::Toml(other) => Err(mistyped(&other, "a size such as \"256MiB\"")),
        Raw::Variable(text) => units::byte_size(invisible::plain(text)?),
    }
}

/// A duration.
pub(super) fn duration(raw: Raw<'_>) -> Result<Duration, Reason> {
    match raw {
        Raw::Toml(Value::String(text)) => units::duration(invisible::plain(&text)?),
        Raw::Toml(other) => Err(mistyped(
            &other,
            "a duration such as \"500ms\", \"30s\", \"5m\" or \"24h\"",
        )),
        Raw::Variable(text) => units::duration(invisible::plain(text)?),
    }
}

/// A table; in a variable, an inline one.
pub(super) fn table(raw: Raw<'_>) -> Result<Table, Reason> {
    match raw {
        Raw::Toml(Value::Table(table)) => Ok(table),
        Raw::Toml(other) => Err(mistyped(&other, "a table")),
        Raw::Variable(text) => match invisible::bare(text).parse() {
            Ok(Value::Table(table)) => Ok(table),
            _ => Err(no_toml(text, "an inline TOML table such as { key = \"…\" }")),
        },
    }
}

/// A list of strings; in a variable, in TOML or separated by commas.
pub(super) fn list(raw: Raw<'_>) -> Result<Vec<Value>, Reason> {
    let text = match raw {
        Raw::Toml(Value::Array(items)) => return Ok(items),
        Raw::Toml(other) => return Err(mistyped(&other, "a list")),
        Raw::Variable(text) => invisible::bare(text),
    };
    if text.is_empty() {
        Ok(Vec::new())
    } else if text.starts_with('[') {
        inline_list(text).ok_or_else(|| no_toml(text, "a TOML list such as [\"…\", \"…\"]"))
    } else {
        Ok(text.split(',').map(|item| Value::from(item.trim())).collect())
    }
}

/// What stands for one or for several.
pub(super) enum TextOrList {
    /// A string that is not empty.
    Text(String),
    /// A list with something in it.
    List(Vec<Value>),
}

/// A string, or a list of strings; in a variable, a list in TOML or separated by commas.
pub(super) fn text_or_list(raw: Raw<'_>) -> Result<TextOrList, Reason> {
    let is_list = match &raw {
        Raw::Toml(Value::Array(_)) => true,
        Raw::Toml(Value::String(_)) => false,
        Raw::Toml(other) => return Err(mistyped(other, "a string or a list")),
        Raw::Variable(text) => text.contains(',') || invisible::bare(text).starts_with('['),
    };
    if !is_list {
        return text(raw).map(TextOrList::Text);
    }
    let items = list(raw)?;
    validate::require((), !items.is_empty(), "must hold at least one")?;
    Ok(TextOrList::List(items))
}

/// A list of tables; in a variable, a list of inline ones.
pub(super) fn tables(raw: Raw<'_>) -> Result<Vec<Value>, Reason> {
    let text = match raw {
        Raw::Toml(Value::Array(items)) => return Ok(items),
        Raw::Toml(other) => return Err(mistyped(&other, "a list of tables")),
        Raw::Variable(text) => invisible::bare(text),
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    inline_list(text).ok_or_else(|| no_toml(text, "a TOML list of tables such as [{ key = \"…\" }]"))
}

fn inline_list(text: &str) -> Option<Vec<Value>> {
    match text.parse() {
        Ok(Value::Array(items)) => Some(items),
        _ => None,
    }
}

/// What is wrong with a text that should be TOML: names the first invisible character that is no blank to TOML.
fn no_toml(text: &str, wanted: &str) -> Reason {
    let seen: String = invisible::bare(text)
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect();
    match invisible::found(&seen) {
        Some(name) => format!("is not {wanted}; it holds {name}"),
        None => format!("is not {wanted}"),
    }
}

/// What a value is and what it should be.
pub(super) fn mistyped(value: &Value, wanted: &str) -> Reason {
    let found = match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    format!("is {found}, not {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Raw<'static> {
        Raw::Toml(text.parse().unwrap())
    }

    #[test]
    fn values_are_read_by_the_wanted_type() {
        assert_eq!(any_text(toml("'5'")), Ok("5".to_owned()));
        assert_eq!(any_text(Raw::Variable("5")), Ok("5".to_owned()));
        assert_eq!(any_text(Raw::Variable(" \"5\" ")), Ok("\"5\"".to_owned()));
        assert_eq!(text(Raw::Variable(" \"5\" ")), Ok("5".to_owned()));
        assert_eq!(boolean(Raw::Variable("true")), Ok(true));
        assert_eq!(number(Raw::Variable("1024")), Ok(1024));
        assert_eq!(number(toml("1_024")), Ok(1024));
        assert_eq!(byte_size(toml("1024")), Ok(1024));
        assert_eq!(byte_size(toml("'1KiB'")), Ok(1024));
        assert_eq!(byte_size(Raw::Variable("1KiB")), Ok(1024));
        assert_eq!(duration(Raw::Variable("5m")), Ok(Duration::from_mins(5)));
    }

    #[test]
    fn mistyped_values_are_reported_by_type_alone() {
        for (reason, wanted) in [
            (any_text(toml("true")).unwrap_err(), "is a boolean, not a string"),
            (text(toml("' '")).unwrap_err(), "must not be empty"),
            (boolean(toml("'true'")).unwrap_err(), "is a string, not true or false"),
            (boolean(Raw::Variable("yes")).unwrap_err(), "is not true or false"),
            (number(toml("-1")).unwrap_err(), "must not be negative"),
            (number(toml("1.0")).unwrap_err(), "is a float, not a whole number"),
            (number(toml("'7'")).unwrap_err(), "is a string, not a whole number"),
            (number(Raw::Variable("+7")).unwrap_err(), "is not a whole number"),
            (
                number(Raw::Variable("18446744073709551616")).unwrap_err(),
                "is not a whole number",
            ),
            (table(toml("[]")).unwrap_err(), "is a list, not a table"),
            (list(toml("'a,b'")).unwrap_err(), "is a string, not a list"),
            (tables(toml("{}")).unwrap_err(), "is a table, not a list of tables"),
        ] {
            assert_eq!(reason, wanted);
        }
        assert!(
            duration(toml("30"))
                .unwrap_err()
                .starts_with("is an integer, not a duration such as")
        );
        assert!(
            byte_size(toml("1.5"))
                .unwrap_err()
                .starts_with("is a float, not a size such as")
        );
    }

    #[test]
    fn lists_and_tables_in_variables() {
        let items = |text| list(Raw::Variable(text));
        let strings = |items: &[&str]| items.iter().copied().map(Value::from).collect::<Vec<_>>();
        assert_eq!(items(""), Ok(strings(&[])));
        assert_eq!(items("a"), Ok(strings(&["a"])));
        assert_eq!(items("a, b"), Ok(strings(&["a", "b"])));
        assert_eq!(items("[\"a,b\", 'c']"), Ok(strings(&["a,b", "c"])));
        assert_eq!(items(" []"), Ok(strings(&[])));
        assert!(items("[a, b]").is_err());
        assert!(items("['a'] # and\nmore = 1").is_err());
        assert_eq!(table(Raw::Variable("{ a = 'b' }")).unwrap()["a"], Value::from("b"));
        assert!(table(Raw::Variable("a = 'b'")).is_err());
        assert_eq!(tables(Raw::Variable("[{ a = 'b' }]")).unwrap().len(), 1);
        assert!(tables(Raw::Variable("a,b")).is_err());
    }
}
