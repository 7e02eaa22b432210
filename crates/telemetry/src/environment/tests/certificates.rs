use super::*;

#[test]
fn certificates_that_cannot_be_used_are_said() {
    const CA: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
    const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    };
    let ((certificate, key), (other, other_key)) = (made("a"), made("b"));
    let good = file(
        "good.pem",
        &format!(
            "\u{feff}# ours\r\n{}\n# another\n{other}",
            certificate.replace('\n', "\r\n")
        ),
    );
    let (certificate, key) = (file("certificate.pem", &certificate), file("key.pem", &key));
    let other_key = file("other-key.pem", &other_key);
    let none = file("none.pem", "no certificate");
    let base = (ENDPOINT, "https://c:4318");
    let plain = served(&[base]).traces.unwrap().tls;
    let tls = served(&[base, (CA, &good)]).traces.unwrap().tls;
    assert_ne!(tls, plain);
    let tls = served(&[base, (CERTIFICATE, &certificate), (KEY, &key)])
        .logs
        .unwrap()
        .tls;
    assert_ne!(tls, plain);
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
