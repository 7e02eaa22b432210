//! Files and texts that cannot be read, and that no problem repeats a value.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

#[test]
fn a_syntax_error_is_reported_by_line_beside_the_problems_of_the_environment() {
    for (text, line) in [
        ("[server]\nlisten = \n", 2),
        ("[server]\n\n\npassword = hunter2\n", 4),
        ("a = 'hunter2'\na = 'hunter2'", 2),
        ("password = \"hunter2", 1),
        ("x = 1\n[hunter2", 2),
    ] {
        let reported = lines(&load_text(text, &[("__SERVER__LISTEN", "x"), ("__SERVR", "hunter2")]).unwrap_err());
        assert_eq!(reported.len(), 3, "{reported:?}");
        assert!(reported[0].starts_with(&format!("FILE: line {line}: ")), "{reported:?}");
        assert!(
            reported[1].starts_with("server.listen: ") && reported[2].starts_with("ACS_TOKEN_BROKER__SERVR: "),
            "{reported:?}"
        );
        assert!(!reported.concat().contains("hunter2"), "{reported:?}");
    }
    let reported = lines(&load_text("x = 99999999999999999999999999", &[]).unwrap_err());
    assert_eq!(reported, ["FILE: holds a number that is out of range"]);
}

#[test]
fn an_unreadable_file_is_a_problem_by_its_path() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing.toml");
    let reported = lines(&load(Some(&missing), &environment(&[("__SERVER__LISTEN", "x")])).unwrap_err());
    assert!(
        reported[0].starts_with(&format!("{}: cannot be read: ", missing.display())),
        "{reported:?}"
    );
    assert!(
        reported[1].starts_with("server.listen: ") && reported.len() == 2,
        "{reported:?}"
    );

    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"name = '\xe9'").unwrap();
    let reported = lines(&load(Some(&latin), &Environment::default()).unwrap_err());
    assert_eq!(reported, [format!("{}: is not UTF-8 text", latin.display())]);
}

#[test]
fn no_problem_repeats_a_value() {
    let secret = "hunter2";
    let keys = known_keys();
    let paths: Vec<&String> = keys.iter().filter(|key| !key.contains('[')).collect();
    let variables = paths.iter().map(|path| {
        (
            format!("ACS_TOKEN_BROKER__{}", path.to_ascii_uppercase().replace('.', "__")),
            secret.to_owned(),
        )
    });
    let reported = load(None, &variables.collect()).unwrap_err().to_string();
    assert!(!reported.contains(secret), "{reported}");
    for value in ["'hunter2'", "['hunter2']", "{ hunter = 'hunter2' }"] {
        for path in &paths {
            let reported = load_text(&format!("{path} = {value}\ngarbage = {value}"), &[])
                .unwrap_err()
                .to_string();
            assert!(!reported.contains(secret), "{reported}");
        }
    }
    for url in [
        "https://user:hunter2@contoso.com",
        "hunter2://x",
        "https://contoso.com/hunter2",
    ] {
        let reported = load_text(
            "",
            &[
                ("__EXCHANGE__ENDPOINT", url),
                ("HTTPS_PROXY", "https://x:hunter2@p/path"),
            ],
        );
        assert!(!reported.unwrap_err().to_string().contains(secret));
    }
}

#[test]
fn texts_that_are_not_utf_8_are_problems() {
    let garbled = || OsString::from_vec(vec![0xff]);
    let names = [
        "ACS_TOKEN_BROKER__SERVER__LISTEN",
        "ACS_TOKEN_BROKER_CONFIG",
        "HTTPS_PROXY",
        "OTHER",
    ];
    let reported = lines(&load(None, &names.map(|name| (name, garbled())).into_iter().collect()).unwrap_err());
    for line in [
        "server.listen: is not UTF-8 text (from ACS_TOKEN_BROKER__SERVER__LISTEN)",
        "ACS_TOKEN_BROKER_CONFIG: is not UTF-8 text",
        "HTTPS_PROXY: is not UTF-8 text",
    ] {
        assert!(reported.iter().any(|reported| reported == line), "{reported:#?}");
    }
    assert!(!reported.concat().contains("OTHER"));
}

#[test]
fn files_that_must_be_there_are_looked_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let reported = problems_of(
        "",
        &[
            ("__UPSTREAM__CA_FILE", path),
            ("__SERVER__TLS__CERTIFICATE_FILE", "x.pem"),
        ],
    );
    assert!(
        reported[0].starts_with("server.tls.certificate_file: names a file that cannot be read: "),
        "{reported:?}"
    );
    assert_eq!(
        reported[1],
        "server.tls.private_key_file: is required: TLS takes both a certificate and a key"
    );
    assert!(
        reported[2].starts_with("upstream.ca_file: names a directory, not a file"),
        "{reported:?}"
    );
}
