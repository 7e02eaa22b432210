//! A file with certificates and keys, in PEM, DER, PFX or base64. What is read is written as PEM and read back the same.
#![no_main]

use acs_token_broker_fuzz::is_a_line;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certificates::{Bundle, Validity, pair};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::PrivateKeyDer;

fuzz_target!(|content: &[u8]| {
    for password in [None, Some("pass")] {
        let read = || Bundle::read(content, password);
        match read().and_then(Bundle::certificates) {
            Ok(certificates) => {
                assert!(!certificates.is_empty());
                let pem: String = certificates
                    .iter()
                    .map(|certificate| block("CERTIFICATE", certificate))
                    .collect();
                let again = Bundle::read(pem.as_bytes(), None).and_then(Bundle::certificates);
                assert_eq!(again.as_ref(), Ok(&certificates));
                assert!(
                    certificates
                        .iter()
                        .all(|certificate| Validity::from_certificate(certificate).is_some())
                );
            }
            Err(fault) => is_a_line(&fault.to_string()),
        }
        match read().and_then(Bundle::keys) {
            Ok(keys) => {
                assert!(!keys.is_empty());
                let pem: String = keys.iter().map(|key| block(label(key), key.secret_der())).collect();
                assert_eq!(Bundle::read(pem.as_bytes(), None).and_then(Bundle::keys), Ok(keys));
            }
            Err(fault) => is_a_line(&fault.to_string()),
        }
        let paired = read().and_then(Bundle::parts).and_then(|(certificates, keys)| {
            let paired = pair(&certificates, keys)?;
            assert_eq!(paired.chain.len(), certificates.len());
            Ok(())
        });
        if let Err(fault) = paired {
            is_a_line(&fault.to_string());
        }
    }
});

fn label(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

fn block(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}
