//! Signing keys per tenant, and their rotation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::emulator::jwt::{CryptoFailed, SigningKey};
use crate::emulator::world::lock;

/// The published keys of every tenant. Each tenant has keys of its own, unlike at Entra, where tenants share
/// them: a token signed for another tenant must not pass here by luck.
#[derive(Debug)]
pub(crate) struct KeyStore {
    tenants: BTreeMap<Uuid, Mutex<Vec<Arc<SigningKey>>>>,
}

impl KeyStore {
    /// One new key for each tenant.
    pub(crate) fn generate(tenants: impl IntoIterator<Item = Uuid>) -> Result<Self, CryptoFailed> {
        let tenants = tenants
            .into_iter()
            .map(|id| Ok((id, Mutex::new(vec![Arc::new(SigningKey::generate()?)]))))
            .collect::<Result<_, CryptoFailed>>()?;
        Ok(Self { tenants })
    }

    /// Every published key, oldest first; the last one signs. Empty for an unknown tenant.
    pub(crate) fn published(&self, tenant: Uuid) -> Vec<Arc<SigningKey>> {
        self.tenants
            .get(&tenant)
            .map(|keys| lock(keys).clone())
            .unwrap_or_default()
    }

    /// The key that signs now.
    pub(crate) fn current(&self, tenant: Uuid) -> Option<Arc<SigningKey>> {
        self.published(tenant).pop()
    }

    /// The published key with this id.
    pub(crate) fn find(&self, tenant: Uuid, kid: &str) -> Option<Arc<SigningKey>> {
        self.published(tenant).into_iter().find(|key| key.kid == kid)
    }

    /// Publishes a new key, which signs from now on; the old ones stay published. Gives the new key's id.
    pub(crate) fn rotate(&self, tenant: Uuid) -> Result<Option<String>, CryptoFailed> {
        let Some(keys) = self.tenants.get(&tenant) else {
            return Ok(None);
        };
        let key = Arc::new(SigningKey::generate()?);
        let kid = key.kid.clone();
        lock(keys).push(key);
        Ok(Some(kid))
    }

    /// Takes every key but the signing one out of the set.
    pub(crate) fn withdraw_old(&self, tenant: Uuid) {
        if let Some(keys) = self.tenants.get(&tenant) {
            let mut keys = lock(keys);
            let old = keys.len().saturating_sub(1);
            keys.drain(..old);
        }
    }

    /// The JSON Web Key Set. Only the v2 document names an issuer on each key, as at Entra. There is no
    /// certificate behind the keys, so `x5c` is left out.
    pub(crate) fn jwks(&self, tenant: Uuid, issuer: Option<&str>) -> Value {
        let keys: Vec<Value> = self
            .published(tenant)
            .iter()
            .filter_map(|key| {
                let (n, e) = key.modulus_and_exponent()?;
                let mut jwk = json!({
                    "kty": "RSA",
                    "use": "sig",
                    "kid": key.kid,
                    "x5t": key.kid,
                    "n": URL_SAFE_NO_PAD.encode(n),
                    "e": URL_SAFE_NO_PAD.encode(e),
                });
                if let Some(issuer) = issuer {
                    jwk["issuer"] = json!(issuer);
                }
                Some(jwk)
            })
            .collect();
        json!({ "keys": keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_publishes_both_and_signs_with_the_new() {
        let tenant = Uuid::from_u128(1);
        let store = KeyStore::generate([tenant]).unwrap();
        let old = store.current(tenant).unwrap().kid.clone();
        let new = store.rotate(tenant).unwrap().unwrap();
        assert_ne!(old, new);
        assert_eq!(store.current(tenant).unwrap().kid, new);
        assert!(store.find(tenant, &old).is_some());
        assert_eq!(store.jwks(tenant, None)["keys"].as_array().unwrap().len(), 2);
        store.withdraw_old(tenant);
        assert!(store.find(tenant, &old).is_none());
        assert_eq!(store.current(tenant).unwrap().kid, new);
    }

    #[test]
    fn only_the_v2_set_names_an_issuer() {
        let tenant = Uuid::from_u128(1);
        let store = KeyStore::generate([tenant]).unwrap();
        assert_eq!(store.jwks(tenant, Some("i"))["keys"][0]["issuer"], "i");
        assert!(store.jwks(tenant, None)["keys"][0].get("issuer").is_none());
        assert_eq!(store.jwks(Uuid::nil(), None)["keys"], json!([]));
        assert!(store.rotate(Uuid::nil()).unwrap().is_none());
    }
}
