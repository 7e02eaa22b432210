//! Whether a key that nothing signs with is of another kind or is broken.
//!
//! CBC, in which keys are encrypted, has no checksum: what a damaged file or a wrong password leaves may still begin like a key.

use pkcs8::der::asn1::UintRef;
use pkcs8::der::{Decode as _, Header, SliceReader};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Fault;

/// RFC 8017 appendix C.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 5480 section 2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 5480 section 2.1.1.1: P-256, P-384, P-521.
const CURVES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    ObjectIdentifier::new_unwrap("1.3.132.0.34"),
    ObjectIdentifier::new_unwrap("1.3.132.0.35"),
];
/// RFC 8410 section 3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// The bytes of the modulus of RSA keys that are signed with.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Other kinds that an encrypted key may say to be: RSASSA-PSS, DSA, X25519, X448, Ed448, ML-DSA. An algorithm that nobody
/// has heard of is damage there.
const OTHERS: [ObjectIdentifier; 8] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"),
    ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"),
    ObjectIdentifier::new_unwrap("1.3.101.110"),
    ObjectIdentifier::new_unwrap("1.3.101.111"),
    ObjectIdentifier::new_unwrap("1.3.101.113"),
    ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"),
    ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"),
    ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"),
];

/// A decrypted key (RFC 5958), unless it was not decrypted to what it was.
pub(super) fn whole(der: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let algorithm = PrivateKeyInfoRef::try_from(der).ok()?.algorithm.oid;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der.to_vec()));
    let is_whole = any_supported_type(&key).is_ok()
        || OTHERS.contains(&algorithm)
        || [RSA, EC].contains(&algorithm) && !is_supported(der);
    is_whole.then_some(key)
}

/// Why a key is not signed with: it is of a kind that is not supported, or else it is broken.
pub(super) fn unusable(key: &PrivateKeyDer<'_>) -> Fault {
    let is_supported = match key {
        PrivateKeyDer::Pkcs1(key) => is_rsa_supported(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => is_supported(key.secret_pkcs8_der()),
        // The form may leave out its curve.
        _ => false,
    };
    if is_supported {
        Fault::BrokenKey
    } else {
        Fault::UnsupportedKey
    }
}

/// Whether a PKCS#8 structure says that it holds a key of a kind that is signed with.
fn is_supported(der: &[u8]) -> bool {
    let Ok(info) = PrivateKeyInfoRef::try_from(der) else {
        return true;
    };
    match info.algorithm.oid {
        RSA => is_rsa_supported(info.private_key.as_bytes()),
        EC => info
            .algorithm
            .parameters_oid()
            .map_or(true, |curve| CURVES.contains(&curve)),
        oid => oid == ED25519,
    }
}

/// Whether an `RSAPrivateKey` (RFC 8017 appendix A.1.2) is of a size that is signed with; one that does not parse has none.
fn is_rsa_supported(der: &[u8]) -> bool {
    let modulus = SliceReader::new(der).and_then(|mut reader| {
        Header::decode(&mut reader)?;
        UintRef::decode(&mut reader)?;
        UintRef::decode(&mut reader)
    });
    modulus.map_or(true, |modulus| RSA_BYTES.contains(&modulus.as_bytes().len()))
}
