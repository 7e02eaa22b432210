//! `[shared_cache]`

use super::*;
use crate::{ServiceIdentity, SharedCacheConfig, StoreAuth, StoreKind};

const REPLICAS: &str = "limits.replicas = 3\n";
const SECTION: &str = "[shared_cache]\nurl = 'rediss://cache.contoso.com:6380'\nencryption_keys_file = 'keys'\n";

fn shared_cache(more: &str, variables: &[(&str, &str)]) -> SharedCacheConfig {
    let text = format!("{REPLICAS}{MINIMAL}{SECTION}{more}");
    config_of(&text, variables).shared_cache.unwrap()
}

/// The problems of a section beside what is needed otherwise.
fn reported(section: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match load_text(&format!("{REPLICAS}{MINIMAL}{section}"), variables) {
        Ok(_) => Vec::new(),
        Err(problems) => lines(&problems),
    }
}

fn servers(config: &SharedCacheConfig) -> Vec<String> {
    config.servers.iter().map(ToString::to_string).collect()
}

#[test]
fn there_is_none_unless_the_section_is_there() {
    assert_eq!(config_of(MINIMAL, &[]).shared_cache, None);
    let config = shared_cache("", &[]);
    assert_eq!(servers(&config), ["cache.contoso.com:6380"]);
    assert!(config.tls && config.kind == StoreKind::Single && config.tls_name.is_none());
    assert_eq!(
        config.auth,
        StoreAuth::Password {
            username: None,
            password: None
        }
    );
    assert_eq!(config.timeout.as_millis(), 50);
    assert_eq!(config.connect_timeout.as_secs(), 2);
    assert_eq!(config.prefix, "acs-token-broker:");
    // From variables alone, where the file of keys is looked for by the broker, not by the reader.
    let variables = [
        ("__SHARED_CACHE__URL", "redis://127.0.0.1:7000, redis://[::1]"),
        ("__SHARED_CACHE__KIND", "cluster"),
        ("__SHARED_CACHE__ENCRYPTION_KEYS_FILE", "/missing/keys"),
        ("__LIMITS__REPLICAS", "2"),
    ];
    let config = config_of(MINIMAL, &variables).shared_cache.unwrap();
    assert_eq!(servers(&config), ["127.0.0.1:7000", "[::1]:6379"]);
    assert!(!config.tls && config.kind == StoreKind::Cluster);
}

#[test]
fn what_is_missing_is_reported() {
    let missing = load_text(&format!("{MINIMAL}{SECTION}"), &[]).unwrap_err();
    assert_eq!(lines(&missing), ["limits.replicas: is required with [shared_cache]"]);
    assert_eq!(
        reported("[shared_cache]\n", &[]),
        [
            "shared_cache.url: is required",
            "shared_cache.encryption_keys_file: is required"
        ]
    );
    assert_eq!(
        reported(&format!("{SECTION}kind = 'sentinel'\n"), &[]),
        ["shared_cache.sentinel_master: is required"]
    );
}

#[test]
fn each_problem_by_its_key() {
    let keys = "encryption_keys_file = 'keys'\n";
    for (section, starts) in [
        (
            "url = 'rediss://:hunter2@cache.contoso.com'\n",
            "shared_cache.url: must not hold credentials",
        ),
        (
            "url = 'redis://cache.contoso.com'\n",
            "shared_cache.url: must be rediss",
        ),
        (
            "url = ['rediss://a', 'redis://10.0.0.1']\nkind = 'cluster'\n",
            "shared_cache.url: must be rediss throughout",
        ),
        (
            "url = ['rediss://a.example']\n",
            "shared_cache.url: must be one URL with kind",
        ),
        (
            "url = []\nkind = 'cluster'\n",
            "shared_cache.url: must hold at least one",
        ),
        (
            "url = ['rediss://a.example', 'rediss://b.example/1']\nkind = 'cluster'\n",
            "shared_cache.url[1]: must not have a path",
        ),
        (
            "url = 'rediss://a.example'\nsentinel_master = 'store'\n",
            "shared_cache.sentinel_master: belongs to kind = \"sentinel\"",
        ),
        (
            "url = 'rediss://a.example'\nsentinel_username = 'broker'\nkind = 'cluster'\n",
            "shared_cache.sentinel_username: belongs to kind = \"sentinel\"",
        ),
        (
            "url = 'rediss://a.example'\npassword = 'hunter2'\n",
            "shared_cache.password: is a secret, which is not for this file",
        ),
        (
            "url = 'rediss://a.example'\npassword_file = '/proc/version'\ncredential = 'managed_identity'\n",
            "shared_cache.password: is set beside credential",
        ),
        (
            "url = 'rediss://a.example'\nprefix = 'a{b}'\n",
            "shared_cache.prefix: must be at most 64 visible characters",
        ),
        (
            "url = 'rediss://a.example'\ntls_name = 'https://a.example'\n",
            "shared_cache.tls_name: must be a host's name",
        ),
        (
            "url = 'rediss://a.example'\ntimeout = '0s'\n",
            "shared_cache.timeout: must be longer than 0s",
        ),
        (
            "url = 'rediss://a.example'\nkind = 'ring'\nsentinel_master = 'store'\n",
            "shared_cache.kind: must be \"single\", \"cluster\" or \"sentinel\"",
        ),
        (
            "url = 'rediss://a.example'\nca_file = 'missing.pem'\n",
            "shared_cache.ca_file: names a file that cannot be read",
        ),
    ] {
        let reported = reported(&format!("[shared_cache]\n{keys}{section}"), &[]);
        assert!(
            reported.iter().any(|line| line.starts_with(starts)),
            "{section}: {reported:?}"
        );
        assert!(!reported.join("").contains("hunter2"), "{reported:?}");
    }
}

#[test]
fn plain_connections_beyond_this_machine_must_be_wished_for() {
    let text = format!(
        "allow_insecure_upstreams = true\n{REPLICAS}{MINIMAL}[shared_cache]\nurl = 'redis://store'\n\
         encryption_keys_file = 'keys'\n"
    );
    let loaded = load_text(&text, &[]).unwrap();
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.starts_with("shared_cache.url: is used without TLS")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn who_the_broker_is_at_the_store() {
    let password = [("__SHARED_CACHE__PASSWORD", "hunter2")];
    let config = shared_cache("username = 'broker'\n", &password);
    assert!(
        matches!(&config.auth, StoreAuth::Password { username: Some(name), password: Some(_) } if name == "broker")
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    let config = shared_cache("credential = 'managed_identity'\n", &[]);
    assert_eq!(
        config.auth,
        StoreAuth::Token {
            username: None,
            identity: ServiceIdentity::ManagedIdentity { client_id: None }
        }
    );
    let app = format!("{SECTION}credential = 'secret'\nclient_id = '{TENANT}'\n");
    let secret = [("__SHARED_CACHE__CLIENT_SECRET", "s")];
    assert_eq!(
        reported(&app, &secret),
        ["shared_cache.tenant_id: is required beside credential"]
    );
    assert_eq!(
        reported(&format!("{app}tenant_id = '{TENANT}'\n"), &secret),
        Vec::<String>::new()
    );
    let sentinels = shared_cache(
        "kind = 'sentinel'\nsentinel_master = 'store'\nsentinel_username = 'watcher'\n",
        &[("__SHARED_CACHE__SENTINEL_PASSWORD", "s")],
    );
    let StoreKind::Sentinel(sentinel) = sentinels.kind else {
        panic!("{sentinels:?}");
    };
    assert_eq!(
        (sentinel.master.as_str(), sentinel.username.as_deref()),
        ("store", Some("watcher"))
    );
    assert!(sentinel.password.is_some());
}
