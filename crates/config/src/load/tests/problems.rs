//! What is reported for configurations that are wrong.

use super::*;

/// A file in which every section has something wrong.
const ALL_WRONG: &str = r#"
        alow_insecure_upstreams = true
        limits = { per_user = "30", upstream_exchanges = "0/30s", renewal_share = 1.5, replicas = 0, per_adress = "off" }
        [server]
        listen = "localhost:8080"
        request_timeout = 10
        max_in_flight = 0
        drain_delay = "soon"
        [server.cors]
        allowed_origins = ["https://a.example/", 7, "https://b.example", "file://"]
        allowed_headers = ["request-id", "*", "request id"]
        [server.tls]
        certificate_file = "missing.pem"
        [entra]
        authority = "http://login.example"
        audiences = []
        required_scopes = ["a b"]
        clock_skew = "11m"
        jwks_refresh_interval = "24h"
        jwks_wait = "0s"
        jwks_withdrawal_grace = "61m"
        cloud = "mars"
        [[entra.tenants]]
        id = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11"
        [[entra.tenants]]
        id = "8F1C3F2E-6D1B-4F7A-9C55-0D5B7E2A4C11"
        [[entra.tenants]]
        id = "fabrikam"
        app_id_for_keys = "x"
        authority = "http://contoso.ciamlogin.example"
        [[entra.tenants]]
        nam = "nobody"
        authority = "https://contoso.ciamlogin.com/tenant"
        [exchange]
        mode = "teams"
        timeout = "0s"
        [exchange.identity]
        access_key = "c2VjcmV0"
        scopes = ["chat", "video"]
        lifetime = "59m"
        [exchange.on_behalf_of]
        client_id = "broker"
        credential = "password"
        [upstream]
        max_response_bytes = 0
        proxy = "socks5://proxy"
        breaker = { failure_rate = 0, min_calls = 1.5 }
        [assignments]
        sources = ["file", "disk"]
        file = "assignments.yaml"
        unknown_groups = "ask"
        [assignments.acs]
        access_key_file = "missing.key"
        max_age = "1m"
        [cache]
        max_entries = -1
        expiry_margin = "20s"
        min_remaining = "10s"
        refresh_ahead = "5s"
        [telemetry]
        log_format = "text"
        log_level = "a=b=c"
        user_ids = "all"
        slow_request = "soon"
        access_log = "some"
    "#;

/// What is reported, by how each line begins.
const ALL_PROBLEMS: [&str; 60] = [
    "server.listen: is not an IP address and a port",
    "server.request_timeout: is an integer, not a duration such as",
    "server.max_in_flight: must be at least 1",
    "server.drain_delay: is not a duration such as",
    "server.tls.certificate_file: names a file that cannot be read: No such file",
    "server.tls.private_key_file: is required",
    "server.cors.allowed_origins[0]: has a path, a query or a trailing slash",
    "server.cors.allowed_origins[1]: is an integer, not a string",
    "server.cors.allowed_origins[3]: is no origin: browsers send \"null\"",
    "server.cors.allowed_headers[1]: wildcards are not supported",
    "server.cors.allowed_headers[2]: is not the name of a header",
    "entra.cloud: must be \"public\", \"usgov\" or \"china\"",
    "entra.audiences: must hold at least one",
    "entra.required_scopes[0]: must be one scope",
    "entra.clock_skew: must be at most 10m",
    "entra.jwks_wait: must be longer than 0s",
    "entra.jwks_withdrawal_grace: must be at most 1h",
    "entra.tenants[1].id: is the same tenant as entra.tenants[0]",
    "entra.tenants[2].id: is not a tenant id (a GUID)",
    "entra.tenants[2].app_id_for_keys: is not a client id (a GUID)",
    "entra.tenants[2].authority: must be https",
    "entra.tenants[3].id: is required",
    "entra.tenants[3].authority: must not have a path",
    "entra.jwks_refresh_interval: must be less than entra.jwks_max_age",
    "entra.authority: must be https",
    "exchange.mode: must be \"passthrough\", \"on_behalf_of\", \"identity\" or \"teams_user\"",
    "exchange.endpoint: is required",
    "exchange.timeout: must be longer than 0s",
    "exchange.identity.access_key: is a secret, which is not for this file",
    "exchange.identity.scopes[1]: is not a scope of ACS identities",
    "exchange.identity.lifetime: must be whole minutes, from",
    "exchange.on_behalf_of.client_id: is not a client id (a GUID)",
    "exchange.on_behalf_of.credential: must be \"secret\"",
    "limits.upstream_exchanges: must count at least 1",
    "limits.replicas: must be at least 1",
    "limits.renewal_share: must be from 0 to 1",
    "limits.per_user: is not a rate such as",
    "upstream.breaker.failure_rate: must be more than 0 and at most 1",
    "upstream.breaker.min_calls: is a float, not a whole number",
    "upstream.proxy: is not an http or https URL",
    "upstream.max_response_bytes: must be at least 1",
    "graph.timeout: is not a duration such as",
    "assignments.sources[1]: is not a source of assignments",
    "assignments.file: must end in .toml or .json",
    "assignments.acs.access_key_file: names a file that cannot be read: No such file",
    "assignments.acs.refresh_interval: must be less than max_age",
    "assignments.unknown_groups: must be \"refuse\", \"acs\" or \"graph\"",
    "cache.max_entries: must not be negative",
    "cache.min_gain: is not a duration such as",
    "cache.min_remaining: must be 0s (off) or at least cache.expiry_margin",
    "cache.refresh_ahead: must be 0s (off) or at least cache.min_remaining",
    "telemetry.user_ids: must be \"hash\", \"plain\" or \"none\"",
    "telemetry.log_format: must be \"json\" or \"pretty\"",
    "telemetry.log_level: is not a filter such as",
    "telemetry.slow_request: is not a duration such as",
    "telemetry.access_log: must be \"all\", \"errors\" or \"none\"",
    "alow_insecure_upstreams: unknown key; did you mean allow_insecure_upstreams?",
    "limits.per_adress: unknown key; did you mean limits.per_address?",
    "entra.tenants[3].nam: unknown key; did you mean entra.tenants[].name?",
    "ACS_TOKEN_BROKER__SERVER__LISTN: unknown variable; did you mean ACS_TOKEN_BROKER__SERVER__LISTEN?",
];

#[test]
fn every_problem_is_reported_at_once() {
    let problems = load_text(
        ALL_WRONG,
        &[
            ("__SERVER__LISTN", "x"),
            ("__CACHE__MIN_GAIN", "2"),
            ("__GRAPH__TIMEOUT", "soon"),
        ],
    );
    let reported = lines(&problems.unwrap_err());
    for line in ALL_PROBLEMS {
        assert!(
            reported.iter().any(|reported| reported.starts_with(line)),
            "{line}\n\nin\n{}",
            reported.join("\n")
        );
    }
    assert_eq!(reported.len(), ALL_PROBLEMS.len(), "{}", reported.join("\n"));
}

#[test]
fn nothing_is_required_twice_over() {
    for (text, wanted) in [
        ("", vec!["entra.tenants: is required", "exchange.endpoint: is required"]),
        (
            "entra = 5\nexchange = 'x'",
            vec![
                "entra: is an integer, not a table",
                "exchange: is a string, not a table",
            ],
        ),
        (
            "entra.tenants = []\n[exchange]\nendpoint = ''",
            vec!["entra.tenants: must list", "exchange.endpoint: must not be empty"],
        ),
        (
            "entra.tenants = {}\nexchange.endpoint = 1",
            vec![
                "entra.tenants: is a table, not a list of tables",
                "exchange.endpoint: is an integer",
            ],
        ),
        (
            "entra.tenants = [7]\nexchange.endpoint = 'https://a/b'",
            vec![
                "entra.tenants[0]: is an integer, not a table",
                "exchange.endpoint: must not have a path",
            ],
        ),
    ] {
        let reported = lines(&load_text(text, &[]).unwrap_err());
        assert_eq!(reported.len(), wanted.len(), "{reported:?}");
        for (reported, wanted) in reported.iter().zip(wanted) {
            assert!(reported.starts_with(wanted), "{reported}");
        }
    }
}

#[test]
fn rules_between_settings() {
    for (text, key) in [
        ("[cache]\nexpiry_margin = '0s'", "cache.expiry_margin"),
        ("[cache]\nexpiry_margin = '11m'", "cache.min_remaining"),
        ("[cache]\nmin_remaining = '29s'", "cache.min_remaining"),
        ("[cache]\nmin_remaining = '30m'", "cache.refresh_ahead"),
        ("[cache]\nrefresh_ahead = '9m'", "cache.refresh_ahead"),
        ("[entra]\njwks_max_age = '1h'", "entra.jwks_refresh_interval"),
        ("[management]\nlisten = '127.0.0.1:8080'", "management.listen"),
        ("[management]\nlisten = '0.0.0.0:8080'", "management.listen"),
        (
            "[exchange]\nendpoint = 'http://contoso.communication.azure.com'",
            "exchange.endpoint",
        ),
        ("[upstream]\nproxy = 'http://user:hunter2@proxy:3128'", "upstream.proxy"),
        ("[assignments]\nsources = []", "assignments.sources"),
        ("[server]\napi_versions = ['']", "server.api_versions[0]"),
        (
            "[server]\nmax_connections_per_address = 'none'",
            "server.max_connections_per_address",
        ),
        (
            "[server]\nmax_connections_per_address = 0",
            "server.max_connections_per_address",
        ),
        ("[server]\nkeep_alive_timeout = '0s'", "server.keep_alive_timeout"),
        ("[server]\ntrusted_proxies = ['proxy']", "server.trusted_proxies[0]"),
        (
            "[server]\ntls = {}\nmax_connections = 999999999999",
            "server.max_connections",
        ),
    ] {
        let reported = problems_of(text, &[]);
        assert!(reported[0].starts_with(&format!("{key}: ")), "{text}: {reported:?}");
    }
    for text in [
        "[cache]\nmin_remaining = '0s'\nrefresh_ahead = '0s'",
        "[cache]\nmin_remaining = '0s'\nrefresh_ahead = '1s'",
        "[cache]\nrefresh_ahead = '0s'",
        "[cache]\nexpiry_margin = '10m'\nmin_remaining = '10m'\nrefresh_ahead = '10m'",
        "[server]\nlisten = '127.0.0.1:0'\n[management]\nlisten = '127.0.0.1:0'",
    ] {
        load_text(&format!("{MINIMAL}\n{text}"), &[]).unwrap();
    }
}

#[test]
fn resources_of_one_endpoint_have_one_budget() {
    let resource = |name: &str, endpoint: &str, more: &str| {
        format!("[[resources]]\nname = '{name}'\nexchange = {{ endpoint = 'https://{endpoint}', {more} }}\n")
    };
    let tenant = "[[entra.tenants]]\nid = '8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11'\n";
    let budgets = |text: String| {
        let config = load_text(&text, &[]).map_err(|problems| lines(&problems))?.config;
        let budgets = config.resources.iter().map(|resource| resource.exchange.budget);
        Ok::<_, Vec<String>>(
            budgets
                .map(|budget| budget.map_or("off".to_owned(), |rate| rate.to_string()))
                .collect::<Vec<_>>(),
        )
    };
    let (a, b) = (
        |more| resource("a", "one.example", more),
        |more| resource("b", "ONE.example:443", more),
    );
    let own = "upstream_exchanges = '5/1s'";
    let other = "upstream_exchanges = 'off'";
    assert_eq!(
        budgets(format!("{tenant}{}{}", a(""), b(""))).unwrap(),
        ["500/30s", "500/30s"]
    );
    assert_eq!(
        budgets(format!("{tenant}{}{}", a(""), b(own))).unwrap(),
        ["5/1s", "5/1s"]
    );
    assert_eq!(
        budgets(format!("{tenant}{}{}", a(other), b(other))).unwrap(),
        ["off", "off"]
    );
    let all = "limits.upstream_exchanges = '7/1s'\n";
    assert_eq!(
        budgets(format!("{all}{tenant}{}{}", a(""), resource("b", "two.example", own))).unwrap(),
        ["7/1s", "5/1s"]
    );
    // Teams users' tokens are exchanged under the limit of all exchanges; identities have one of their own.
    let mode = |mode| format!("mode = '{mode}', {mode} = {{ access_key_file = '/proc/version' }}");
    let audiences = "[entra]\naudiences = ['api://broker', '1fd5118e-2576-4263-8130-9503064c837a']\n\
                     required_scopes = ['access', 'Teams.ManageCalls']\n";
    for (other, expected) in [
        ("two.example", ["500/30s", "1000/30s"]),
        ("one.example", ["500/30s", "500/30s"]),
    ] {
        let teams = resource("a", "one.example", &mode("teams_user"));
        let identity = resource("b", other, &mode("identity"));
        assert_eq!(
            budgets(format!("{audiences}{tenant}{teams}{identity}")).unwrap(),
            expected,
            "{other}"
        );
    }
    let reported = budgets(format!("{tenant}{}{}", a(own), b(other))).unwrap_err();
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(
        reported[0].starts_with("resources[1].exchange.upstream_exchanges: differs from resources[0]."),
        "{reported:?}"
    );
}

#[test]
fn a_breaker_is_a_table_or_off() {
    for (text, variables, wanted) in [
        ("[upstream]\nbreaker = 'off'", &[][..], None),
        ("", &[("__UPSTREAM__BREAKER", "off")], None),
        ("[upstream]\nbreaker = { min_calls = 3 }", &[], Some(3)),
        ("", &[("__UPSTREAM__BREAKER__MIN_CALLS", "4")], Some(4)),
        ("", &[], Some(20)),
    ] {
        let config = config_of(&format!("{MINIMAL}\n{text}"), variables);
        assert_eq!(
            config.upstream.breaker.map(|breaker| breaker.min_calls),
            wanted,
            "{text}"
        );
    }
    assert!(problems_of("[upstream]\nbreaker = true", &[])[0].starts_with("upstream.breaker: "));
}

#[test]
fn a_rule_is_not_judged_by_a_default_that_stands_in_for_a_bad_value() {
    let reported = problems_of("[cache]\nexpiry_margin = 'x'\nmin_remaining = '10s'", &[]);
    assert_eq!(reported.len(), 1, "{reported:?}");
}

#[test]
fn problems_name_the_variable() {
    let reported = problems_of(
        "",
        &[
            ("__CACHE__EXPIRY_MARGIN", "15m"),
            ("__ENTRA__TENANTS", "[{ id = 'x' }]"),
            ("__SERVER__TLS", "{ certificate_file = '/missing' }"),
            ("__SERVER__API_VERSIONS", "a,,b"),
            ("__SERVER__MAX_IN_FLIGHT", "many"),
            ("__UPSTREAM", "max_response_bytes = 5"),
            ("__server__max_in_flight", "1"),
            ("__SERVER.LISTEN", "127.0.0.1:1"),
        ],
    );
    for (start, end) in [
        (
            "cache.min_remaining: ",
            " (from ACS_TOKEN_BROKER__CACHE__EXPIRY_MARGIN)",
        ),
        ("entra.tenants[0].id: ", " (from ACS_TOKEN_BROKER__ENTRA__TENANTS)"),
        ("server.tls.certificate_file: ", " (from ACS_TOKEN_BROKER__SERVER__TLS)"),
        (
            "server.tls.private_key_file: is required",
            " (from ACS_TOKEN_BROKER__SERVER__TLS)",
        ),
        (
            "server.api_versions[1]: must not be empty",
            " (from ACS_TOKEN_BROKER__SERVER__API_VERSIONS)",
        ),
        (
            "server.max_in_flight: is not a whole number",
            " (from ACS_TOKEN_BROKER__SERVER__MAX_IN_FLIGHT)",
        ),
        (
            "upstream: is not an inline TOML table",
            " (from ACS_TOKEN_BROKER__UPSTREAM)",
        ),
        (
            "ACS_TOKEN_BROKER__server__max_in_flight: sets the same setting as ACS_TOKEN_BROKER__SERVER__MAX_IN_FLIGHT",
            "",
        ),
        ("ACS_TOKEN_BROKER__SERVER.LISTEN: unknown variable", ""),
    ] {
        assert!(
            reported
                .iter()
                .any(|reported| reported.starts_with(start) && reported.ends_with(end)),
            "{start}: {reported:#?}"
        );
    }
    assert_eq!(reported.len(), 9, "{reported:#?}");
}

#[test]
fn a_problem_is_one_line_whatever_its_variable_or_key_is_named() {
    let long = format!("ACS_TOKEN_BROKER__{}", "A\u{1b}[2J".repeat(2000));
    for (text, variable) in [
        ("", "ACS_TOKEN_BROKER__SERVER__LI\nSTEN"),
        ("", "ACS_TOKEN_BROKER__SERVER\r__LISTEN"),
        ("", "\u{feff}ACS_TOKEN_BROKER__\u{1b}[31mSERVER"),
        ("", long.as_str()),
        ("[server]\n\"li\\nsten\\u001b[31m\" = 1\n", "PATH"),
    ] {
        let problems = load_text(text, &[(variable, "x")]).unwrap_err();
        let shown: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        assert!(
            shown
                .iter()
                .any(|line| line.contains("\\n") || line.contains("\\r") || line.contains("\\u{1b}")),
            "{shown:?}"
        );
        for line in shown {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.chars().count() <= 1024, "{line:?}");
        }
    }
}
