//! Compact JSON Web Signatures: RS256 is what the emulated Entra writes; client assertions may be PS256 too.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// The cryptographic library failed; not to be expected.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct CryptoFailed;

/// An RSA key pair with the id under which it is published.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pair: KeyPair,
}

impl SigningKey {
    /// A new 2048-bit key. Takes tens of milliseconds.
    pub(crate) fn generate() -> Result<Self, CryptoFailed> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| CryptoFailed)?;
        let digest = sha256(pair.public_key().as_ref());
        // Entra's key ids are 20-byte certificate thumbprints; ours have their form.
        let kid = URL_SAFE_NO_PAD.encode(digest.get(..20).unwrap_or(&digest));
        Ok(Self { kid, pair })
    }

    /// Signs any header and payload, whatever they say.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> Result<String, CryptoFailed> {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &signature::RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| CryptoFailed)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Whether this key made the signature.
    pub(crate) fn verifies(&self, token: &Decoded<'_>) -> bool {
        token.is_signed_by(self.pair.public_key().as_ref(), Algorithm::Rs256)
    }

    /// The public modulus and exponent, big-endian without leading zeros, as a JWK wants them.
    pub(crate) fn modulus_and_exponent(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        parse_rsa_public_key(self.pair.public_key().as_ref())
    }

    /// The public key as a JWK (RFC 7517).
    pub(crate) fn to_jwk(&self, issuer: Option<&str>) -> Option<Value> {
        let (n, e) = self.modulus_and_exponent()?;
        let mut jwk = json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": URL_SAFE_NO_PAD.encode(n),
            "e": URL_SAFE_NO_PAD.encode(e),
        });
        if let Some(issuer) = issuer {
            jwk["issuer"] = json!(issuer);
        }
        Some(jwk)
    }

    /// The public key as a PEM `PUBLIC KEY`.
    pub(crate) fn public_pem(&self) -> Result<String, CryptoFailed> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().map_err(|_| CryptoFailed)?;
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let text = STANDARD.encode(der.as_ref());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, next) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = next;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }
}

/// A token taken apart; nothing in it is verified.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

/// A signature algorithm (RFC 7518 3.3 and 3.5), by its name in a header's `alg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "UPPERCASE")]
pub(crate) enum Algorithm {
    Rs256,
    Ps256,
}

impl Decoded<'_> {
    /// Whether the private half of this `RSAPublicKey` made the signature.
    pub(crate) fn is_signed_by(&self, public_key: &[u8], algorithm: Algorithm) -> bool {
        let parameters = match algorithm {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(parameters, public_key)
            .verify(self.signed.as_bytes(), &self.signature)
            .is_ok()
    }

    /// A member of the header that is text.
    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A claim that is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// A claim that is a whole number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.claims.get(name)?.as_i64()
    }

    /// The audiences: one text, or a list of them (RFC 7519 4.1.3).
    pub(crate) fn audiences(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(text)) => vec![text.as_str()],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// Takes a compact token apart, if it is one.
pub(crate) fn decode(token: &str) -> Option<Decoded<'_>> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let object = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    Some(Decoded {
        header: object(header)?,
        claims: object(payload)?,
        signed,
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
    })
}

/// The SHA-256 digest.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
        .as_ref()
        .to_vec()
}

/// Random bytes as base64url text, for ids that are not interpreted.
pub(crate) fn random_text(bytes: usize) -> String {
    let text: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect();
    URL_SAFE_NO_PAD.encode(text)
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017 A.1.1), read by hand: the
/// library gives the numbers only with its `ring-io` feature.
pub(crate) fn parse_rsa_public_key(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sequence, _) = der_value(der, 0x30)?;
    let (modulus, rest) = der_value(sequence, 0x02)?;
    let (exponent, _) = der_value(rest, 0x02)?;
    let bare = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
    Some((bare(modulus), bare(exponent)))
}

/// The content of the DER element with this tag at the start, and what follows it.
pub(crate) fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_verifies_under_its_own_key_only() {
        let (ours, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let token = ours.sign(&json!({"alg": "RS256"}), &json!({"a": 1})).unwrap();
        let decoded = decode(&token).unwrap();
        assert!(ours.verifies(&decoded));
        assert!(!other.verifies(&decoded));
        assert_eq!(decoded.claims["a"], 1);
    }

    #[test]
    fn the_published_numbers_are_the_key() {
        let key = SigningKey::generate().unwrap();
        let (n, e) = key.modulus_and_exponent().unwrap();
        assert_eq!(n.len(), 256);
        assert_eq!(e, [1, 0, 1]);
        let token = key.sign(&json!({}), &json!({})).unwrap();
        let (signed, sig) = token.rsplit_once('.').unwrap();
        signature::RsaPublicKeyComponents { n, e }
            .verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                signed.as_bytes(),
                &URL_SAFE_NO_PAD.decode(sig).unwrap(),
            )
            .unwrap();
        assert!(key.public_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\nMII"));
    }

    #[test]
    fn what_is_no_token_is_not_decoded() {
        for text in ["", "a", "a.b", "a.b.c", "e30.e30", "e30.W10.AA", "e30.e30.AA.AA"] {
            assert!(decode(text).is_none(), "{text}");
        }
        assert!(decode("e30.e30.").is_some());
    }
}
