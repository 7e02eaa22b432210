//! An assignment file, as TOML and as JSON. What is read is written and read back the same, by every rule of the format.
#![no_main]

use std::collections::HashSet;

use acs_token_broker_fuzz::is_a_line;
use broker::authorize::AssignmentIndex;
use broker::authorize::assignment::{Assignment, PrincipalType};
use broker::authorize::source::parse::{Format, parse};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    for format in [Format::Toml, Format::Json] {
        match parse(format, text) {
            Ok(assignments) => is_good(&assignments),
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!(!problem.place.is_empty() && !problem.reason.is_empty());
                    is_a_line(&problem.to_string());
                }
            }
        }
    }
});

fn is_good(assignments: &[Assignment]) {
    let mut seen = HashSet::new();
    let index = AssignmentIndex::new(assignments);
    for assignment in assignments {
        assert!(seen.insert((assignment.object_id, assignment.tenant_id)));
        assert!(assignment.allowed_scopes.is_none_or(|scopes| !scopes.is_empty()));
        let client = *assignment.client_ids.first().expect("a client app");
        let (tenant, object) = (assignment.tenant_id, assignment.object_id);
        assert!(match assignment.principal_type {
            PrincipalType::User => index.user(tenant, object, client),
            PrincipalType::Group => index.group(tenant, object, client),
            PrincipalType::Tenant => object == tenant.as_object_id() && index.tenant(tenant, client),
        });
    }
    let json = json!({ "assignments": assignments }).to_string();
    assert_eq!(parse(Format::Json, &json).as_deref(), Ok(assignments));
    let toml = toml::to_string(&json!({ "assignments": assignments })).expect("TOML");
    assert_eq!(parse(Format::Toml, &toml).as_deref(), Ok(assignments));
}
