//! `[assignments]`

use std::time::Duration;

use super::app::{self, CredentialKind};
use super::{Context, client_id, non_empty_list, positive, tenant_id};
use crate::reader::Field;
use crate::section::Section;
use crate::{
    AcsAuthConfig, AcsSourceConfig, AppConfig, AssignmentFileConfig, AssignmentsConfig, AssignmentsMode, ExchangeMode,
    UnknownGroups, validate, value,
};

/// Reads the section. `mode` is that of the exchange beside it; `unknown_groups` what stands outside it.
pub(super) fn assignments(
    section: &mut Section<'_, '_>,
    context: Context<'_>,
    mode: Option<&ExchangeMode>,
    outer: Option<UnknownGroups>,
) -> AssignmentsConfig {
    let sources = non_empty_list(section, "sources", validate::assignment_source, &["file"]);
    let has = |name: &str| sources.iter().any(|source| source == name);
    let file = section.field_or(
        "file",
        |raw| validate::assignment_file(context.folder.join(value::text(raw)?)),
        context.folder.join("assignments.toml"),
    );
    let refresh_interval = section.field_or("refresh_interval", positive, Duration::from_secs(5));
    let (acs, acs_auth) = section.section("acs", |section| acs(section, context, has("acs")));
    let enforcement = section.field_or("mode", value::choice, AssignmentsMode::Enforce);
    if enforcement == AssignmentsMode::Audit {
        if matches!(mode, Some(ExchangeMode::Identity(_))) {
            section.problem(
                "mode",
                "must be \"enforce\" with exchange.mode = \"identity\": ACS checks nothing there",
            );
        } else {
            let key = section.path_of("mode");
            section.warn(format!(
                "{key}: is \"audit\": assignments are not enforced, and callers whom none covers are left to ACS"
            ));
        }
    }
    let inner = section.field("unknown_groups", value::choice).given();
    if inner.is_some() && outer.is_some() {
        section.problem("unknown_groups", "is set twice for this resource");
    }
    let unknown_groups = inner.or(outer).unwrap_or(match mode {
        Some(ExchangeMode::Passthrough) | None => UnknownGroups::Acs,
        Some(ExchangeMode::OnBehalfOf(_) | ExchangeMode::Identity(_)) => UnknownGroups::Refuse,
    });
    if unknown_groups == UnknownGroups::Acs && matches!(mode, Some(ExchangeMode::Identity(_))) {
        section.problem(
            "unknown_groups",
            "must be \"refuse\" or \"graph\" with exchange.mode = \"identity\": ACS checks nothing there",
        );
    }
    AssignmentsConfig {
        file: has("file").then_some(AssignmentFileConfig {
            path: file,
            refresh_interval,
        }),
        acs: acs.filter(|_| has("acs")),
        acs_auth,
        mode: enforcement,
        unknown_groups,
        unknown_groups_max_age: section.field_or("unknown_groups_max_age", value::duration, Duration::from_mins(10)),
    }
}

fn acs(
    section: &mut Section<'_, '_>,
    context: Context<'_>,
    needed: bool,
) -> (Option<AcsSourceConfig>, Option<AcsAuthConfig>) {
    let refresh_interval = section.field_or("refresh_interval", positive, Duration::from_mins(5));
    let max_age = section.field_or("max_age", positive, Duration::from_hours(1));
    let auth = auth(section, context, needed);
    let path = section.path_of("refresh_interval");
    let beside = section.path_of("max_age");
    section.rule(
        &path,
        &[&beside],
        refresh_interval < max_age,
        "must be less than max_age, or assignments grow too old between two looks",
    );
    let source = auth.clone().map(|auth| AcsSourceConfig {
        refresh_interval,
        max_age,
        auth,
    });
    (source, auth)
}

fn auth(section: &mut Section<'_, '_>, context: Context<'_>, needed: bool) -> Option<AcsAuthConfig> {
    let access_key = app::secret(section, "access_key", context, validate::access_key);
    let client_id = section.field("client_id", client_id);
    let tenant_id = section.field("tenant_id", tenant_id);
    let credential = app::fields(section, context, None);
    let has_credential = section.was_given("credential");
    match (access_key, credential.kind) {
        (Some(_), Some(_)) => {
            section.problem("access_key", "is set beside credential; set one of them");
            None
        }
        (Some(key), None) => Some(AcsAuthConfig::AccessKey(key)),
        (None, Some(CredentialKind::ManagedIdentity)) if matches!(client_id, Field::Absent) => {
            Some(AcsAuthConfig::ManagedIdentity {
                client_id: credential.managed_identity_client_id,
            })
        }
        (None, Some(_)) => {
            for (key, absent) in [
                ("client_id", matches!(client_id, Field::Absent)),
                ("tenant_id", matches!(tenant_id, Field::Absent)),
            ] {
                if absent {
                    section.missing(key, "is required beside credential");
                }
            }
            let credential = credential.chosen(section);
            Some(AcsAuthConfig::App {
                tenant_id: tenant_id.given()?,
                app: AppConfig {
                    client_id: client_id.given()?,
                    credential: credential?,
                },
            })
        }
        (None, None) => {
            if needed && !has_credential {
                section.missing("access_key", "or access_key_file or credential is required");
            }
            None
        }
    }
}
