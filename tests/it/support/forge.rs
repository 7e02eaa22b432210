//! Tokens that Entra would never issue, and keys of one's own to sign them with.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding};
use azure_emulator::scenario::{CONTOSO_APP, FABRIKAM};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::stack::Stack;

/// The scenario's Alex, covered by an assignment of their own.
pub(crate) const ALEX: &str = "fab00000-0000-4000-8000-00000000a1ec";
/// The audience of v2 tokens for ACS.
pub(crate) const ACS_CLIENTS: &str = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";

/// base64url without padding.
pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The claims of a good v2 token of Alex that lives for an hour; each case breaks one.
pub(crate) fn good_claims(stack: &Stack) -> Value {
    let now = stack.now();
    json!({
        "iss": format!("{}/{FABRIKAM}/v2.0", stack.emulator.origin()),
        "aud": ACS_CLIENTS,
        "tid": FABRIKAM.to_string(),
        "oid": ALEX,
        "azp": CONTOSO_APP.to_string(),
        "scp": "VoIP VoIP.Join",
        "ver": "2.0",
        "iat": now - 300,
        "nbf": now - 300,
        "exp": now + 3600,
    })
}

/// The header of a good token of Fabrikam.
pub(crate) fn good_header(stack: &Stack) -> Value {
    json!({"typ": "JWT", "alg": "RS256", "kid": stack.emulator.current_kid("Fabrikam").unwrap()})
}

/// A good token but for one change of its claims, signed with Fabrikam's key.
pub(crate) fn with_claims(stack: &Stack, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = good_claims(stack);
    change(&mut claims);
    stack.emulator.sign("Fabrikam", &good_header(stack), &claims).unwrap()
}

/// A good token but for one change of its header, signed with Fabrikam's key.
pub(crate) fn with_header(stack: &Stack, change: impl FnOnce(&mut Value)) -> String {
    let mut header = good_header(stack);
    change(&mut header);
    stack.emulator.sign("Fabrikam", &header, &good_claims(stack)).unwrap()
}

/// Sets a member, or takes it out with null.
pub(crate) fn change(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

/// Three parts, the signature as it is given.
pub(crate) fn assemble(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}.{}", b64(header), b64(payload), b64(signature))
}

/// A key pair of one's own.
pub(crate) struct Key(KeyPair);

impl Key {
    pub(crate) fn generate() -> Self {
        Self(KeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// Signs header and payload texts as they are, whatever is in them.
    pub(crate) fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.sign_as(&RSA_PKCS1_SHA256, header, payload)
    }

    pub(crate) fn sign_as(
        &self,
        algorithm: &'static dyn RsaEncoding,
        header: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
    ) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(algorithm, &random, signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", b64(signature))
    }

    /// The public half as a JWK.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        // RSAPublicKey (RFC 8017 A.1.1) of a 2048-bit key: the modulus stands at a fixed place.
        let der = self.0.public_key().as_ref();
        json!({"kty": "RSA", "use": "sig", "kid": kid, "n": b64(&der[9..265]), "e": "AQAB"})
    }

    /// The public half as PEM.
    pub(crate) fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der.as_ref())
        )
    }
}
