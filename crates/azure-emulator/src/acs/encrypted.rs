//! ACS tokens that no client can read: JSON Web Encryption in its compact form (RFC 7516), five parts.
//!
//! ACS encrypts tokens of Entra users for itself since communication-common 2.5.0 (Azure/azure-sdk-for-js#39156).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::jwt::{CryptoFailed, random_text};

const KEY_BYTES: usize = 32;
/// The tag's length (RFC 7518 5.3).
const TAG_BYTES: usize = 16;
/// AES key wrap adds this many bytes (RFC 3394 2.2.1).
const WRAP_BYTES: usize = 8;

/// ACS's own key, under which each token's key is wrapped. Nothing here ever opens a token.
#[derive(Debug)]
pub(super) struct TokenCipher {
    kid: String,
    key: [u8; KEY_BYTES],
}

impl TokenCipher {
    /// A new key.
    pub(super) fn generate() -> Result<Self, CryptoFailed> {
        Ok(Self {
            kid: random_text(20),
            key: random()?,
        })
    }

    /// Encrypts a signed token: a nested JWT (RFC 7519 appendix A.2).
    pub(super) fn encrypt(&self, token: &str) -> Result<String, CryptoFailed> {
        let (content_key, iv): ([u8; KEY_BYTES], [u8; NONCE_LEN]) = (random()?, random()?);
        let header = json!({"alg": "A256KW", "enc": "A256GCM", "kid": self.kid, "typ": "JWT", "cty": "JWT"});
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let mut wrapped = [0; KEY_BYTES + WRAP_BYTES];
        AesKek::new(&AES_256, &self.key)
            .and_then(|kek| kek.wrap(&content_key, &mut wrapped).map(|_| ()))
            .map_err(|_| CryptoFailed)?;
        let cipher = UnboundKey::new(&AES_256_GCM, &content_key).map_err(|_| CryptoFailed)?;
        let mut sealed = token.as_bytes().to_vec();
        let aad = Aad::from(header.as_bytes());
        LessSafeKey::new(cipher)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(iv), aad, &mut sealed)
            .map_err(|_| CryptoFailed)?;
        let (text, tag) = sealed
            .split_at_checked(sealed.len().saturating_sub(TAG_BYTES))
            .ok_or(CryptoFailed)?;
        let [wrapped, iv, text, tag] = [&wrapped[..], &iv, text, tag].map(|part| URL_SAFE_NO_PAD.encode(part));
        Ok(format!("{header}.{wrapped}.{iv}.{text}.{tag}"))
    }
}

fn random<const N: usize>() -> Result<[u8; N], CryptoFailed> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CryptoFailed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_five_parts_and_opens_with_the_key() {
        let cipher = TokenCipher::generate().unwrap();
        let token = cipher.encrypt("a.b.c").unwrap();
        let parts: Vec<Vec<u8>> = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect();
        assert_eq!(parts.len(), 5);
        let mut key = [0; KEY_BYTES];
        let kek = AesKek::new(&AES_256, &cipher.key).unwrap();
        kek.unwrap(&parts[1], &mut key).unwrap();
        let mut sealed = [&parts[3][..], &parts[4]].concat();
        let nonce = Nonce::try_assume_unique_for_key(&parts[2]).unwrap();
        let header = token.split('.').next().unwrap();
        let opened = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
            .open_in_place(nonce, Aad::from(header.as_bytes()), &mut sealed)
            .unwrap();
        assert_eq!(opened, b"a.b.c");
    }
}
