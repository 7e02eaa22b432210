//! `[assignments]`

use std::time::Duration;

use super::{Context, acs_auth, non_empty_list, positive};
use crate::section::Section;
use crate::{
    AcsAuthConfig, AcsSourceConfig, AssignmentFileConfig, AssignmentsConfig, AssignmentsMode, ExchangeMode,
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
        if let Some(alone) = decides_alone(mode) {
            section.problem("mode", format!("must be \"enforce\" {alone}"));
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
        Some(ExchangeMode::OnBehalfOf(_) | ExchangeMode::Identity(_) | ExchangeMode::TeamsUser(_)) => {
            UnknownGroups::Refuse
        }
    });
    if unknown_groups == UnknownGroups::Acs
        && let Some(alone) = decides_alone(mode)
    {
        section.problem("unknown_groups", format!("must be \"refuse\" or \"graph\" {alone}"));
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

/// Where ACS knows no assignments, so that nothing can be left to it.
fn decides_alone(mode: Option<&ExchangeMode>) -> Option<&'static str> {
    match mode? {
        ExchangeMode::Identity(_) => Some("with exchange.mode = \"identity\": ACS checks nothing there"),
        ExchangeMode::TeamsUser(_) => Some("with exchange.mode = \"teams_user\": ACS knows no assignments there"),
        ExchangeMode::Passthrough | ExchangeMode::OnBehalfOf(_) => None,
    }
}

fn acs(
    section: &mut Section<'_, '_>,
    context: Context<'_>,
    needed: bool,
) -> (Option<AcsSourceConfig>, Option<AcsAuthConfig>) {
    let refresh_interval = section.field_or("refresh_interval", positive, Duration::from_mins(5));
    let max_age = section.field_or("max_age", positive, Duration::from_hours(1));
    let auth = acs_auth::acs_auth(section, context, needed);
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
