//! `openapi.yaml`, read by a machine.

use std::collections::BTreeSet;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::http::Answer;

/// Headers that the description must name where they come. All others are HTTP's own, or CORS's.
const OURS: [&str; 8] = [
    "allow",
    "cache-control",
    "pragma",
    "retry-after",
    "server-timing",
    "www-authenticate",
    "x-cache",
    "x-content-type-options",
];

pub(crate) struct Description(Value);

impl Description {
    pub(crate) fn load() -> Self {
        Self(serde_saphyr::from_str(include_str!("../../openapi.yaml")).expect("openapi.yaml is YAML"))
    }

    /// The paths described.
    pub(crate) fn paths(&self) -> BTreeSet<&str> {
        self.0["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(path, _)| path.as_str())
            .collect()
    }

    /// The statuses described for a path.
    pub(crate) fn statuses(&self, path: &str) -> BTreeSet<&str> {
        let responses = &self.0["paths"][path]["post"]["responses"];
        responses
            .as_object()
            .into_iter()
            .flatten()
            .map(|(status, _)| status.as_str())
            .collect()
    }

    /// The values that a schema of the components lists.
    pub(crate) fn listed(&self, pointer: &str) -> BTreeSet<&str> {
        let values = self.0.pointer(&format!("/components/schemas/{pointer}/enum"));
        values
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// What of an answer is not as described.
    pub(crate) fn problems(&self, path: &str, answer: &Answer) -> Vec<String> {
        let responses = ["paths", path, "post", "responses"].map(escaped).join("/");
        let Some((pointer, response)) = self.resolve(format!("/{responses}/{}", answer.status)) else {
            return vec![format!("status {} is not described", answer.status)];
        };
        let mut problems = Vec::new();
        let content_type = answer.header("content-type").unwrap_or_default();
        if response["content"].get(content_type).is_some() {
            let schema = format!("{pointer}/content/{}/schema", escaped(content_type));
            problems.extend(
                self.violations(&schema, &answer.body)
                    .map(|text| format!("body: {text}")),
            );
        } else {
            problems.push(format!("content type {content_type:?} is not described"));
        }
        let described = response["headers"].as_object();
        let named = |wanted: &str| {
            described
                .into_iter()
                .flatten()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        for (name, value) in &answer.headers {
            let ours = OURS.contains(&name.as_str()) || name.starts_with("x-ms-");
            match named(name) {
                None if ours => problems.push(format!("header {name} is not described")),
                None => {}
                Some((name, _)) => {
                    let (header, _) = self
                        .resolve(format!("{pointer}/headers/{}", escaped(name)))
                        .expect("a header");
                    problems.extend(self.header_violation(&format!("{header}/schema"), name, value));
                }
            }
        }
        for (name, _) in described.into_iter().flatten() {
            let (_, header) = self
                .resolve(format!("{pointer}/headers/{}", escaped(name)))
                .expect("a header");
            if header["required"] == true && answer.header(&name.to_ascii_lowercase()).is_none() {
                problems.push(format!("header {name} is missing"));
            }
        }
        problems
    }

    fn header_violation(&self, schema: &str, name: &str, value: &str) -> Option<String> {
        // A header is text; what its schema calls a number is written as one.
        let value = value
            .parse::<i64>()
            .map_or_else(|_| json!(value), |number| json!(number));
        self.violations(schema, &value)
            .next()
            .map(|text| format!("header {name}: {text}"))
    }

    fn violations(&self, pointer: &str, value: &Value) -> impl Iterator<Item = String> {
        let validator = self.validator(pointer);
        let found: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        found.into_iter()
    }

    /// A schema within the document, which it may refer to.
    fn validator(&self, pointer: &str) -> Validator {
        let mut document = self.0.clone();
        document["$ref"] = json!(format!("#{pointer}"));
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .build(&document)
            .unwrap_or_else(|error| panic!("{pointer} is no schema: {error}"))
    }

    /// What stands at a pointer, through `$ref`.
    fn resolve(&self, mut pointer: String) -> Option<(String, &Value)> {
        loop {
            let value = self.0.pointer(&pointer)?;
            match value["$ref"].as_str().and_then(|text| text.strip_prefix('#')) {
                Some(target) => target.clone_into(&mut pointer),
                None => return Some((pointer, value)),
            }
        }
    }
}

/// RFC 6901.
fn escaped(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}
