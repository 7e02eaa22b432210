//! What the tests share.

pub(crate) mod fake;
pub(crate) mod forge;
pub(crate) mod forwarder;
pub(crate) mod http;
pub(crate) mod modes;
pub(crate) mod observed;
pub(crate) mod otlp;
pub(crate) mod process;
pub(crate) mod saboteur;
pub(crate) mod scrape;
pub(crate) mod stack;
pub(crate) mod wire;

use std::time::Duration;

/// How often `eventually` looks.
const INTERVAL: Duration = Duration::from_millis(10);
/// How many times it looks before the test fails: ten seconds, for slow machines.
const TRIES: usize = 1000;

/// Awaits something that happens in the background and tells nobody: the last resort, where there is no answer, no
/// counter and no task to await.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..TRIES {
        if holds().await {
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
    panic!("never happened: {what}");
}

/// The claims request in a claims challenge.
pub(crate) fn claims_of(base64: &str) -> serde_json::Value {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A self-signed certificate with an RSA key, both PEM. Making a key takes a while, so there is one for each number.
pub(crate) fn own_certificate(number: usize) -> (String, String) {
    static MADE: std::sync::Mutex<Vec<(String, String)>> = std::sync::Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap();
    while made.len() <= number {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .unwrap()
            .self_signed(&key)
            .unwrap();
        made.push((certificate.pem(), key.serialize_pem()));
    }
    made[number].clone()
}
