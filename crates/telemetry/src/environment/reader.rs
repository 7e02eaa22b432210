//! Looking up variables, and what there is to say of their values.

use std::cell::RefCell;
use std::time::Duration;

use super::Environment;
use config::invisible::bare;

/// What is said of values that are not served: each variable's name and why. The value itself never, since headers and
/// endpoints hold keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Warnings(Vec<(&'static str, &'static str)>);

impl Warnings {
    /// One line for each.
    pub(crate) fn into_lines(self) -> Vec<String> {
        let lines = self.0.into_iter().map(|(name, reason)| format!("{name}: {reason}"));
        lines.collect()
    }
}

pub(super) struct Reader<'e> {
    environment: Environment<'e>,
    warnings: RefCell<Vec<(&'static str, &'static str)>>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(environment: Environment<'e>) -> Self {
        Self {
            environment,
            warnings: RefCell::default(),
        }
    }

    pub(super) fn into_warnings(self) -> Warnings {
        Warnings(self.warnings.into_inner())
    }

    /// Signals share variables: the same is said once.
    pub(super) fn warn(&self, name: &'static str, reason: &'static str) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&(name, reason)) {
            warnings.push((name, reason));
        }
    }

    /// A variable that is not empty. Blanks around it, a carriage return, a byte order mark and quotes around the whole
    /// cannot be meant: editors and `--env-file` leave them there.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = (self.environment)(name)?;
        let value = bare(&value);
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The first variable that is set to what `read` makes something of; of others its reason is said.
    pub(super) fn first<T>(
        &self,
        names: &[&'static str],
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<(&'static str, T)> {
        names.iter().find_map(|name| match read(&self.get(name)?) {
            Ok(value) => Some((*name, value)),
            Err(reason) => {
                self.warn(name, reason);
                None
            }
        })
    }

    /// A whole number above 0.
    pub(super) fn number(&self, name: &'static str) -> Option<u64> {
        self.first(&[name], number).map(|(_, number)| number)
    }

    pub(super) fn milliseconds(&self, name: &'static str) -> Option<Duration> {
        self.number(name).map(Duration::from_millis)
    }
}

pub(super) fn number(text: &str) -> Result<u64, &'static str> {
    // A sign would do for `parse`, but is a slip.
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number > 0);
    number.ok_or("not a whole number above 0; ignored")
}

/// Undoes percent encoding; `None` where it is malformed.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        // `from_str_radix` alone would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
