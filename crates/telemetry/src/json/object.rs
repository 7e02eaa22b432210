//! A JSON object that is written member by member (RFC 8259 section 4).

use std::fmt::{self, Write};

use serde::Serialize;

use base::json::{push_escaped, push_string};

/// Writes an object's members to the end of a buffer.
pub(super) struct Object<'b> {
    buffer: &'b mut Vec<u8>,
    is_empty: bool,
}

impl<'b> Object<'b> {
    pub(super) fn begin(buffer: &'b mut Vec<u8>) -> Self {
        buffer.push(b'{');
        Self { buffer, is_empty: true }
    }

    pub(super) fn end(self) {
        self.buffer.push(b'}');
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push_string(self.buffer, value);
    }

    /// What `value` displays, as a text.
    pub(super) fn display(&mut self, name: &str, value: fmt::Arguments<'_>) {
        self.name(name);
        self.buffer.push(b'"');
        // A value that cannot be displayed ends where it failed.
        let _ = Escaping(self.buffer).write_fmt(value);
        self.buffer.push(b'"');
    }

    /// Anything else; null where it has no form in JSON.
    pub(super) fn value(&mut self, name: &str, value: &impl Serialize) {
        self.name(name);
        let start = self.buffer.len();
        if serde_json::to_writer(&mut *self.buffer, value).is_err() {
            self.buffer.truncate(start);
            self.buffer.extend_from_slice(b"null");
        }
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.buffer.push(b',');
        }
        push_string(self.buffer, name);
        self.buffer.push(b':');
    }
}

/// Escapes what is written through it.
struct Escaping<'b>(&'b mut Vec<u8>);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn members_of_every_kind() {
        let mut line = b"before ".to_vec();
        let mut object = Object::begin(&mut line);
        object.text("a.b", "c");
        object.display("\"", format_args!("{}\n{:?}", 1, "x"));
        object.value("number", &0.1);
        object.value("nothing", &f64::NAN);
        object.value("map", &BTreeMap::from([((1, 2), 3)]));
        object.end();
        let text = String::from_utf8(line).unwrap();
        let object: Value = serde_json::from_str(text.strip_prefix("before ").unwrap()).unwrap();
        assert_eq!(
            object,
            json!({"a.b": "c", "\"": "1\n\"x\"", "number": 0.1, "nothing": null, "map": null})
        );
        let mut line = Vec::new();
        Object::begin(&mut line).end();
        assert_eq!(line, b"{}");
    }
}
