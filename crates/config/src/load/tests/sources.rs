//! Files, variables and what they come to.

use std::time::Duration;

use super::*;
use crate::UnknownGroups;

#[test]
fn the_environment_alone_is_enough() {
    let variables = [
        (
            "__ENTRA__TENANTS",
            "[{ id = \"8F1C3F2E-6d1b-4f7a-9c55-0d5b7e2a4c11\", name = \"Fabrikam\" }]",
        ),
        ("__EXCHANGE__ENDPOINT", "https://contoso.communication.azure.com"),
        ("__SERVER__LISTEN", "[::]:80"),
        ("__SERVER__DIAGNOSTIC_HEADERS", "true"),
        ("__SERVER__MAX_IN_FLIGHT", "7"),
        (
            "__SERVER__CORS__ALLOWED_ORIGINS",
            "https://a.example, https://b.example",
        ),
        ("__ENTRA__REQUIRED_SCOPES", "[\"VoIP\", \"Chat\"]"),
        ("__CACHE__MAX_BYTES", "1048576"),
        ("__CACHE__REFRESH_AHEAD", "0s"),
        ("__ASSIGNMENTS__UNKNOWN_GROUPS", "refuse"),
    ];
    let config = load(None, &environment(&variables)).unwrap().config;
    assert_eq!(config.entra.tenants[0].id, TENANT.parse().unwrap());
    assert_eq!(config.entra.tenants[0].name.as_deref(), Some("Fabrikam"));
    assert_eq!(config.server.listen.to_string(), "[::]:80");
    assert!(config.server.diagnostic_headers);
    assert_eq!(config.server.max_in_flight, 7);
    assert_eq!(
        config.server.cors.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(config.entra.required_scopes, ["VoIP", "Chat"]);
    assert_eq!(config.cache.max_bytes, 1 << 20);
    assert_eq!(config.cache.renewal.refresh_ahead, Duration::ZERO);
    assert_eq!(config.resources[0].assignments.unknown_groups, UnknownGroups::Refuse);
    assert_eq!(
        config.resources[0].assignments.file.as_ref().unwrap().path,
        PathBuf::from("assignments.toml")
    );
}

#[test]
fn a_bound_can_be_switched_off() {
    for (text, wanted) in [
        ("", Some(1024)),
        ("[server]\nmax_connections_per_address = 7", Some(7)),
        ("[server]\nmax_connections_per_address = 'off'", None),
    ] {
        let config = config_of(&format!("{MINIMAL}\n{text}"), &[]);
        assert_eq!(config.server.max_connections_per_address, wanted, "{text}");
    }
    for (variable, wanted) in [("7", Some(7)), ("off", None), (" off ", None)] {
        let config = config_of(MINIMAL, &[("__SERVER__MAX_CONNECTIONS_PER_ADDRESS", variable)]);
        assert_eq!(config.server.max_connections_per_address, wanted, "{variable}");
    }
    let config = config_of(MINIMAL, &[("__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1")]);
    assert_eq!(config.server.trusted_proxies.len(), 2);
}

#[test]
fn the_environment_overrides_the_file_at_every_depth() {
    let server = "[server]\nlisten = '127.0.0.1:1'\nrequest_timeout = '1s'";
    let text = format!("{MINIMAL}\n{server}\ncors.allowed_origins = ['https://a.example']");
    let config = config_of(
        &text,
        &[
            ("__SERVER__REQUEST_TIMEOUT", "2s"),
            ("__SERVER__CORS__ALLOWED_ORIGINS", ""),
        ],
    );
    assert_eq!(config.server.listen.port(), 1);
    assert_eq!(config.server.request_timeout, Duration::from_secs(2));
    assert!(config.server.cors.allowed_origins.is_empty());

    let whole = [
        ("__SERVER", "{ listen = '127.0.0.1:2' }"),
        ("__SERVER__MAX_IN_FLIGHT", "3"),
    ];
    let config = config_of(&text, &whole);
    assert_eq!((config.server.listen.port(), config.server.max_in_flight), (2, 3));
    assert_eq!(
        config.server.request_timeout,
        Duration::from_secs(10),
        "the variable replaces the table"
    );
}

#[test]
fn an_invalid_value_in_the_file_does_not_matter_once_overridden() {
    let text = format!("{MINIMAL}\n[server]\nlisten = 5");
    assert_eq!(
        config_of(&text, &[("__SERVER__LISTEN", "127.0.0.1:9")])
            .server
            .listen
            .port(),
        9
    );
}

#[test]
fn relative_paths_start_from_the_files_folder() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("tls")).unwrap();
    for name in ["config.toml", "tls/c.pem", "tls/k.pem", "ca.pem"] {
        fs::write(folder.path().join(name), MINIMAL).unwrap();
    }
    let tls = [
        ("__SERVER__TLS__CERTIFICATE_FILE", "tls/c.pem"),
        ("__SERVER__TLS__PRIVATE_KEY_FILE", "tls/k.pem"),
    ];
    let variables = environment(&[&tls[..], &[("__UPSTREAM__CA_FILE", "ca.pem")]].concat());
    let config = load(Some(&folder.path().join("config.toml")), &variables)
        .unwrap()
        .config;
    let tls = config.server.tls.unwrap();
    assert_eq!(tls.certificate_file, folder.path().join("tls/c.pem"));
    assert_eq!(tls.private_key_file, folder.path().join("tls/k.pem"));
    assert_eq!(config.upstream.ca_file, Some(folder.path().join("ca.pem")));
    assert_eq!(
        config.resources[0].assignments.file.as_ref().unwrap().path,
        folder.path().join("assignments.toml")
    );
}

#[test]
fn proxies_of_the_environment() {
    let proxy = |variables| config_of(MINIMAL, variables).upstream;
    assert_eq!(proxy(&[]).environment_proxy, None);
    assert_eq!(proxy(&[("HTTPS_PROXY", ""), ("NO_PROXY", "a")]).environment_proxy, None);
    let found = proxy(&[
        ("HTTPS_PROXY", "http://u:hunter2@proxy:1"),
        ("https_proxy", "http://x"),
        ("no_proxy", "a,b"),
    ]);
    let shown = format!("{found:?}");
    assert!(
        shown.contains("http://proxy:1") && !shown.contains("hunter2"),
        "{shown}"
    );
    let url = found.environment_proxy.unwrap().0;
    assert_eq!(url.as_str(), "http://u:hunter2@proxy:1/");
    let own = proxy(&[("__UPSTREAM__PROXY", "http://u:hunter2@proxy:1")]);
    assert!(own.proxy.is_some() && !format!("{own:?}").contains("hunter2"));
}

#[test]
fn exceptions_from_proxies() {
    let covers = |text: &str, variables: &[(&str, &str)], host: &str| {
        let config = config_of(&format!("{text}\n{MINIMAL}"), variables);
        config
            .upstream
            .no_proxy
            .covers(&format!("https://{host}/").parse().unwrap())
    };
    let setting = "upstream.no_proxy = ['.contoso.test', '10.0.0.0/8']";
    for (text, variables, host, covered) in [
        ("", &[][..], "a.test", false),
        ("", &[("NO_PROXY", "a.test, b.test")], "b.test", true),
        ("", &[("no_proxy", "a.test")], "a.test", true),
        // The lower-case variable goes before the other, unless it is empty.
        ("", &[("NO_PROXY", "a.test"), ("no_proxy", "b.test")], "a.test", false),
        ("", &[("NO_PROXY", "a.test"), ("no_proxy", "")], "a.test", true),
        (setting, &[], "acs.contoso.test", true),
        (setting, &[], "10.1.2.3", true),
        (setting, &[], "a.test", false),
        // The setting stands beside the variable.
        (setting, &[("NO_PROXY", "a.test")], "a.test", true),
        (setting, &[("NO_PROXY", "a.test")], "acs.contoso.test", true),
        ("", &[("__UPSTREAM__NO_PROXY", "a.test,*.b.test")], "x.b.test", true),
        ("", &[("__UPSTREAM__NO_PROXY", "*")], "a.test", true),
    ] {
        assert_eq!(covers(text, variables, host), covered, "{text} {variables:?} {host}");
    }
    let warnings = load_text(MINIMAL, &[("NO_PROXY", "a.test,http://hunter2.test,b.test")])
        .unwrap()
        .warnings;
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert!(warning.starts_with("NO_PROXY: entry 2 must be a host"), "{warning}");
    assert!(!warning.contains("hunter2"), "{warning}");
    let reported = load_text(&format!("upstream.no_proxy = ['a.test', '10.*']\n{MINIMAL}"), &[]);
    let reported = reported.unwrap_err().to_string();
    assert!(
        reported.starts_with("upstream.no_proxy[1]: must be a host, .suffix"),
        "{reported}"
    );
}

#[test]
fn warnings() {
    let warnings = |text: &str| load_text(&format!("{text}\n{MINIMAL}"), &[]).unwrap().warnings;
    assert_eq!(warnings(""), Vec::<String>::new());
    for (text, starts) in [
        (
            "server.cors.allowed_origins = ['http://localhost:3000']",
            "server.cors.allowed_origins[0]: http://localhost:3000",
        ),
        (
            "server.cors.allowed_origins = ['capacitor://localhost', 'null']",
            "server.cors.allowed_origins[1]: \"null\" is the origin of every page from a file",
        ),
        (
            "entra.audiences = ['api://broker']",
            "entra.required_scopes: names no scope for tokens that are for an API of one's own",
        ),
        (
            "entra.required_scopes = ['access']",
            "entra.required_scopes: names no scope for tokens that are for ACS",
        ),
        (
            "allow_insecure_upstreams = true\nentra.authority = 'http://entra.example'",
            "entra.authority: is used over plain",
        ),
        ("server.drain_timeout = '5s'", "server.drain_timeout: is less than"),
        ("exchange.timeout = '11s'", "exchange.timeout: is more than"),
    ] {
        let reported = warnings(text);
        assert!(reported.len() == 1 && reported[0].starts_with(starts), "{reported:?}");
    }
    for text in [
        "entra.authority = 'http://127.0.0.1:8090'",
        "server.cors.allowed_origins = ['capacitor://localhost', 'https://tauri.localhost', 'app://.']",
        "entra.audiences = ['api://broker']\nentra.required_scopes = ['access']",
        "entra.audiences = ['api://broker', 'https://communication.azure.us/clients']\nentra.required_scopes = ['access', 'Chat']",
    ] {
        assert_eq!(warnings(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_log_level_is_read_again_only_from_a_sound_section() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    let read = |text: &str, variables: &[(&str, &str)]| {
        std::fs::write(&file, text).unwrap();
        load_log_level(Some(&file), &environment(variables))
    };
    for (text, level) in [
        ("", "info"),
        ("[telemetry]\naudit = false", "info"),
        ("[telemetry]\nlog_level = 'debug'", "debug"),
        // What is wrong elsewhere does not matter.
        ("server = 1\nx = 1\n[telemetry]\nlog_level = 'debug'", "debug"),
    ] {
        assert_eq!(read(text, &[]).as_deref(), Ok(level), "{text}");
    }
    assert_eq!(read("", &[("__TELEMETRY__LOG_LEVEL", "warn")]).as_deref(), Ok("warn"));
    for (text, key) in [
        ("telemetry = 'debug'", "telemetry"),
        ("[[telemetry]]\nlog_level = 'debug'", "telemetry"),
        ("[telemetry]\nlog_levl = 'debug'", "telemetry.log_levl"),
        ("[telemetry]\nlog_level = 1", "telemetry.log_level"),
        ("[telemetry]\nlog_level = 'a=b=c'", "telemetry.log_level"),
        ("[telemetry]\nlog_level = 'debug'\naudit = 'maybe'", "telemetry.audit"),
    ] {
        let problems = read(text, &[]).unwrap_err().0;
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [key], "{text}");
    }
    let refused = read("", &[("__TELEMETRY__LOG_LEVL", "debug")]).unwrap_err().0;
    assert_eq!(refused[0].key, "ACS_TOKEN_BROKER__TELEMETRY__LOG_LEVL");
}
