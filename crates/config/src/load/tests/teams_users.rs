//! Mode `teams_user`.

use super::*;
use crate::{AcsAuthConfig, ExchangeMode, TeamsCloud, UnknownGroups};

const KEY: &str = "c2VjcmV0";

fn text(rest: &str) -> String {
    format!("{MINIMAL}{rest}")
}

fn reported(rest: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load_text(&text(rest), variables).map_or_else(|problems| lines(&problems), |_| Vec::new())
}

#[test]
fn teams_users_need_a_key_or_a_credential_and_no_api_of_ones_own() {
    let mode = "exchange.mode = 'teams_user'\n";
    assert_eq!(
        reported(mode, &[]),
        ["exchange.teams_user.access_key: or access_key_file or credential is required"]
    );
    let key = [("ACS_TOKEN_BROKER__EXCHANGE__TEAMS_USER__ACCESS_KEY", KEY)];
    let config = config_of(&text(mode), &key);
    let ExchangeMode::TeamsUser(settings) = &config.resources[0].exchange.mode else {
        panic!("another mode");
    };
    assert_eq!(
        (settings.api_version.as_str(), settings.cloud),
        ("2025-06-30", TeamsCloud::Public)
    );
    assert!(matches!(settings.auth, AcsAuthConfig::AccessKey(_)));
    assert_eq!(
        config.entra.audiences,
        [
            "1fd5118e-2576-4263-8130-9503064c837a",
            "https://auth.msft.communication.azure.com"
        ]
    );
    assert_eq!(config.entra.required_scopes, ["Teams.ManageCalls", "Teams.ManageChats"]);
    assert_eq!(config.resources[0].assignments.unknown_groups, UnknownGroups::Refuse);

    let gov = config_of(
        &text(&format!(
            "{mode}entra.cloud = 'usgov'\nexchange.teams_user.teams_cloud = 'gcch'"
        )),
        &key,
    );
    assert_eq!(gov.entra.audiences[1], "https://auth.msft.communication.azure.us");

    for (rest, variables, keys) in [
        (
            "exchange.teams_user.credential = 'managed_identity'",
            &key[..],
            &["exchange.teams_user.access_key"][..],
        ),
        (
            "exchange.teams_user.credential = 'workload_identity'",
            &[],
            &[
                "exchange.teams_user.client_id",
                "exchange.teams_user.tenant_id",
                "exchange.teams_user.federated_token_file",
            ],
        ),
        ("exchange.teams_user.credential = 'managed_identity'", &[], &[]),
        (
            "exchange.teams_user.teams_cloud = 'moon'",
            &key,
            &["exchange.teams_user.teams_cloud"],
        ),
        (
            "assignments.unknown_groups = 'acs'",
            &key,
            &["assignments.unknown_groups"],
        ),
        ("assignments.mode = 'audit'", &key, &["assignments.mode"]),
    ] {
        let reported = reported(&format!("{mode}{rest}"), variables);
        let found: Vec<_> = reported.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(found, keys, "{rest}");
    }
}

/// Each of the resources takes its own kind of token.
#[test]
fn defaults_are_those_of_all_modes_for_acs() {
    let resource = |name: &str, mode: &str| {
        format!("[[resources]]\nname = '{name}'\nexchange.endpoint = 'https://{name}.communication.azure.com'\n{mode}")
    };
    let teams = "exchange.mode = 'teams_user'\nexchange.teams_user.credential = 'managed_identity'\n";
    let both = format!(
        "entra.tenants = [{{ id = '{TENANT}' }}]\n{}{}",
        resource("one", ""),
        resource("two", teams)
    );
    let config = config_of(&both, &[]);
    assert_eq!(config.entra.audiences.len(), 4);
    assert_eq!(
        config.entra.required_scopes,
        ["VoIP", "VoIP.Join", "Teams.ManageCalls", "Teams.ManageChats"]
    );
    let mode = "exchange.mode = 'identity'\nexchange.identity.access_key_file = 'missing'\n";
    let mixed = format!(
        "entra.tenants = [{{ id = '{TENANT}' }}]\n{}{}",
        resource("one", mode),
        resource("two", teams)
    );
    let problems = load_text(&mixed, &[]).unwrap_err();
    assert!(
        lines(&problems)
            .iter()
            .any(|line| line.starts_with("entra.audiences: is required")),
        "{problems}"
    );
}

#[test]
fn what_leaves_no_teams_user_a_token_is_warned_of() {
    let mode = "exchange.mode = 'teams_user'\nexchange.teams_user.credential = 'managed_identity'\n";
    for (rest, keys) in [
        ("", &[][..]),
        (
            "entra.audiences = ['api://broker']\nentra.required_scopes = ['access']",
            &["entra.audiences", "entra.required_scopes"],
        ),
        (
            "entra.required_scopes = ['TeamsExtension.ManageCalls']",
            &["entra.required_scopes"],
        ),
        ("entra.required_scopes = ['Teams.ManageChats']", &[]),
    ] {
        let warnings = load_text(&text(&format!("{mode}{rest}")), &[]).unwrap().warnings;
        let about = warnings.iter().filter(|warning| warning.contains("teams_user"));
        let found: Vec<_> = about.map(|warning| warning.split(": ").next().unwrap()).collect();
        assert_eq!(found, keys, "{rest}: {warnings:?}");
    }
}
