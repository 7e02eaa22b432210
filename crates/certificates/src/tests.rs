//! Files as platforms, portals and shells leave them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use p12_keystore::{EncryptionAlgorithm, KeyStore, KeyStoreEntry, PrivateKeyChain};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject as _;

use super::*;

const VERSION_1: &str = include_str!("testdata/version-1.pem");
const VERSION_1_KEY: &str = include_str!("testdata/version-1-key.pem");
const ENCRYPTED_KEY: &str = include_str!("testdata/encrypted-key.pem");
const OLD_ENCRYPTION: &str = include_str!("testdata/old-encryption.pem");
const TRUSTED: &str = include_str!("testdata/trusted.pem");
const PKCS7: &str = include_str!("testdata/pkcs7.pem");

/// A certificate, its key, and its issuer.
struct Made {
    certificate: rcgen::Certificate,
    key: KeyPair,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

fn made() -> Made {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "issuer");
    let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(["broker.test".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    Made {
        certificate,
        key,
        issuer,
    }
}

impl Made {
    fn pfx(&self, password: &str) -> Vec<u8> {
        let key = p12_keystore::PrivateKey::from_der(self.key.serialized_der()).unwrap();
        let certificate = p12_keystore::Certificate::from_der(self.certificate.der()).unwrap();
        let mut store = KeyStore::new();
        let chain = PrivateKeyChain::new("id", key, [certificate]);
        store.add_entry("app", KeyStoreEntry::PrivateKeyChain(chain));
        let writer = store
            .writer(password)
            .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256);
        writer.encryption_iterations(10).mac_iterations(10).write().unwrap()
    }
}

fn utf_16(text: &str, big: bool) -> Vec<u8> {
    let text = format!("\u{feff}{text}");
    let units = text.encode_utf16();
    units
        .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
        .collect()
}

/// Base64 in lines of 64, as most tools write it.
fn lines(bytes: &[u8], end: &str) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    lines.join(end)
}

#[test]
fn a_certificate_with_its_key_is_read_in_every_form() {
    let made = made();
    let (cert, key) = (made.certificate.pem(), made.key.serialize_pem());
    let pem = format!("{cert}{key}");
    let pfx = made.pfx("");
    let indented = format!("    {}", pem.replace('\n', "\n    "));
    let sec1 = pkcs8::PrivateKeyInfoRef::try_from(made.key.serialized_der())
        .unwrap()
        .private_key
        .as_bytes()
        .to_vec();
    for (what, content) in [
        ("PEM", pem.clone().into_bytes()),
        ("the key first", format!("{key}{cert}").into_bytes()),
        ("CRLF", pem.replace('\n', "\r\n").into_bytes()),
        ("CR", pem.replace('\n', "\r").into_bytes()),
        ("a byte order mark", format!("\u{feff}{pem}").into_bytes()),
        ("UTF-16, as PowerShell writes it", utf_16(&pem, false)),
        ("UTF-16, the other way round", utf_16(&pem.replace('\n', "\r\n"), true)),
        (
            "text before and between",
            format!("Bag Attributes\n  friendlyName: x\nsubject=/CN=a\n{cert}\n# the key:\nKey Attributes: <No Attributes>\n{key}end")
                .into_bytes(),
        ),
        ("text that is not UTF-8", [b"\xe9\xfc\n".to_vec(), pem.clone().into_bytes()].concat()),
        ("indented, as in YAML", indented.into_bytes()),
        ("blanks for line ends, as portals make them", pem.replace('\n', " ").into_bytes()),
        ("no line ends", pem.replace('\n', "").into_bytes()),
        ("line ends escaped, as in JSON", pem.replace('\n', "\\n").into_bytes()),
        ("blank lines", pem.replace('\n', "\n\n").into_bytes()),
        ("an old label", pem.replace("CERTIFICATE", "X509 CERTIFICATE").into_bytes()),
        (
            "parameters of the curve before the key",
            format!("{cert}-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}").into_bytes(),
        ),
        ("SEC1", format!("{cert}-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", lines(&sec1, "\n")).into_bytes()),
        ("a wrong label", pem.replace("BEGIN PRIVATE KEY", "BEGIN RSA PRIVATE KEY").replace("END PRIVATE KEY", "END RSA PRIVATE KEY").into_bytes()),
        ("PFX", pfx.clone()),
        ("PFX as base64", STANDARD.encode(&pfx).into_bytes()),
        ("PFX as base64 without padding", STANDARD_NO_PAD.encode(&pfx).into_bytes()),
        ("PFX as base64 in lines", format!("{}\r\n", lines(&pfx, "\r\n")).into_bytes()),
        ("PFX as base64 with a byte order mark", format!("\u{feff}{}\n", lines(&pfx, "\n")).into_bytes()),
        ("PFX as base64 in quotes", format!("\"{}\"\n", STANDARD.encode(&pfx)).into_bytes()),
        ("PFX as base64 in UTF-16", utf_16(&lines(&pfx, "\r\n"), false)),
        ("PEM as base64, as in a Kubernetes secret", STANDARD.encode(&pem).into_bytes()),
    ] {
        let (certificates, keys) = Bundle::read(&content, None).and_then(Bundle::parts).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let paired = pair(&certificates, keys).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        assert_eq!(paired.chain, [made.certificate.der().clone()], "{what}");
    }
    let opened = Bundle::read(&made.pfx("pass"), Some("pass")).unwrap();
    assert_eq!(opened.parts().unwrap().0.len(), 1);
}

#[test]
fn certificates_alone_and_keys_alone() {
    let made = made();
    let (cert, issuer) = (made.certificate.pem(), made.issuer.pem());
    for (content, count) in [
        (made.certificate.der().to_vec(), 1),
        (STANDARD.encode(made.certificate.der()).into_bytes(), 1),
        (
            format!("# one\n{cert}Bag Attributes: x\n\n{issuer}# and another\n{VERSION_1}").into_bytes(),
            3,
        ),
        (format!("{cert}{ENCRYPTED_KEY}").into_bytes(), 1),
        (VERSION_1.as_bytes().to_vec(), 1),
    ] {
        let read = Bundle::read(&content, None).and_then(Bundle::certificates);
        assert_eq!(read.map(|certificates| certificates.len()), Ok(count));
    }
    for content in [
        made.key.serialized_der().to_vec(),
        STANDARD.encode(made.key.serialized_der()).into_bytes(),
        made.key.serialize_pem().into_bytes(),
        // What is wrong with the certificates does not matter here.
        format!("{TRUSTED}{VERSION_1_KEY}").into_bytes(),
    ] {
        assert_eq!(
            Bundle::read(&content, None)
                .and_then(Bundle::keys)
                .map(|keys| keys.len()),
            Ok(1)
        );
    }
    let opened = Bundle::read(ENCRYPTED_KEY.as_bytes(), Some("pass"))
        .and_then(Bundle::keys)
        .unwrap();
    let plain = Bundle::read(VERSION_1_KEY.as_bytes(), None)
        .and_then(Bundle::keys)
        .unwrap();
    assert_eq!(opened, plain);
}

#[test]
fn what_cannot_be_read_is_refused_for_its_reason() {
    let made = made();
    let (cert, key) = (made.certificate.pem(), made.key.serialize_pem());
    let pfx = made.pfx("pass");
    let within = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    for (content, password, reason) in [
        (Vec::new(), None, "is empty"),
        (b" \r\n\t ".to_vec(), None, "is empty"),
        (b"\xef\xbb\xbf\r\n".to_vec(), None, "is empty"),
        (b"secret words".to_vec(), None, "is neither PEM nor DER"),
        (b"<html>404</html>".to_vec(), None, "is neither PEM nor DER"),
        (
            STANDARD.encode("secret words").into_bytes(),
            None,
            "is neither PEM nor DER",
        ),
        (vec![0x30], None, "is neither PEM nor DER"),
        (vec![0x30, 0x84, 0xff], None, "is neither PEM nor DER"),
        (
            cert[..cert.len() / 2].into(),
            None,
            "a PEM block CERTIFICATE without its end",
        ),
        (
            format!("{}{key}", &cert[..cert.len() / 2]).into(),
            None,
            "a PEM block CERTIFICATE without its end",
        ),
        (
            cert.replace("END CERTIFICATE", "END PRIVATE KEY").into(),
            None,
            "a PEM block CERTIFICATE without its end",
        ),
        (
            within("CERTIFICATE", "secret*words").into(),
            None,
            "a PEM block CERTIFICATE that is not base64",
        ),
        (
            format!("{cert}{}", within("CERTIFICATE", "c2VjcmV0")).into(),
            None,
            "number 2 is no X.509 certificate",
        ),
        (TRUSTED.into(), None, "TRUSTED CERTIFICATE"),
        (PKCS7.into(), None, "PKCS#7"),
        (key.clone().into(), None, "holds no certificate, but a private key"),
        (
            within("CERTIFICATE REQUEST", "AAAA").into(),
            None,
            "holds no certificate, but a certificate request",
        ),
        (cert.clone().into(), None, "holds no private key, but a certificate"),
        (
            format!("{cert}{}", within("PUBLIC KEY", "AAAA")).into(),
            None,
            "holds no private key, but a public key",
        ),
        (
            format!("{cert}{}", within("PRIVATE KEY", "c2VjcmV0")).into(),
            None,
            "a private key that is broken",
        ),
        (
            format!("{cert}{}", within("PRIVATE KEY", "*")).into(),
            None,
            "a PEM block PRIVATE KEY that is not base64",
        ),
        (format!("{cert}{ENCRYPTED_KEY}").into(), None, "there is no password"),
        (
            format!("{cert}{ENCRYPTED_KEY}").into(),
            Some("other"),
            "that the password does not open",
        ),
        (
            format!("{cert}{OLD_ENCRYPTION}").into(),
            Some("pass"),
            "OpenSSL's old encryption",
        ),
        (pfx.clone(), None, "is a PFX that needs a password"),
        (pfx.clone(), Some("other"), "is a PFX that the password does not open"),
        (
            STANDARD.encode(&pfx).into_bytes(),
            Some("other"),
            "is a PFX that the password does not open",
        ),
        (
            pfx[..pfx.len() / 2].to_vec(),
            Some("pass"),
            "is a PFX that is cut off or broken",
        ),
        (
            format!("{cert}{VERSION_1_KEY}").into(),
            None,
            "belongs to none of its certificates",
        ),
    ] {
        let read = Bundle::read(&content, password).and_then(Bundle::parts);
        let fault = read
            .and_then(|(certificates, keys)| pair(&certificates, keys))
            .unwrap_err()
            .to_string();
        assert!(fault.contains(reason), "{reason}: {fault}");
        assert!(!fault.contains("words"), "{fault}");
    }
}

/// Why a key does not serve beside the certificate of version 1.
fn fault_of(key: &[u8], password: Option<&str>) -> Option<Fault> {
    let certificates = Bundle::read(VERSION_1.as_bytes(), None)
        .unwrap()
        .certificates()
        .unwrap();
    let keys = Bundle::read(key, password).and_then(Bundle::keys);
    keys.and_then(|keys| pair(&certificates, keys)).err()
}

#[test]
fn a_damaged_encrypted_key_is_one_that_was_not_opened() {
    let (_, whole) = pkcs8::SecretDocument::from_pem(ENCRYPTED_KEY).unwrap();
    let whole = whole.as_bytes();
    assert_eq!(fault_of(whole, Some("pass")), None);
    // Its IV, which is in the parameters, then the encrypted key: structure, modulus, exponents, primes, padding.
    for at in [
        77,
        81,
        83,
        92,
        97,
        100,
        113,
        118,
        130,
        140,
        160,
        300,
        500,
        700,
        900,
        1100,
        1300,
        whole.len() - 1,
    ] {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x41;
        assert_eq!(fault_of(&damaged, Some("pass")), Some(Fault::KeyNotOpened), "{at}");
    }
}

#[test]
fn a_broken_key_is_not_taken_for_one_of_another_kind() {
    let key = Bundle::read(VERSION_1_KEY.as_bytes(), None)
        .and_then(Bundle::keys)
        .unwrap();
    let whole = key[0].secret_der();
    let info = pkcs8::PrivateKeyInfoRef::try_from(whole).unwrap();
    let pkcs1 = info.private_key.as_bytes();
    for form in [whole, pkcs1] {
        for part in [3, 2] {
            let mut damaged = form.to_vec();
            damaged[form.len() / part] ^= 0x41;
            assert_eq!(fault_of(&damaged, None), Some(Fault::BrokenKey));
        }
    }
    // secp256k1, RSA of 1024 bits, and a kind that nobody has heard of.
    for other in [
        include_str!("testdata/secp256k1-key.pem"),
        include_str!("testdata/short-key.pem"),
    ] {
        assert_eq!(fault_of(other.as_bytes(), None), Some(Fault::UnsupportedKey));
    }
    let mut unheard_of = whole.to_vec();
    unheard_of[18] ^= 0x41;
    assert_eq!(fault_of(&unheard_of, None), Some(Fault::UnsupportedKey));
    let encrypted = include_bytes!("testdata/encrypted-short-key.pem");
    assert_eq!(fault_of(encrypted, Some("pass")), Some(Fault::UnsupportedKey));
}

#[test]
fn a_chain_in_any_order_is_sent_from_the_servers_own_certificate_on() {
    let made = made();
    let (leaf, issuer) = (made.certificate.der().clone(), made.issuer.der().clone());
    let unrelated = Bundle::read(VERSION_1.as_bytes(), None)
        .unwrap()
        .certificates()
        .unwrap()
        .remove(0);
    let key = || {
        Bundle::read(made.key.serialize_pem().as_bytes(), None)
            .unwrap()
            .keys()
            .unwrap()
    };
    for order in [
        [&leaf, &issuer, &unrelated],
        [&issuer, &leaf, &unrelated],
        [&unrelated, &issuer, &leaf],
    ] {
        let paired = pair(&order.map(Clone::clone), key()).unwrap();
        assert_eq!(paired.chain, [leaf.clone(), issuer.clone(), unrelated.clone()]);
    }
    // Among several keys the one that fits is taken.
    let mut keys = Bundle::read(VERSION_1_KEY.as_bytes(), None).unwrap().keys().unwrap();
    keys.extend(key());
    assert_eq!(pair(std::slice::from_ref(&leaf), keys).unwrap().chain, [leaf]);
}

#[test]
fn certificates_of_version_1_have_a_key_too() {
    let certificates = Bundle::read(VERSION_1.as_bytes(), None)
        .unwrap()
        .certificates()
        .unwrap();
    let keys = Bundle::read(VERSION_1_KEY.as_bytes(), None).unwrap().keys().unwrap();
    assert!(pair(&certificates, keys).is_ok());
    assert!(Validity::from_certificate(&certificates[0]).unwrap().is_version_1);
    assert!(
        !Validity::from_certificate(made().certificate.der())
            .unwrap()
            .is_version_1
    );
}

#[test]
fn a_certificates_time() {
    let validity = Validity {
        begins: 100,
        ends: 200,
        is_version_1: false,
    };
    for (now, part) in [
        (99, Some("not valid yet")),
        (100, None),
        (200, None),
        (201, Some("has ended")),
    ] {
        let oddity = validity.oddity(now);
        assert_eq!(oddity.is_some(), part.is_some(), "{now}");
        assert!(
            oddity.unwrap_or_default().contains(part.unwrap_or_default()),
            "{oddity:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_content_makes_it_panic(content in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0..2000_usize) {
        let _ = Bundle::read(&content, Some("pass"));
        let pem = format!("{VERSION_1}{ENCRYPTED_KEY}");
        let _ = Bundle::read(&pem.as_bytes()[..cut.min(pem.len())], None);
    }
}

#[test]
fn what_is_written_as_pem_reads_the_same() {
    let made = made();
    let certificates = [made.certificate.der().clone(), made.issuer.der().clone()];
    let info = pkcs8::PrivateKeyInfoRef::try_from(made.key.serialized_der()).unwrap();
    for key in [
        PrivateKeyDer::Pkcs8(made.key.serialized_der().to_vec().into()),
        PrivateKeyDer::Sec1(info.private_key.as_bytes().to_vec().into()),
    ] {
        let pem = format!("{}{}", certificates_to_pem(&certificates), *key_to_pem(&key));
        let (read, keys) = Bundle::read(pem.as_bytes(), None).unwrap().parts().unwrap();
        assert_eq!((&read[..], &keys[..]), (&certificates[..], &[key][..]));
        assert_eq!(CertificateDer::pem_slice_iter(pem.as_bytes()).count(), 2);
        assert!(PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_ok());
    }
}
