//! Bounded reading of a token nobody has verified yet.
//!
//! [`UnverifiedToken`] gives away only what is needed to find the key (`alg`, `kid`, `tid`). The claims come out
//! of [`UnverifiedToken::verify`], after the signature has been checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::claims::SignedClaims;
use super::rejection::{Malformed, Rejection};
use base::document::{self, Limits, Members, Node};
use base::secret::BearerToken;

/// The longest token read. Entra's own stay far below: 200 groups make about 10 KiB.
pub const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// What a header or a payload may hold: Entra's have a few dozen members, and list 200 groups at most.
pub(super) const LIMITS: Limits = Limits {
    members: 256,
    elements: 1024,
};

/// A well-formed token whose signature has not been checked.
pub(super) struct UnverifiedToken<'t> {
    signing_input: &'t str,
    signature: &'t str,
    algorithm: String,
    kid: Option<String>,
    claims: SignedClaims,
}

impl<'t> UnverifiedToken<'t> {
    /// Splits and decodes `token` (RFC 7515 section 3.1, compact form with three parts).
    ///
    /// # Errors
    /// [`Rejection::Malformed`]; [`Rejection::MissingClaim`] without `tid`; [`Rejection::NoKeyId`] without `kid`.
    pub(super) fn parse(token: &'t BearerToken) -> Result<Self, Rejection> {
        let read = Self::read(token)?;
        if read.claims.tid.is_none() {
            return Err(Rejection::MissingClaim("tid"));
        }
        if read.kid.is_none() {
            return Err(Rejection::NoKeyId);
        }
        Ok(read)
    }

    /// The same for a token that may name no tenant and no key.
    ///
    /// # Errors
    /// [`Rejection::Malformed`].
    pub(super) fn read(token: &'t BearerToken) -> Result<Self, Rejection> {
        let token = token.expose();
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::Malformed(Malformed::TooLong(MAX_TOKEN_BYTES)));
        }
        let (signing_input, header, payload, signature) = split(token).map_err(Rejection::Malformed)?;
        let header = Header::from_members(members("header", &decode("header", header)?)?);
        let claims = SignedClaims::from_members(members("payload", &decode("payload", payload)?)?);
        // An empty signature is well-formed; it goes with `alg: none`, which is refused by name later.
        decode("signature", signature)?;
        let header = header.checked().map_err(Rejection::Malformed)?;
        let claims = claims.checked().map_err(Rejection::Malformed)?;
        Ok(Self {
            signing_input,
            signature,
            algorithm: header.algorithm,
            kid: header.kid,
            claims,
        })
    }

    /// `alg`
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The key that the token says it was signed with.
    pub(super) fn kid(&self) -> &str {
        self.kid.as_deref().unwrap_or_default()
    }

    /// The tenant that the token says it is of.
    pub(super) fn tid(&self) -> &str {
        self.claims.tid.as_deref().unwrap_or_default()
    }

    /// Whether it names a tenant at all.
    pub(super) fn has_tid(&self) -> bool {
        self.claims.tid.is_some()
    }

    /// Whether it names a key at all.
    pub(super) fn has_kid(&self) -> bool {
        self.kid.is_some()
    }

    /// The claims, if the signature verifies under `key` with RS256. The token's own `alg` picks nothing.
    pub(super) fn verify(self, key: &DecodingKey) -> Option<SignedClaims> {
        jsonwebtoken::crypto::verify(self.signature, self.signing_input.as_bytes(), key, Algorithm::RS256)
            .is_ok_and(|verified| verified)
            .then_some(self.claims)
    }

    /// The claims, as if the signature had verified.
    #[cfg(fuzzing)]
    pub(super) fn trusted(self) -> SignedClaims {
        self.claims
    }
}

fn split(token: &str) -> Result<(&str, &str, &str, &str), Malformed> {
    let (signing_input, signature) = token.rsplit_once('.').ok_or(Malformed::Parts)?;
    let (header, payload) = signing_input.split_once('.').ok_or(Malformed::Parts)?;
    // A JWE has five parts.
    if payload.contains('.') || header.is_empty() || payload.is_empty() {
        return Err(Malformed::Parts);
    }
    Ok((signing_input, header, payload, signature))
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Rejection::Malformed(Malformed::Base64(part)))
}

/// Reads a part as what RFC 7519 section 7.2 wants it to be.
fn members<'t>(part: &'static str, text: &'t [u8]) -> Result<Members<'t>, Rejection> {
    document::read_object(text, LIMITS).map_err(|reason| Rejection::Malformed(Malformed::Json { part, reason }))
}

/// What is used of a header.
struct CheckedHeader {
    algorithm: String,
    kid: Option<String>,
}

/// What a header says of it, and the first parameter that is of another type than its definition says.
#[derive(Default)]
struct Header {
    algorithm: Option<String>,
    kid: Option<String>,
    critical: bool,
    mistyped: Option<&'static str>,
}

impl Header {
    fn from_members(members: Members<'_>) -> Self {
        let mut header = Self::default();
        for (name, value) in members {
            match &*name {
                "alg" => header.algorithm = header.text("alg", value),
                "kid" => header.kid = header.text("kid", value),
                "typ" => drop(header.text("typ", value)),
                "crit" => header.critical = true,
                _ => {}
            }
        }
        header
    }

    fn checked(self) -> Result<CheckedHeader, Malformed> {
        if self.critical {
            return Err(Malformed::Critical);
        }
        if let Some(name) = self.mistyped {
            return Err(Malformed::Mistyped(name));
        }
        Ok(CheckedHeader {
            // Required of every JWS (RFC 7515 section 4.1.1).
            algorithm: self.algorithm.ok_or(Malformed::NoAlgorithm)?,
            kid: self.kid,
        })
    }

    fn text(&mut self, name: &'static str, value: Node<'_>) -> Option<String> {
        if let Node::Text(text) = value {
            return Some(text.into_owned());
        }
        self.mistyped.get_or_insert(name);
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use base::document::JsonFault;

    fn token(header: &str, payload: &str) -> BearerToken {
        BearerToken::new(format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        ))
    }

    fn outcome(token: &BearerToken) -> Result<(), Rejection> {
        UnverifiedToken::parse(token).map(|_| ())
    }

    #[test]
    fn each_malformed_token_has_its_own_reason() {
        let malformed = |m| Err(Rejection::Malformed(m));
        for (text, expected) in [
            ("", malformed(Malformed::Parts)),
            ("abc", malformed(Malformed::Parts)),
            ("a.b", malformed(Malformed::Parts)),
            ("a.b.c.d.e", malformed(Malformed::Parts)),
            ("..", malformed(Malformed::Parts)),
            ("!!.e30.", malformed(Malformed::Base64("header"))),
            ("e30=.e30.", malformed(Malformed::Base64("header"))),
            ("e30.e30=.", malformed(Malformed::Base64("payload"))),
            ("e30.e30.*", malformed(Malformed::Base64("signature"))),
            ("e31.e30.", malformed(Malformed::Base64("header"))),
            (
                "W10.e30.",
                malformed(Malformed::Json {
                    part: "header",
                    reason: JsonFault::NotAnObject,
                }),
            ),
        ] {
            assert_eq!(outcome(&BearerToken::new(text)), expected, "{text:?}");
        }
        let long = BearerToken::new("a".repeat(MAX_TOKEN_BYTES + 1));
        assert_eq!(outcome(&long), malformed(Malformed::TooLong(MAX_TOKEN_BYTES)));
    }

    #[test]
    fn header_rules_come_in_their_order() {
        let payload = r#"{"tid":"t"}"#;
        for (header, payload, expected) in [
            (r#"{"alg":"RS256","kid":"k"}"#, payload, Ok(())),
            (r#"{"alg":"none","kid":"k"}"#, payload, Ok(())),
            (
                r#"{"kid":"k"}"#,
                payload,
                Err(Rejection::Malformed(Malformed::NoAlgorithm)),
            ),
            (
                r#"{"alg":"RS256","kid":"k","crit":["exp"]}"#,
                payload,
                Err(Rejection::Malformed(Malformed::Critical)),
            ),
            (
                r#"{"alg":1,"kid":"k"}"#,
                payload,
                Err(Rejection::Malformed(Malformed::Mistyped("alg"))),
            ),
            (
                r#"{"alg":"RS256","kid":["k"]}"#,
                payload,
                Err(Rejection::Malformed(Malformed::Mistyped("kid"))),
            ),
            (r#"{"alg":"RS256"}"#, payload, Err(Rejection::NoKeyId)),
            (r#"{"alg":"RS256"}"#, "{}", Err(Rejection::MissingClaim("tid"))),
            (
                r#"{"alg":"RS256","kid":"k"}"#,
                r#"{"tid":"t","tid":"u"}"#,
                Err(Rejection::Malformed(Malformed::Json {
                    part: "payload",
                    reason: JsonFault::DuplicateMember,
                })),
            ),
        ] {
            assert_eq!(outcome(&token(header, payload)), expected, "{header} {payload}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = outcome(&BearerToken::new(text));
        }

        #[test]
        fn arbitrary_json_never_panics(header in ".{0,60}", payload in ".{0,60}") {
            let _ = outcome(&token(&header, &payload));
        }
    }
}
