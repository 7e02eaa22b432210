//! Settings of every type with invisible characters.

use super::*;

/// A setting, a value of it, and what of the configuration shows that it was read.
type Setting = (&'static str, &'static str, fn(&Config) -> String);

/// One of each type.
const TYPES: [Setting; 14] = [
    ("SERVER__LISTEN", "127.0.0.1:9090", |config| {
        config.server.listen.to_string()
    }),
    ("SERVER__REQUEST_TIMEOUT", "9s", |config| {
        format!("{:?}", config.server.request_timeout)
    }),
    ("SERVER__MAX_IN_FLIGHT", "77", |config| {
        config.server.max_in_flight.to_string()
    }),
    ("SERVER__DIAGNOSTIC_HEADERS", "true", |config| {
        config.server.diagnostic_headers.to_string()
    }),
    ("SERVER__API_VERSIONS", "2025-03-02-preview", |config| {
        config.server.api_versions.join("|")
    }),
    ("SERVER__CORS__ALLOWED_ORIGINS", "https://app.contoso.com", |config| {
        config.server.cors.allowed_origins.join("|")
    }),
    ("ENTRA__AUTHORITY", "https://login.contoso.com", |config| {
        config.entra.authority.to_string()
    }),
    ("ENTRA__CLOUD", "china", |config| format!("{:?}", config.entra.cloud)),
    ("UPSTREAM__MAX_RESPONSE_BYTES", "2MiB", |config| {
        config.upstream.max_response_bytes.to_string()
    }),
    ("UPSTREAM__PROXY", "http://proxy.contoso.com:3128", |config| {
        config
            .upstream
            .proxy
            .as_ref()
            .map(|proxy| proxy.0.to_string())
            .unwrap_or_default()
    }),
    (
        "ASSIGNMENTS__FILE",
        "/etc/acs token broker/assignments.toml",
        |config| {
            let file = config.resources[0].assignments.file.as_ref().unwrap();
            file.path.display().to_string()
        },
    ),
    ("CACHE__MAX_ENTRIES", "123", |config| {
        config.cache.max_entries.to_string()
    }),
    ("TELEMETRY__LOG_LEVEL", "info,acs_token_broker=debug", |config| {
        config.telemetry.log_level.clone()
    }),
    ("TELEMETRY__USER_IDS", "none", |config| {
        format!("{:?}", config.telemetry.user_ids)
    }),
];

fn with(name: &str, value: &str) -> Result<Config, Vec<String>> {
    let name = format!("__{name}");
    load_text(MINIMAL, &[(&name, value)])
        .map(|loaded| loaded.config)
        .map_err(|problems| lines(&problems))
}

#[test]
fn around_a_variable_they_are_no_part_of_it() {
    for (name, value, read) in TYPES {
        let plain = read(&with(name, value).unwrap());
        for around in ["\r", " ", "\t", "\n", "\r\n", "\u{a0}", "\u{200b}", "\u{feff}"] {
            for text in [format!("{value}{around}"), format!("{around}{value}")] {
                let config = with(name, &text).unwrap_or_else(|problems| panic!("{name} {text:?} {problems:?}"));
                assert_eq!(read(&config), plain, "{name} {text:?}");
            }
        }
        for text in [
            format!("\"{value}\""),
            format!("'{value}'"),
            format!("\"{value}\"\r"),
            format!("\"{value} \r\""),
        ] {
            let config = with(name, &text).unwrap_or_else(|problems| panic!("{name} {text:?} {problems:?}"));
            assert_eq!(read(&config), plain, "{name} {text:?}");
        }
    }
}

#[test]
fn within_a_variable_they_are_named() {
    for (name, value, _) in TYPES {
        let key = name.to_ascii_lowercase().replace("__", ".");
        for (character, named) in [
            ('\r', "U+000D CARRIAGE RETURN"),
            ('\t', "U+0009 CHARACTER TABULATION"),
            ('\u{a0}', "U+00A0 NO-BREAK SPACE"),
            ('\u{200b}', "U+200B ZERO WIDTH SPACE"),
        ] {
            let middle = value.char_indices().nth(value.chars().count() / 2).unwrap().0;
            let (start, end) = value.split_at(middle);
            let reported = with(name, &format!("{start}{character}{end}")).unwrap_err();
            assert_eq!(reported.len(), 1, "{reported:?}");
            assert!(
                reported[0].starts_with(&key) && reported[0].contains(named),
                "{reported:?}"
            );
        }
    }
}

#[test]
fn lists_and_tables_are_read_item_by_item() {
    let origins =
        |text: &str| with("SERVER__CORS__ALLOWED_ORIGINS", text).map(|config| config.server.cors.allowed_origins);
    let both = Ok(vec!["https://a.example".to_owned(), "https://b.example".to_owned()]);
    for text in [
        "https://a.example,https://b.example\r",
        "\"https://a.example,https://b.example\"\r",
        "https://a.example ,\u{a0}https://b.example",
        "\"https://a.example\",\"https://b.example\"",
        "[\"https://a.example \", \"\u{feff}https://b.example\"]\r",
        "\"[\"https://a.example\", \"https://b.example\"]\"",
        "'[\"https://a.example\",\r\n \"https://b.example\"]'",
    ] {
        assert_eq!(origins(text), both, "{text:?}");
    }
    let reported = origins("https://a.example,https://b.\u{200b}example").unwrap_err();
    assert!(
        reported[0].starts_with("server.cors.allowed_origins[1]") && reported[0].contains("U+200B"),
        "{reported:?}"
    );
    let reported = origins("[\"https://a.example\",\u{a0}\"https://b.example\"]").unwrap_err();
    assert!(reported[0].contains("U+00A0 NO-BREAK SPACE"), "{reported:?}");
    assert_eq!(origins("\r"), Ok(Vec::new()));

    let tenants = |text: &str| with("ENTRA__TENANTS", text).map(|config| config.entra.tenants[0].id.to_string());
    for text in [
        format!("[{{id = \"{TENANT}\"}}]\r"),
        format!("'[{{id = \"{TENANT}\"}}]'\r"),
        format!("[{{id = \"{TENANT}\u{a0}\"}}]"),
    ] {
        assert_eq!(tenants(&text), Ok(TENANT.to_owned()), "{text:?}");
    }
}

#[test]
fn in_the_file_too() {
    let config = config_of(
        "entra.tenants = [{ id = \"8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11\u{200b}\", name = \" Contoso \\\"Europe\\\"\" }]\n\
         exchange.endpoint = \"https://contoso.communication.azure.com\u{a0}\"\n\
         cache.refresh_jitter = \"1m \"\nserver.cors.allowed_origins = [\"https://a.example\u{feff}\"]\n",
        &[],
    );
    assert_eq!(config.entra.tenants[0].id.to_string(), TENANT);
    assert_eq!(config.entra.tenants[0].name.as_deref(), Some("Contoso \"Europe\""));
    assert_eq!(config.server.cors.allowed_origins, ["https://a.example"]);
    for (rest, reported) in [
        (
            "server.listen = \"127.0.0.1:\u{200b}80\"",
            "server.listen: holds U+200B ZERO WIDTH SPACE",
        ),
        (
            "server.max_in_flight\u{a0}= 7",
            "FILE: line 4: holds U+00A0 NO-BREAK SPACE",
        ),
        (
            "\u{200b}server.max_in_flight = 7",
            "FILE: line 4: holds U+200B ZERO WIDTH SPACE",
        ),
    ] {
        let problems = load_text(&format!("{MINIMAL}{rest}\n"), &[]).unwrap_err();
        assert_eq!(lines(&problems), [reported], "{rest:?}");
    }
    assert!(load_text(&format!("\u{feff}{MINIMAL}").replace('\n', "\r\n"), &[]).is_ok());
}

#[test]
fn a_secret_is_trimmed_and_otherwise_refused_without_being_reported() {
    let key = |text: &str| with("TELEMETRY__USER_HASH_KEY", text).map(|config| config.telemetry.user_hash_key);
    let plain = key("hunter2hunter2hunter2").unwrap();
    for text in [
        "hunter2hunter2hunter2\r",
        " hunter2hunter2hunter2 ",
        "\u{feff}hunter2hunter2hunter2\n",
    ] {
        assert_eq!(key(text).unwrap(), plain, "{text:?}");
    }
    for (text, named) in [
        ("\"hunter2hunter2hunter2\"", "U+0022 QUOTATION MARK"),
        ("'hunter2hunter2hunter2'\r", "U+0027 APOSTROPHE"),
        ("hunter2\u{a0}hunter2hunter2", "U+00A0 NO-BREAK SPACE"),
        ("hunter2\rhunter2hunter2", "U+000D CARRIAGE RETURN"),
    ] {
        let reported = key(text).unwrap_err();
        assert!(
            reported[0].starts_with("telemetry.user_hash_key") && reported[0].contains(named),
            "{reported:?}"
        );
        assert!(!reported[0].contains("hunter2"), "{reported:?}");
    }
}

#[test]
fn standard_variables_and_names() {
    let proxy = |name: &str, text: &str| {
        load_text(MINIMAL, &[(name, text)])
            .map(|loaded| {
                loaded
                    .config
                    .upstream
                    .environment_proxy
                    .map(|proxy| proxy.0.to_string())
            })
            .map_err(|problems| lines(&problems))
    };
    for text in [
        "proxy.contoso.com:3128\r",
        "\"http://proxy.contoso.com:3128\"",
        " proxy.contoso.com:3128\u{a0}",
    ] {
        assert_eq!(
            proxy("HTTPS_PROXY", text),
            Ok(Some("http://proxy.contoso.com:3128/".to_owned())),
            "{text:?}"
        );
    }
    assert_eq!(proxy("HTTPS_PROXY", "\r"), Ok(None));
    let reported = proxy("HTTPS_PROXY", "http://proxy\u{200b}.contoso.com").unwrap_err();
    assert!(
        reported[0].starts_with("HTTPS_PROXY") && reported[0].contains("U+200B"),
        "{reported:?}"
    );
    // A file of variables that begins with a byte order mark.
    let reported = proxy("\u{feff}ACS_TOKEN_BROKER__SERVER__LISTEN", "127.0.0.1:80").unwrap_err();
    assert!(
        reported[0].starts_with("ACS_TOKEN_BROKER__SERVER__LISTEN: the variable's name holds U+FEFF"),
        "{reported:?}"
    );
    assert_eq!(proxy("\u{feff}PATH", "/bin"), Ok(None));
}
