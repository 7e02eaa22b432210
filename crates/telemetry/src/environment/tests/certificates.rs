use super::*;

#[test]
fn certificates_that_cannot_be_used_are_said() {
    const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
    const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (first, second) = (made("a"), made("b"));
    let (as_der, key_as_der) = (
        file("certificate.der", first.cert.der()),
        file("key.der", first.signing_key.serialized_der()),
    );
    let pem = |made: rcgen::CertifiedKey<rcgen::KeyPair>| (made.cert.pem(), made.signing_key.serialize_pem());
    let ((certificate, key), (other, other_key)) = (pem(first), pem(second));
    let good = file(
        "good.pem",
        format!(
            "\u{feff}# ours\r\n{}\n# another\n{other}",
            certificate.replace('\n', "\r\n")
        )
        .as_bytes(),
    );
    let (certificate, key) = (
        file("certificate.pem", certificate.as_bytes()),
        file("key.pem", key.as_bytes()),
    );
    let other_key = file("other-key.pem", other_key.as_bytes());
    let none = file("none.pem", b"no certificate");
    let base = (ENDPOINT, "https://c:4318");
    let plain = served(&[base]).traces.unwrap().tls;
    let tls = served(&[base, (CA, &good)]).traces.unwrap().tls;
    assert_ne!(tls, plain);
    let tls = served(&[base, (CERTIFICATE, &certificate), (KEY, &key)])
        .logs
        .unwrap()
        .tls;
    assert_ne!(tls, plain);
    // In whichever form, it is the same.
    let same = served(&[base, (CERTIFICATE, &as_der), (KEY, &key_as_der)]);
    assert_eq!(same.logs.unwrap().tls, tls);
    let missing = "/nowhere/s3cret.pem";
    for (variables, name) in [
        (&[(CA, missing)][..], CA),
        (&[(CA, "/")], CA),
        (&[(CA, &none)], CA),
        (&[(CERTIFICATE, &certificate)], CERTIFICATE),
        (&[(KEY, &key)], KEY),
        (&[(CERTIFICATE, missing), (KEY, &key)], CERTIFICATE),
        (&[(CERTIFICATE, &none), (KEY, &key)], CERTIFICATE),
        (&[(CERTIFICATE, &certificate), (KEY, missing)], CERTIFICATE),
        (&[(CERTIFICATE, &certificate), (KEY, &none)], CERTIFICATE),
        (&[(CERTIFICATE, &certificate), (KEY, &other_key)], CERTIFICATE),
    ] {
        let variables = [&[base], variables].concat();
        assert_eq!(warned(&variables, name).traces.unwrap().tls, plain, "{variables:?}");
    }
    // A signal's own that cannot be used leaves the general one, not the system's anchors.
    let own = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE";
    assert_ne!(
        warned(&[base, (CA, &good), (own, missing)], own).traces.unwrap().tls,
        plain
    );
}
