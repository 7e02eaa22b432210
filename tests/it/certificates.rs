//! Certificates and keys as platforms deliver them, and `check-config`, which finds what `serve` would refuse.

use std::path::Path;

use azure_emulator::{Emulator, Scenario};
use base::clock::{SharedClock, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::own_certificate;
use crate::support::process::{Ended, Process, write_configuration};
use crate::tls::write_certificates;

const VERSION_1: &str = include_str!("../../crates/certificates/src/testdata/version-1.pem");
const VERSION_1_KEY: &str = include_str!("../../crates/certificates/src/testdata/version-1-key.pem");

async fn emulator() -> Emulator {
    let clock: SharedClock = SystemClock::shared();
    Emulator::start(Scenario::demo(), ([127, 0, 0, 1], 0).into(), None, clock)
        .await
        .unwrap()
}

async fn check(file: &str, environment: &[(&str, &str)]) -> Ended {
    Process::run(&["check-config", "--config", file], environment).await
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn check_config_and_serve_refuse_the_same_files_for_the_same_reason() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = write_configuration(folder, &emulator, None);
    write_certificates(folder);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (ca, server, key) = (read("ca.pem"), read("server.pem"), read("server-key.pem"));
    let broken = format!("{ca}-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n");
    let (_, other_key) = own_certificate(0);
    let ca_file = "ACS_TOKEN_BROKER__UPSTREAM__CA_FILE";
    let (certificate_file, key_file) = (
        "ACS_TOKEN_BROKER__SERVER__TLS__CERTIFICATE_FILE",
        "ACS_TOKEN_BROKER__SERVER__TLS__PRIVATE_KEY_FILE",
    );
    let server_file = write(folder, "server.pem", &server);
    let server_key_file = write(folder, "server-key.pem", &key);
    for (variables, expected) in [
        (
            vec![(ca_file, write(folder, "empty.pem", "\n"))],
            "upstream.ca_file: FOLDER/empty.pem is empty",
        ),
        (
            vec![(ca_file, write(folder, "broken.pem", &broken))],
            "upstream.ca_file: FOLDER/broken.pem holds a certificate that is none: number 2 is no X.509 certificate",
        ),
        (
            vec![(ca_file, write(folder, "cut.pem", &ca[..ca.len() - 40]))],
            "upstream.ca_file: FOLDER/cut.pem holds a PEM block CERTIFICATE without its end",
        ),
        (
            vec![(ca_file, server_key_file.clone())],
            "upstream.ca_file: FOLDER/server-key.pem holds no certificate, but a private key",
        ),
        (
            vec![
                ("ACS_TOKEN_BROKER__LIMITS__REPLICAS", "2".to_owned()),
                ("ACS_TOKEN_BROKER__SHARED_CACHE__URL", "rediss://127.0.0.1:1".to_owned()),
                (
                    "ACS_TOKEN_BROKER__SHARED_CACHE__ENCRYPTION_KEYS_FILE",
                    write(folder, "keys", ""),
                ),
                (
                    "ACS_TOKEN_BROKER__SHARED_CACHE__CA_FILE",
                    write(folder, "none.pem", "none"),
                ),
            ],
            "shared_cache.ca_file: FOLDER/none.pem is neither PEM nor DER",
        ),
        (
            vec![
                (certificate_file, server_file.clone()),
                (key_file, write(folder, "other-key.pem", &other_key)),
            ],
            "server.tls: the certificate of FOLDER/server.pem cannot be served with the key of FOLDER/other-key.pem: \
             its private key belongs to none of its certificates",
        ),
        (
            vec![
                (certificate_file, write(folder, "nothing.pem", "nothing")),
                (key_file, server_key_file.clone()),
            ],
            "server.tls: FOLDER/nothing.pem is neither PEM nor DER",
        ),
    ] {
        let environment: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
        let expected = expected.replace("FOLDER", folder.to_str().unwrap());
        for command in ["check-config", "serve"] {
            let ended = Process::run(&[command, "--config", &file], &environment).await;
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(
                ended.stderr.contains(&expected),
                "{command} {expected}: {}",
                ended.stderr
            );
            assert!(!ended.stderr.contains("builder error"), "{}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn files_as_platforms_deliver_them_are_taken() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = write_configuration(folder, &emulator, None);
    write_certificates(folder);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (ca, server, key) = (read("ca.pem"), read("server.pem"), read("server-key.pem"));
    let windows = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let bundle =
        format!("# Contoso\n{ca}\nBag Attributes\n    localKeyID: 01\nsubject=CN = x\n{VERSION_1}\n{server}end\n");
    let (app, app_key) = own_certificate(1);
    let app = write(folder, "app.b64", STANDARD.encode(format!("{app}{app_key}")));
    for (ca, certificate, private_key) in [
        (bundle.clone(), server.clone(), key.clone()),
        (windows(&bundle), windows(&server), windows(&key)),
        (STANDARD.encode(&ca), format!("{ca}{server}"), STANDARD.encode(&key)),
    ] {
        let ca = write(folder, "extra.pem", ca);
        let certificate = write(folder, "certificate.pem", certificate);
        let private_key = write(folder, "key.pem", private_key);
        let environment = [
            ("ACS_TOKEN_BROKER__UPSTREAM__CA_FILE", &*ca),
            ("ACS_TOKEN_BROKER__SERVER__TLS__CERTIFICATE_FILE", &certificate),
            ("ACS_TOKEN_BROKER__SERVER__TLS__PRIVATE_KEY_FILE", &private_key),
            ("ACS_TOKEN_BROKER__ENTRA__AUDIENCES", "api://broker"),
            ("ACS_TOKEN_BROKER__ENTRA__REQUIRED_SCOPES", "access"),
            ("ACS_TOKEN_BROKER__EXCHANGE__MODE", "on_behalf_of"),
            (
                "ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CLIENT_ID",
                "b0b00000-0000-4000-8000-000000000005",
            ),
            ("ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CREDENTIAL", "certificate"),
            ("ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CERTIFICATE_FILE", &app),
        ];
        let ended = check(&file, &environment).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stderr.contains("certificate_file"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn odd_certificates_are_warned_of() {
    let emulator = emulator().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = write_configuration(folder, &emulator, None);
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let ended = parameters.self_signed(&key).unwrap();
    for (certificate, key, part) in [
        (VERSION_1.to_owned(), VERSION_1_KEY.to_owned(), "version 1"),
        (ended.pem(), key.serialize_pem(), "has ended"),
    ] {
        let certificate = write(folder, "certificate.pem", certificate);
        let key = write(folder, "key.pem", key);
        let environment = [
            ("ACS_TOKEN_BROKER__SERVER__TLS__CERTIFICATE_FILE", &*certificate),
            ("ACS_TOKEN_BROKER__SERVER__TLS__PRIVATE_KEY_FILE", &key),
        ];
        let checked = check(&file, &environment).await;
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let warning = checked
            .stderr
            .lines()
            .find(|line| line.contains("server.tls.certificate_file: "));
        assert!(warning.is_some_and(|line| line.contains(part)), "{}", checked.stderr);
    }
}
