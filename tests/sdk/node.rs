//! Node and the SDKs' packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::dev::Dev;

/// Runs a script of `js/` against a stack of its own, and shows what it said if it fails.
pub(crate) fn run(script: &str, arguments: &[&str]) {
    run_against(&Dev::start(&["--tls"], &[]), script, arguments);
}

/// The same over http, for scripts that need no SDK.
pub(crate) fn run_without_tls(script: &str) {
    run_against(&Dev::start(&[], &[]), script, &[]);
}

fn run_against(dev: &Dev, script: &str, arguments: &[&str]) {
    install();
    let certificate = client_certificate();
    let output = Command::new("node")
        .arg(folder().join(script))
        .args(arguments)
        .env("BROKER", &dev.broker)
        .env("EMULATOR", &dev.emulator)
        .env("CONNECTION_STRING", dev.connection_string())
        .env("CERTIFICATE_FILE", certificate.path())
        .envs(dev.ca_file.as_ref().map(|file| ("NODE_EXTRA_CA_CERTS", file)))
        .stdin(Stdio::null())
        .output()
        .expect("these tests need Node.js 20 or newer, as `node`");
    assert!(
        output.status.success(),
        "{script} failed, {}:\n{}",
        output.status,
        said(&output)
    );
}

/// A certificate with its private key, for clients that prove themselves with one.
fn client_certificate() -> tempfile::NamedTempFile {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let parameters = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let file = tempfile::NamedTempFile::with_suffix(".pem").expect("a file");
    fs::write(file.path(), format!("{}{}", key.serialize_pem(), certificate.pem())).expect("it can be written");
    file
}

/// Installs exactly what the lock file names, once, where it is not there yet.
fn install() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        if installed() {
            return;
        }
        let output = Command::new("npm")
            // The SDK asks for Node 22, and works with 20, which is still around.
            .args([
                "ci",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--engine-strict=false",
            ])
            .current_dir(folder())
            .stdin(Stdio::null())
            .output()
            .expect("these tests need npm, as `npm`");
        assert!(
            output.status.success(),
            "npm ci failed, {}:\n{}",
            output.status,
            said(&output)
        );
        assert!(installed(), "npm ci left no packages behind");
    });
}

/// Whether the packages are there and no older than the lock file. npm writes its own note of them last.
fn installed() -> bool {
    let written = |file: &str| {
        fs::metadata(folder().join(file))
            .and_then(|found| found.modified())
            .ok()
    };
    match (written("node_modules/.package-lock.json"), written("package-lock.json")) {
        (Some(packages), Some(lock)) => packages >= lock,
        _ => false,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/js")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
