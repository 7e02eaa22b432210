//! From a file's content to DER: byte order marks, encodings of text, PEM, base64.
//!
//! `rustls_pki_types::pem` wants its markers at the start of lines and ignores blocks that it does not know; the
//! `pem` crate leaves copies of keys behind. What is shared out here is wiped when dropped.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{Bundle, Fault, Label, der};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// With or without padding, as tools differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

type Bytes = Zeroizing<Vec<u8>>;

pub(super) fn read(content: &[u8], password: Option<&str>) -> Result<Bundle, Fault> {
    if content.trim_ascii().is_empty() {
        return Err(Fault::Empty);
    }
    if let Some(bundle) = plain(content, password) {
        return bundle;
    }
    let content = as_text(content);
    if content.trim_ascii().is_empty() {
        return Err(Fault::Empty);
    }
    if let Some(bundle) = plain(&content, password) {
        return bundle;
    }
    // Key Vault gives a PFX as base64, a Kubernetes secret whatever is in it; some commands put quotes around.
    let within = unquoted(content.trim_ascii());
    let decoded = decode(within).filter(|decoded| !decoded.is_empty());
    decoded
        .and_then(|decoded| plain(&decoded, password))
        .unwrap_or(Err(Fault::NotUnderstood))
}

/// PEM or DER, as it stands. `None` if it is neither.
fn plain(content: &[u8], password: Option<&str>) -> Option<Result<Bundle, Fault>> {
    if find(content, BEGIN).is_some() {
        return Some(pem(content, password));
    }
    let mut bundle = Bundle::default();
    match der::take_in(content, password, &mut bundle)? {
        Ok(()) => Some(Ok(bundle)),
        Err(fault) => Some(Err(fault)),
    }
}

/// Without a byte order mark; UTF-16, which PowerShell writes, as UTF-8.
fn as_text(content: &[u8]) -> Bytes {
    let utf_16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        let text: String = char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        text.into_bytes()
    };
    Zeroizing::new(match content {
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => rest.to_vec(),
        all => all.to_vec(),
    })
}

fn pem(content: &[u8], password: Option<&str>) -> Result<Bundle, Fault> {
    let mut bundle = Bundle::default();
    let mut rest = content;
    while let Some(start) = find(rest, BEGIN) {
        rest = &rest[start + BEGIN.len()..];
        let end = find(rest, DASHES).ok_or(Fault::NotUnderstood)?;
        let (label, behind) = (&rest[..end], &rest[end + DASHES.len()..]);
        let name = known(label);
        let end = find(behind, END)
            .filter(|end| find(&behind[..*end], BEGIN).is_none())
            .ok_or(Fault::CutOff(name))?;
        let body = &behind[..end];
        rest = behind[end + END.len()..]
            .strip_prefix(label)
            .and_then(|rest| rest.strip_prefix(DASHES))
            .ok_or(Fault::CutOff(name))?;
        block(label, name, body, password, &mut bundle);
    }
    Ok(bundle)
}

fn block(label: &[u8], name: Label, body: &[u8], password: Option<&str>, bundle: &mut Bundle) {
    let is_key = label.ends_with(b"PRIVATE KEY");
    let is_certificate = matches!(label, b"CERTIFICATE" | b"X509 CERTIFICATE");
    if is_key && find(body, b"ENCRYPTED").is_some() {
        bundle.key_fault = Some(Fault::OldEncryption);
        return;
    }
    let decoded = if is_key || is_certificate { decode(body) } else { None };
    match label {
        _ if is_certificate => {
            let number = bundle.certificates.len() + 1;
            match decoded {
                Some(decoded) if der::is_certificate(&decoded) => {
                    bundle.certificates.push(CertificateDer::from(decoded.to_vec()));
                }
                Some(_) => bundle.certificate_fault = Some(Fault::NotACertificate(number)),
                None => bundle.certificate_fault = Some(Fault::NotBase64(name)),
            }
        }
        _ if is_key => match decoded.map(|decoded| der::key(&decoded, password)) {
            Some(Some(Ok(key))) => bundle.keys.push(key),
            Some(Some(Err(fault))) => bundle.key_fault = Some(fault),
            Some(None) => bundle.key_fault = Some(Fault::BrokenKey),
            None => bundle.key_fault = Some(Fault::NotBase64(name)),
        },
        b"TRUSTED CERTIFICATE" => bundle.certificate_fault = Some(Fault::TrustedCertificate),
        b"PKCS7" | b"CMS" => bundle.certificate_fault = Some(Fault::Pkcs7),
        b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => bundle.other = Some("a certificate request"),
        b"PUBLIC KEY" | b"RSA PUBLIC KEY" => bundle.other = Some("a public key"),
        _ => {}
    }
}

/// A label for a message; an unknown one could be anything.
fn known(label: &[u8]) -> Label {
    const KNOWN: [&str; 7] = [
        "CERTIFICATE",
        "X509 CERTIFICATE",
        "TRUSTED CERTIFICATE",
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
    ];
    let found = KNOWN.into_iter().find(|known| known.as_bytes() == label);
    Label(found.unwrap_or("of another kind"))
}

/// Base64 with whatever stands for line ends in it: blanks where a portal's text field took the line ends, `\n` as two
/// characters where JSON was copied. Lines with a colon are headers (RFC 1421).
fn decode(text: &[u8]) -> Option<Bytes> {
    let mut kept = Zeroizing::new(Vec::with_capacity(text.len()));
    for line in text.split(|byte| *byte == b'\n') {
        if !line.contains(&b':') {
            kept.extend_from_slice(line);
        }
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(kept.len()));
    let mut rest: &[u8] = &kept;
    loop {
        rest = match rest {
            [] => break,
            [b'\\', b'n' | b'r', rest @ ..] => rest,
            [byte, rest @ ..] => {
                if !byte.is_ascii_whitespace() {
                    plain.push(*byte);
                }
                rest
            }
        };
    }
    BASE64.decode(&*plain).ok().map(Zeroizing::new)
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', within @ .., b'"'] | [b'\'', within @ .., b'\''] => within,
        all => all,
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
