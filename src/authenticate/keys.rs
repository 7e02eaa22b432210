//! What a tenant publishes about its tokens, as pure rules: discovery documents and key sets.
//!
//! Discovery: OpenID Connect Discovery 1.0; key sets: RFC 7517; Microsoft's own members (`issuer` on a key):
//! the Microsoft identity platform's page on signing key rollover.

mod withdrawal;

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use url::Url;

use self::withdrawal::Key;
use super::authority::Authority;
use base::ids::TenantId;
use base::untrusted::Untrusted;

/// Keys shorter than this verify nothing (NIST SP 800-131A; Entra's own have 2048).
const MIN_RSA_BITS: usize = 2048;
/// The most that the signature code takes; a longer key could only fail later.
const MAX_RSA_BITS: usize = 8192;

/// Why what Entra served was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeysError {
    #[error("not the JSON expected of a {0}")]
    Json(&'static str),
    #[error("issuer `{0}` does not contain the tenant's id")]
    ForeignIssuer(Untrusted),
    #[error("jwks_uri `{0}` does not share the authority's origin")]
    ForeignKeySet(Untrusted),
    #[error("the key set holds no usable key")]
    NoUsableKey,
}

/// The part of a discovery document that is used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Discovery {
    pub(super) issuer: Box<str>,
    pub(super) jwks_uri: Option<Url>,
    /// Keys are of use without it: a fault here is no fault of the document.
    pub(super) token_endpoint: Result<Url, NoTokenEndpoint>,
}

/// Why a discovery document gives no address for token requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTokenEndpoint {
    #[error("the discovery document names no token_endpoint")]
    Missing,
    #[error("token_endpoint `{0}` does not share the authority's origin")]
    Foreign(Untrusted),
}

impl Discovery {
    /// Reads a tenant's discovery document. Its issuer must contain the tenant's id, and a key set that it names
    /// must share the authority's origin: nothing that is served may lead elsewhere.
    pub(super) fn read(body: &[u8], tenant: TenantId, authority: &Authority) -> Result<Self, KeysError> {
        #[derive(Deserialize)]
        struct Document {
            issuer: String,
            jwks_uri: Option<String>,
            // Of whatever type: one that is no text is none.
            #[serde(default)]
            token_endpoint: serde_json::Value,
        }
        let document: Document = serde_json::from_slice(body).map_err(|_| KeysError::Json("discovery document"))?;
        if !document.issuer.to_ascii_lowercase().contains(&tenant.to_string()) {
            return Err(KeysError::ForeignIssuer(Untrusted::new(&document.issuer)));
        }
        let jwks_uri = document
            .jwks_uri
            .map(|text| {
                authority
                    .address(&text, tenant)
                    .ok_or_else(|| KeysError::ForeignKeySet(Untrusted::new(&text)))
            })
            .transpose()?;
        let token_endpoint = match document.token_endpoint.as_str() {
            Some(text) => authority
                .address(text, tenant)
                .ok_or_else(|| NoTokenEndpoint::Foreign(Untrusted::new(text))),
            None => Err(NoTokenEndpoint::Missing),
        };
        Ok(Self {
            issuer: document.issuer.into(),
            jwks_uri,
            token_endpoint,
        })
    }
}

/// The keys and issuers of one tenant, as of one good fetch.
pub(super) struct TenantKeys {
    issuers: Vec<Box<str>>,
    token_endpoint: Option<Url>,
    keys: HashMap<Box<str>, Key>,
    // Ids that the set names, but not for a usable key: no key from before may stand in for these.
    unusable: HashSet<Box<str>>,
}

impl TenantKeys {
    /// Reads the tenant's key set. Keys that share a `kid`, are too short, are not for RS256 signatures, or
    /// belong to an issuer that is not this tenant's are left out.
    pub(super) fn read(body: &[u8], tenant: TenantId, issuers: Vec<Box<str>>) -> Result<Self, KeysError> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<serde_json::Value>,
        }
        let set: KeySet = serde_json::from_slice(body).map_err(|_| KeysError::Json("key set"))?;
        let mut keys: HashMap<Box<str>, Option<DecodingKey>> = HashMap::new();
        for entry in set.keys {
            let Some(kid) = entry.get("kid").and_then(serde_json::Value::as_str).map(Box::from) else {
                continue;
            };
            let key = serde_json::from_value(entry)
                .ok()
                .and_then(|jwk: Jwk| jwk.usable(tenant, &issuers));
            keys.entry(kid).and_modify(|shared| *shared = None).or_insert(key);
        }
        let mut usable = HashMap::new();
        let mut unusable = HashSet::new();
        for (kid, key) in keys {
            if let Some(key) = key {
                let key = Key::published(&kid, key);
                usable.insert(kid, key);
            } else {
                unusable.insert(kid);
            }
        }
        if usable.is_empty() {
            return Err(KeysError::NoUsableKey);
        }
        Ok(Self {
            issuers,
            token_endpoint: None,
            keys: usable,
            unusable,
        })
    }

    /// The same with the address for token requests that the discovery document named.
    pub(super) fn with_token_endpoint(self, token_endpoint: Option<Url>) -> Self {
        Self { token_endpoint, ..self }
    }

    /// The same with the issuer of a v1 document that was not asked for with success this time.
    pub(super) fn with_v1_issuer(mut self, issuer: &str) -> Self {
        if self.v1_issuer().is_none() {
            self.issuers.insert(0, issuer.into());
        }
        self
    }

    /// Where tokens are asked for, if that is known.
    pub(super) fn token_endpoint(&self) -> Option<&Url> {
        self.token_endpoint.as_ref()
    }

    /// The issuers whose tokens the keys verify: those of the v1 and the v2 discovery document, as far as there are
    /// both.
    pub(super) fn issuers(&self) -> &[Box<str>] {
        &self.issuers
    }

    /// The issuer of the v1 document, if it is known; the v2 document's is last.
    pub(super) fn v1_issuer(&self) -> Option<&str> {
        match self.issuers.as_slice() {
            [v1, _] => Some(v1),
            _ => None,
        }
    }
}

/// RFC 7517 section 4 and RFC 7518 section 6.3, with Microsoft's `issuer`. `x5c` and `x5t` are not used.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: String,
    e: String,
    issuer: Option<String>,
}

impl Jwk {
    fn usable(&self, tenant: TenantId, issuers: &[Box<str>]) -> Option<DecodingKey> {
        let for_signatures = self.kty == "RSA"
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            // RFC 7517 section 4.3: what the key is for, where its owner says so.
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && self.alg.as_deref().is_none_or(|algorithm| algorithm == "RS256");
        // A v2 key set names a v2 issuer on keys that sign v1 tokens too: any issuer of this tenant will do.
        let of_this_tenant = self.issuer.as_deref().is_none_or(|issuer| {
            let issuer = issuer.replace("{tenantid}", &tenant.to_string());
            issuers.iter().any(|own| own.eq_ignore_ascii_case(&issuer))
        });
        let modulus = URL_SAFE_NO_PAD.decode(&self.n).ok()?;
        let exponent = URL_SAFE_NO_PAD.decode(&self.e).ok()?;
        let odd_exponent = exponent.last().is_some_and(|last| last % 2 == 1) && exponent != [1];
        (for_signatures && of_this_tenant && odd_exponent && (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(&modulus)))
            .then(|| DecodingKey::from_rsa_components(&self.n, &self.e).ok())?
    }
}

fn bits(number: &[u8]) -> usize {
    match number.iter().position(|byte| *byte != 0) {
        Some(first) => (number.len() - first) * 8 - number[first].leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const TENANT: &str = "11111111-0000-4000-8000-00000000abcd";

    fn tenant() -> TenantId {
        TENANT.parse().unwrap()
    }

    fn modulus(bytes: usize, first: u8) -> String {
        let mut modulus = vec![0xA5; bytes];
        modulus[0] = first;
        URL_SAFE_NO_PAD.encode(modulus)
    }

    fn key(changes: &Value) -> Value {
        let mut key = json!({"kid": "k1", "kty": "RSA", "use": "sig", "n": modulus(256, 0x80), "e": "AQAB"});
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn read(keys: &[Value]) -> Result<TenantKeys, KeysError> {
        let issuers = vec![
            format!("https://sts.example/{TENANT}/").into(),
            format!("https://login.example/{TENANT}/v2.0").into(),
        ];
        TenantKeys::read(json!({ "keys": keys }).to_string().as_bytes(), tenant(), issuers)
    }

    #[test]
    fn discovery_must_be_of_the_tenant_and_stay_at_the_authority() {
        let authority = Authority::common(Url::parse("https://login.example").unwrap());
        let read = |document: Value| Discovery::read(document.to_string().as_bytes(), tenant(), &authority);
        let issuer = format!("https://login.example/{TENANT}/v2.0");
        assert!(read(json!({"issuer": issuer, "jwks_uri": "https://login.example/keys"})).is_ok());
        assert!(read(json!({"issuer": issuer.to_uppercase()})).is_ok());
        for foreign in [
            "https://evil.example/keys",
            "http://login.example/keys",
            "https://login.example:444/keys",
            "https://login.example@evil.example/keys",
            "https://u:p@login.example/keys",
            "/keys",
            "",
        ] {
            assert_eq!(
                read(json!({"issuer": issuer, "jwks_uri": foreign})),
                Err(KeysError::ForeignKeySet(Untrusted::new(foreign)))
            );
        }
        let other = "https://login.example/11111111-0000-4000-8000-00000000ffff/v2.0";
        assert_eq!(
            read(json!({"issuer": other})),
            Err(KeysError::ForeignIssuer(Untrusted::new(other)))
        );
        assert_eq!(read(json!({})), Err(KeysError::Json("discovery document")));
    }

    #[test]
    fn a_token_endpoint_stays_at_the_authority_or_is_none_at_all() {
        let authority = Authority::common(Url::parse("https://login.example").unwrap());
        let read = |token_endpoint: Value| {
            let document = json!({"issuer": format!("https://login.example/{TENANT}/v2.0"),
                "jwks_uri": "https://login.example/keys", "token_endpoint": token_endpoint});
            let discovery = Discovery::read(document.to_string().as_bytes(), tenant(), &authority).unwrap();
            assert!(discovery.jwks_uri.is_some());
            discovery.token_endpoint
        };
        let good = format!("https://login.example/{TENANT}/oauth2/v2.0/token");
        assert_eq!(read(json!(good)), Ok(Url::parse(&good).unwrap()));
        for foreign in [
            "https://evil.example/token",
            "http://login.example/token",
            "https://login.example:444/token",
            "https://login.example@evil.example/token",
            "https://u:p@login.example/token",
            "/token",
            "",
        ] {
            let fault = NoTokenEndpoint::Foreign(Untrusted::new(foreign));
            assert_eq!(read(json!(foreign)), Err(fault));
        }
        for none in [json!(null), json!(5), json!({})] {
            assert_eq!(read(none), Err(NoTokenEndpoint::Missing));
        }
    }

    #[test]
    fn only_usable_keys_count() {
        for good in [
            json!({}),
            json!({"use": null}),
            json!({"key_ops": null}),
            json!({"key_ops": ["verify"]}),
            json!({"key_ops": ["sign", "verify"]}),
            json!({"use": null, "key_ops": ["verify"]}),
            json!({"alg": "RS256"}),
            json!({"issuer": format!("https://login.example/{TENANT}/v2.0")}),
            json!({"issuer": "https://login.example/{tenantid}/v2.0"}),
            json!({"issuer": "https://sts.example/{tenantid}/"}),
            json!({"n": modulus(512, 0xFF)}),
            json!({"e": "Aw"}),
        ] {
            assert!(read(&[key(&good)]).is_ok(), "{good}");
        }
        for bad in [
            json!({"kid": null}),
            json!({"kty": "EC"}),
            json!({"use": "enc"}),
            json!({"key_ops": []}),
            json!({"key_ops": ["encrypt"]}),
            json!({"key_ops": ["sign"]}),
            json!({"key_ops": ["Verify"]}),
            json!({"key_ops": "verify"}),
            json!({"key_ops": [1]}),
            json!({"use": "enc", "key_ops": ["verify"]}),
            json!({"use": null, "key_ops": ["wrapKey", "unwrapKey"]}),
            json!({"alg": "HS256"}),
            json!({"alg": "PS256"}),
            json!({"issuer": "https://login.example/11111111-0000-4000-8000-00000000ffff/v2.0"}),
            json!({"issuer": ""}),
            json!({"n": modulus(128, 0xFF)}),
            json!({"n": modulus(256, 0x7F)}),
            json!({"n": modulus(257, 0x00).replace("AKWl", "AAAA")}),
            json!({"n": modulus(2048, 0xFF)}),
            json!({"n": "***"}),
            json!({"n": ""}),
            json!({"e": "AQ"}),
            json!({"e": "AAAA"}),
            json!({"e": ""}),
            json!({"e": 65537}),
        ] {
            assert_eq!(read(&[key(&bad)]).err(), Some(KeysError::NoUsableKey), "{bad}");
        }
        assert_eq!(read(&[]).err(), Some(KeysError::NoUsableKey));
    }

    #[test]
    fn keys_that_share_a_name_are_all_dropped() {
        let other = key(&json!({"n": modulus(256, 0xFF)}));
        assert_eq!(
            read(&[key(&json!({})), other.clone()]).err(),
            Some(KeysError::NoUsableKey)
        );
        // One of the two being unusable by itself does not rescue the other.
        let short = key(&json!({"n": "AQAB"}));
        assert_eq!(read(&[key(&json!({})), short]).err(), Some(KeysError::NoUsableKey));
        let keys = read(&[key(&json!({})), other, key(&json!({"kid": "k2"}))]).unwrap();
        assert!(keys.get("k1", Duration::ZERO).is_none());
        assert!(keys.get("k2", Duration::ZERO).is_some());
        assert_eq!(keys.len(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_documents_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let authority = Authority::common(Url::parse("https://login.example").unwrap());
            let _ = Discovery::read(&body, tenant(), &authority);
            let _ = TenantKeys::read(&body, tenant(), vec!["a".into(), "b".into()]);
        }
    }
}
