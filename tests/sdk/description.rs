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

    /// The values that a schema of the components lists, of a set that may grow.
    pub(crate) fn listed(&self, pointer: &str) -> BTreeSet<&str> {
        let values = self
            .0
            .pointer(&format!("/components/schemas/{pointer}/x-extensible-enum"));
        values
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Where it says what client generators read wrongly or not at all: each of these made one of thirteen fail.
    pub(crate) fn unreadable_by_generators(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.0["openapi"] != "3.0.3" {
            found.push("the version is not 3.0.3".to_owned());
        }
        let mut open = vec![(String::new(), &self.0)];
        while let Some((at, value)) = open.pop() {
            if let Value::Object(members) = value {
                for name in ["oneOf", "anyOf", "allOf", "additionalProperties", "const"] {
                    if members.contains_key(name) {
                        found.push(format!("{name} at {at}"));
                    }
                }
                // An object within an object has no name of its own.
                let nested = at.rsplit_once("/properties/").is_some();
                if nested && members.get("type").is_some_and(|kind| kind == "object") {
                    found.push(format!("an object without a name at {at}"));
                }
                open.extend(members.iter().map(|(name, value)| (format!("{at}/{name}"), value)));
            } else if let Value::Array(elements) = value {
                open.extend(elements.iter().map(|value| (at.clone(), value)));
            }
        }
        for path in self.paths() {
            let operation = &self.0["paths"][path]["post"];
            let has_body = operation.get("requestBody").is_some();
            if has_body != (path == "/oauth2/token") {
                found.push(format!("{path} has a body, or lacks one"));
            }
            let shapes: BTreeSet<String> = self.shapes(path).collect();
            if shapes.len() != 2 {
                found.push(format!(
                    "{path} has other than one success and one error shape: {shapes:?}"
                ));
            }
        }
        found
    }

    /// The schemas of a path's answers, by name.
    fn shapes(&self, path: &str) -> impl Iterator<Item = String> {
        let responses = self.0["paths"][path]["post"]["responses"].as_object();
        let names: Vec<String> = responses
            .into_iter()
            .flatten()
            .filter_map(|(status, _)| {
                let pointer = ["paths", path, "post", "responses", status].map(escaped).join("/");
                let (_, response) = self.resolve(format!("/{pointer}"))?;
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                Some(schema.as_str().unwrap_or("none").to_owned())
            })
            .collect();
        names.into_iter()
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
