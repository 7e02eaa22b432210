//! Exchange modes, credentials, clouds and resources.

use super::*;
use crate::{
    AcsAuthConfig, Cloud, CredentialConfig, ExchangeMode, IdentityScope, SecretSource, ServiceIdentity, UnknownGroups,
};

const APP: &str = "b0b00000-0000-4000-8000-000000000005";
const OWN_API: &str = "entra.audiences = ['api://broker']\nentra.required_scopes = ['access']\n";
const KEY: &str = "c2VjcmV0";

fn text(rest: &str) -> String {
    format!("{MINIMAL}{rest}")
}

fn reported(rest: &str, variables: &[(&str, &str)]) -> Vec<String> {
    load_text(&text(rest), variables).map_or_else(|problems| lines(&problems), |_| Vec::new())
}

#[test]
fn on_behalf_of_needs_an_app_and_an_api_of_its_own() {
    let mode = "exchange.mode = 'on_behalf_of'\n";
    assert_eq!(
        reported(mode, &[])
            .iter()
            .map(|line| line.split(": ").next().unwrap().to_owned())
            .collect::<Vec<_>>(),
        [
            "entra.audiences",
            "entra.required_scopes",
            "exchange.on_behalf_of.client_id",
            "exchange.on_behalf_of.client_secret",
        ]
    );
    let app = format!("{mode}{OWN_API}exchange.on_behalf_of.client_id = '{APP}'\n");
    for (credential, problem) in [
        (
            "secret",
            Some("exchange.on_behalf_of.client_secret: or client_secret_file is required"),
        ),
        (
            "certificate",
            Some("exchange.on_behalf_of.certificate_file: is required"),
        ),
        (
            "workload_identity",
            Some("exchange.on_behalf_of.federated_token_file: is required"),
        ),
        ("managed_identity", None),
    ] {
        let reported = reported(&format!("{app}exchange.on_behalf_of.credential = '{credential}'"), &[]);
        match problem {
            None => assert_eq!(reported, Vec::<String>::new()),
            Some(problem) => assert!(reported.len() == 1 && reported[0].starts_with(problem), "{reported:?}"),
        }
    }
    let config = config_of(
        &text(&format!("{app}exchange.on_behalf_of.credential = 'secret'")),
        &[("__EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET", "hunter2")],
    );
    let ExchangeMode::OnBehalfOf(mode) = &config.resources[0].exchange.mode else {
        panic!("{config:?}");
    };
    assert_eq!(mode.scope, "https://communication.azure.com/clients/.default");
    assert!(matches!(
        mode.app.credential,
        CredentialConfig::Secret(SecretSource::Value(_))
    ));
    assert_eq!(config.resources[0].assignments.unknown_groups, UnknownGroups::Refuse);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_federated_token_file_is_found_where_the_platform_says() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "t").unwrap();
    let config = config_of(
        &text(&format!(
            "{OWN_API}exchange.mode = 'on_behalf_of'\nexchange.on_behalf_of = {{ client_id = '{APP}', credential = 'workload_identity' }}"
        )),
        &[("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap())],
    );
    let ExchangeMode::OnBehalfOf(mode) = &config.resources[0].exchange.mode else {
        panic!("{config:?}");
    };
    assert_eq!(
        mode.app.credential,
        CredentialConfig::WorkloadIdentity {
            federated_token_file: file
        }
    );
}

#[test]
fn secrets_come_from_the_environment_or_from_one_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, KEY).unwrap();
    let file = file.to_str().unwrap();
    let identity = format!("{OWN_API}exchange.mode = 'identity'\n");
    for (rest, variables, problem) in [
        (String::new(), vec![("__EXCHANGE__IDENTITY__ACCESS_KEY", KEY)], None),
        (format!("exchange.identity.access_key_file = '{file}'"), vec![], None),
        (
            String::new(),
            vec![("__EXCHANGE__IDENTITY", "{ access_key = 'c2VjcmV0' }")],
            None,
        ),
        (
            format!("exchange.identity.access_key = '{KEY}'"),
            vec![],
            Some("is a secret, which is not for this file"),
        ),
        (
            format!("exchange.identity.access_key_file = '{file}'"),
            vec![("__EXCHANGE__IDENTITY__ACCESS_KEY", KEY)],
            Some("is set beside access_key_file"),
        ),
        (
            String::new(),
            vec![],
            Some("or access_key_file or credential is required"),
        ),
        (
            String::new(),
            vec![(
                "__EXCHANGE__IDENTITY__ACCESS_KEY",
                "endpoint=https://x/;accesskey=c2VjcmV0",
            )],
            Some("is a connection string"),
        ),
        (
            String::new(),
            vec![("__EXCHANGE__IDENTITY__ACCESS_KEY", "not base64!")],
            Some("is not an access key"),
        ),
    ] {
        let reported = reported(&format!("{identity}{rest}"), &variables);
        match problem {
            None => assert_eq!(reported, Vec::<String>::new()),
            Some(problem) => {
                let line = format!("exchange.identity.access_key: {problem}");
                assert!(reported.len() == 1 && reported[0].starts_with(&line), "{reported:?}");
            }
        }
    }
}

#[test]
fn identity_mode_decides_by_itself() {
    let variables = [("__EXCHANGE__IDENTITY__ACCESS_KEY", KEY)];
    let identity = format!("{OWN_API}exchange.mode = 'identity'\n");
    let config = config_of(&text(&identity), &variables);
    assert_eq!(config.resources[0].assignments.unknown_groups, UnknownGroups::Refuse);
    let ExchangeMode::Identity(mode) = &config.resources[0].exchange.mode else {
        panic!("{config:?}");
    };
    assert_eq!(
        (mode.scopes.as_slice(), mode.lifetime.as_secs()),
        (&[IdentityScope::Chat][..], 3600)
    );
    let reported = reported(&format!("{identity}assignments.unknown_groups = 'acs'"), &variables);
    assert!(
        reported.len() == 1 && reported[0].starts_with("assignments.unknown_groups: must be"),
        "{reported:?}"
    );
}

#[test]
fn identity_mode_takes_a_credential_in_place_of_the_key() {
    let identity = format!("{OWN_API}exchange.mode = 'identity'\n");
    let own = format!("{identity}exchange.identity.credential = 'managed_identity'\n");
    let config = config_of(&text(&own), &[]);
    let ExchangeMode::Identity(mode) = &config.resources[0].exchange.mode else {
        panic!("{config:?}");
    };
    assert_eq!(
        mode.auth,
        AcsAuthConfig::Identity(ServiceIdentity::ManagedIdentity { client_id: None })
    );
    let app = format!("{own}exchange.identity.client_id = '{APP}'\n");
    assert_eq!(
        reported(&app, &[]),
        ["exchange.identity.tenant_id: is required beside credential"]
    );
    let config = config_of(&text(&format!("{app}exchange.identity.tenant_id = '{TENANT}'\n")), &[]);
    let ExchangeMode::Identity(mode) = &config.resources[0].exchange.mode else {
        panic!("{config:?}");
    };
    assert!(
        matches!(mode.auth, AcsAuthConfig::Identity(ServiceIdentity::App { .. })),
        "{mode:?}"
    );
    let both = [("__EXCHANGE__IDENTITY__ACCESS_KEY", KEY)];
    let reported = reported(&own, &both);
    assert!(
        reported.len() == 1 && reported[0].starts_with("exchange.identity.access_key: is set beside credential"),
        "{reported:?}"
    );
}

#[test]
fn graph_needs_an_app_only_where_it_is_asked() {
    assert_eq!(reported("graph.timeout = '1s'", &[]), Vec::<String>::new());
    let graph = "assignments.unknown_groups = 'graph'\n";
    assert_eq!(reported(graph, &[]).len(), 2);
    let app = format!("{graph}graph = {{ client_id = '{APP}', credential = 'managed_identity' }}");
    let config = config_of(&text(&app), &[]);
    assert_eq!(config.graph.unwrap().endpoint.as_str(), "https://graph.microsoft.com/");
    let reported = reported(
        &format!(
            "{graph}graph = {{ client_id = '{APP}', credential = 'managed_identity', endpoint = 'http://graph.example' }}"
        ),
        &[],
    );
    assert!(
        reported.len() == 1 && reported[0].starts_with("graph.endpoint: must be https"),
        "{reported:?}"
    );
}

#[test]
fn assignments_from_acs_need_a_key_or_a_credential() {
    let acs = "assignments.sources = ['file', 'acs']\n";
    assert_eq!(reported(acs, &[]).len(), 1);
    let key = [("__ASSIGNMENTS__ACS__ACCESS_KEY", KEY)];
    let config = config_of(&text(acs), &key);
    let assignments = &config.resources[0].assignments;
    assert!(
        assignments.file.is_some() && matches!(assignments.acs.as_ref().unwrap().auth, AcsAuthConfig::AccessKey(_))
    );
    let itself = format!("{acs}assignments.acs.credential = 'managed_identity'");
    let config = config_of(&text(&itself), &[]);
    assert!(matches!(
        config.resources[0].assignments.acs.as_ref().unwrap().auth,
        AcsAuthConfig::Identity(ServiceIdentity::ManagedIdentity { client_id: None })
    ));
    assert_eq!(reported(&itself, &key).len(), 1);
    let secret = [("__ASSIGNMENTS__ACS__CLIENT_SECRET", "s")];
    let app =
        format!("{acs}assignments.acs = {{ credential = 'secret', client_id = '{APP}', tenant_id = '{TENANT}' }}");
    assert_eq!(reported(&app, &secret), Vec::<String>::new());
    assert_eq!(
        reported(&format!("{acs}assignments.acs.credential = 'secret'"), &secret).len(),
        2
    );
    // Without the source, the command line may still use the key.
    let config = config_of(MINIMAL, &key);
    let assignments = &config.resources[0].assignments;
    assert!(assignments.acs.is_none() && assignments.acs_auth.is_some());
}

#[test]
fn a_cloud_sets_all_hosts_together_and_each_can_be_overridden() {
    let graph = format!(
        "assignments.unknown_groups = 'graph'\ngraph = {{ client_id = '{APP}', credential = 'managed_identity' }}\n"
    );
    for (name, cloud, authority, graph_host, audience) in [
        (
            "public",
            Cloud::Public,
            "https://login.microsoftonline.com/",
            "https://graph.microsoft.com/",
            "https://communication.azure.com/clients",
        ),
        (
            "usgov",
            Cloud::UsGov,
            "https://login.microsoftonline.us/",
            "https://graph.microsoft.us/",
            "https://communication.azure.us/clients",
        ),
        (
            "china",
            Cloud::China,
            "https://login.partner.microsoftonline.cn/",
            "https://microsoftgraph.chinacloudapi.cn/",
            "https://communication.azure.cn/clients",
        ),
    ] {
        for variables in [vec![("__ENTRA__CLOUD", name)], vec![]] {
            let file = if variables.is_empty() {
                format!("{graph}entra.cloud = '{name}'")
            } else {
                graph.clone()
            };
            let config = config_of(&text(&file), &variables);
            assert_eq!(config.entra.cloud, cloud);
            assert_eq!(config.entra.authority.as_str(), authority);
            assert_eq!(config.graph.unwrap().endpoint.as_str(), graph_host);
            assert_eq!(config.entra.audiences[1], audience);
        }
    }
    let config = config_of(
        &text("entra.cloud = 'usgov'\nentra.authority = 'https://login.example'"),
        &[],
    );
    assert_eq!(config.entra.authority.as_str(), "https://login.example/");
    let whole = [(
        "__ENTRA",
        "{ cloud = 'china', tenants = [{ id = '8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11' }] }",
    )];
    assert_eq!(config_of(MINIMAL, &whole).entra.cloud, Cloud::China);
}

#[test]
fn several_resources_exclude_the_top_level_one() {
    let resources = format!(
        r"
entra.tenants = [{{ id = '{TENANT}' }}]
entra.audiences = ['api://broker']
entra.required_scopes = ['access']
[[resources]]
name = 'one'
tenants = ['{TENANT}']
unknown_groups = 'refuse'
exchange = {{ endpoint = 'https://one.communication.azure.com' }}
assignments = {{ file = 'one.toml' }}
[[resources]]
name = 'two'
client_ids = ['{APP}']
exchange = {{ endpoint = 'https://two.communication.azure.com', mode = 'identity', identity = {{ access_key_file = '/proc/version' }} }}
"
    );
    let config = config_of(&resources, &[]);
    let [one, two] = config.resources.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(
        (one.name.as_deref(), one.tenants.len(), one.client_ids.len()),
        (Some("one"), 1, 0)
    );
    assert_eq!(one.assignments.unknown_groups, UnknownGroups::Refuse);
    assert_eq!(two.exchange.mode.name(), "identity");
    for (rest, variables, key) in [
        ("[exchange]\nendpoint = 'https://x.example'", vec![], "exchange"),
        ("[assignments]\nfile = 'x.toml'", vec![], "assignments"),
        (
            "",
            vec![("__EXCHANGE__ENDPOINT", "https://x.example")],
            "ACS_TOKEN_BROKER__EXCHANGE__ENDPOINT",
        ),
        (
            "[[resources]]\nname = 'one'\nexchange.endpoint = 'https://x.example'",
            vec![],
            "resources[2].name",
        ),
        (
            "[[resources]]\nname = 'three'",
            vec![],
            "resources[2].exchange.endpoint",
        ),
        (
            "[[resources]]\nname = 'three'\nexchange.endpoint = 'http://x.example'",
            vec![],
            "resources[2].exchange.endpoint",
        ),
        (
            "[[resources]]\nname = 'three'\nexchange.endpoint = 'https://x.example'\ntenant = 'x'",
            vec![],
            "resources[2].tenant",
        ),
        (
            "[[resources]]\nname = 'a b'\nexchange.endpoint = 'https://x.example'",
            vec![],
            "resources[2].name",
        ),
        (
            "[[resources]]\nname = 'a'\nunknown_groups = 'acs'\nexchange.endpoint = 'https://x.example'\nassignments.unknown_groups = 'acs'",
            vec![],
            "resources[2].assignments.unknown_groups",
        ),
    ] {
        let problems = load_text(&format!("{resources}{rest}"), &variables).unwrap_err();
        let keys: Vec<_> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [key], "{rest}");
    }
    let shadowed = format!(
        "{resources}[[resources]]\nname = 'three'\ntenants = ['{TENANT}']\nexchange.endpoint = 'https://x.example'"
    );
    let loaded = load_text(&shadowed, &[]).unwrap();
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.starts_with("resources[2].tenants, client_ids: resources[0]")),
        "{:?}",
        loaded.warnings
    );
}
