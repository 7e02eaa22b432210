//! The assignment file as JSON Schema, for editors and pipelines. Made from the types; `assignments.schema.json` at the
//! root of the repository is what comes of it.
//!
//! It cannot say that no objectId comes twice for a tenant, nor that a tenant's assignment has the tenant's own id:
//! those rules are the parser's alone.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::authorize::assignment::{AllowedScopes, Assignment};
use azure::acs_assignments::EntraAssignment;
use config::IdentityScope;

/// Who may obtain tokens for Azure Communication Services through which client applications.
#[derive(JsonSchema)]
#[schemars(untagged, title = "Assignments of acs-token-broker")]
#[expect(dead_code, reason = "it has a schema and no values")]
enum AssignmentFile {
    /// Written for the broker.
    Own(OwnFile),
    /// What ACS's list call returns, and `assignments list --output json`.
    Listed(AcsList),
}

/// Written for the broker.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it has a schema and no values")]
struct OwnFile {
    /// Where editors find the schema of this file.
    #[schemars(
        rename = "$schema",
        with = "String",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    schema: Option<String>,
    /// The assignments; none may have the objectId and tenantId of another.
    assignments: Vec<Assignment>,
}

/// What ACS's list call returns. Members that are not listed here are ignored, at any place.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", extend("not" = {"required": ["assignments"]}))]
#[expect(dead_code, reason = "it has a schema and no values")]
struct AcsList {
    /// The assignments; none may have the objectId and tenantId of another.
    value: Vec<EntraAssignment>,
    /// A link would mean that the list is incomplete.
    #[schemars(default, skip_serializing_if = "Option::is_none")]
    next_link: Option<()>,
}

impl JsonSchema for AllowedScopes {
    fn schema_name() -> Cow<'static, str> {
        "AllowedScopes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "type": "string", "enum": IdentityScope::NAMES },
            "minItems": 1,
        })
    }
}

/// The schema, as it is committed: indented, with a line break at its end.
#[must_use]
pub fn text() -> String {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<AssignmentFile>();
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::authorize::source::parse::{Format, parse};

    const USER: &str = "20000000-0000-4000-8000-00000000000B";
    const TENANT: &str = "10000000-0000-4000-8000-00000000000a";

    fn schema() -> Value {
        serde_json::from_str(&text()).unwrap()
    }

    #[test]
    fn the_committed_schema_is_what_the_types_give() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/assignments.schema.json");
        assert_eq!(
            std::fs::read_to_string(file).unwrap_or_default(),
            text(),
            "write it anew: cargo run -- assignments schema > assignments.schema.json"
        );
    }

    /// An assignment that is good but for one member, or without it where the value is null.
    fn entry(name: &str, value: Value) -> Value {
        let mut entry = json!({
            "objectId": USER, "tenantId": TENANT, "principalType": "user", "clientIds": [USER], "allowedScopes": ["chat"],
        });
        if value.is_null() {
            entry.as_object_mut().unwrap().remove(name);
        } else {
            entry[name] = value;
        }
        entry
    }

    #[test]
    fn schema_and_parser_agree() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let agree = |document: &Value, good: bool| {
            let parsed = parse(Format::Json, &document.to_string());
            assert_eq!(
                (validator.is_valid(document), parsed.is_ok()),
                (good, good),
                "{document} {parsed:?}"
            );
        };
        // In a file of our own, and in a list of ACS's.
        for (name, value, own, acs) in [
            ("objectId", json!(USER.to_lowercase()), true, true),
            ("objectId", json!("alice"), false, false),
            ("objectId", json!(7), false, false),
            ("objectId", json!(null), false, false),
            ("tenantId", json!(null), false, false),
            ("tenantId", json!("fabrikam.com"), false, false),
            ("tenantId", json!("10000000000040008000000000000000"), false, false),
            ("tenantId", json!(format!("{{{TENANT}}}")), false, false),
            ("tenantId", json!(format!("{TENANT}\n")), false, false),
            ("principalType", json!(null), false, false),
            ("principalType", json!("group"), true, true),
            ("principalType", json!("User"), false, false),
            ("principalType", json!("servicePrincipal"), false, false),
            ("clientIds", json!(null), false, false),
            ("clientIds", json!([]), false, false),
            ("clientIds", json!(USER), false, false),
            ("clientIds", json!([USER, TENANT]), true, true),
            ("clientIds", json!([USER, "x"]), false, false),
            ("allowedScopes", json!(null), true, true),
            ("allowedScopes", json!(IdentityScope::NAMES), true, true),
            ("allowedScopes", json!([]), false, true),
            ("allowedScopes", json!(["Chat"]), false, true),
            ("allowedScopes", json!("chat"), false, true),
            ("allowedScopes", json!([1]), false, true),
            ("etag", json!("x"), false, true),
        ] {
            agree(&json!({"assignments": [entry(name, value.clone())]}), own);
            agree(&json!({"value": [entry(name, value)]}), acs);
        }
        for (document, good) in [
            (json!({"assignments": []}), true),
            (json!({"value": []}), true),
            (json!({"value": [], "nextLink": null, "count": 0}), true),
            (json!({"value": [], "nextLink": "https://acs.example/x"}), false),
            (json!({"$schema": "./assignments.schema.json", "assignments": []}), true),
            (json!({"$schema": 7, "assignments": []}), false),
            (json!({"assignments": [], "owner": "me"}), false),
            (json!({"assignments": [], "value": []}), false),
            (json!({"assignments": {}}), false),
            (json!({"assignments": [7]}), false),
            (json!({"value": null}), false),
            (json!({}), false),
            (json!([]), false),
        ] {
            agree(&document, good);
        }
    }

    #[test]
    fn what_the_parser_alone_knows() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for document in [
            json!({"assignments": [entry("", json!(null)), entry("", json!(null))]}),
            json!({"assignments": [entry("principalType", json!("tenant"))]}),
        ] {
            assert!(validator.is_valid(&document), "{document}");
            assert!(parse(Format::Json, &document.to_string()).is_err(), "{document}");
        }
    }

    #[test]
    fn a_toml_file_follows_it_too() {
        let text = format!(
            "[[assignments]]\nobjectId = '{USER}'\ntenantId = '{TENANT}'\nprincipalType = 'user'\nclientIds = ['{USER}']\n\
             allowedScopes = ['chat']\n"
        );
        assert!(parse(Format::Toml, &text).is_ok());
        let document: Value = toml::from_str(&text).unwrap();
        let validator = jsonschema::validator_for(&schema()).unwrap();
        assert!(validator.is_valid(&document));
    }
}
