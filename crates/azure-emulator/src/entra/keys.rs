//! Signing keys per tenant, and their rotation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::jwt::{CryptoFailed, SigningKey};
use crate::lock::lock;

/// Oldest first; the last one signs.
type Keys = Vec<Arc<SigningKey>>;

/// The published keys of every tenant. Each tenant has keys of its own, unlike at Entra, where tenants share
/// them: a token signed for another tenant must not pass here by luck.
#[derive(Debug)]
pub(crate) struct KeyStore {
    tenants: BTreeMap<Uuid, Mutex<Keys>>,
    /// Keys of apps that sign with keys of their own, by tenant and app.
    apps: Mutex<BTreeMap<(Uuid, Uuid), Keys>>,
}

impl KeyStore {
    /// One new key for each tenant.
    pub(crate) fn generate(tenants: impl IntoIterator<Item = Uuid>) -> Result<Self, CryptoFailed> {
        let tenants = tenants
            .into_iter()
            .map(|id| Ok((id, Mutex::new(vec![Arc::new(SigningKey::generate()?)]))))
            .collect::<Result<_, CryptoFailed>>()?;
        Ok(Self {
            tenants,
            apps: Mutex::default(),
        })
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

    /// Gives an app a key of its own in a tenant, with which its tokens are signed from now on. Gives the key's id.
    pub(crate) fn add_app_key(&self, tenant: Uuid, app: Uuid) -> Result<String, CryptoFailed> {
        let key = Arc::new(SigningKey::generate()?);
        let kid = key.kid.clone();
        lock(&self.apps).entry((tenant, app)).or_default().push(key);
        Ok(kid)
    }

    /// The keys that an app has of its own in a tenant, oldest first; the last one signs.
    pub(crate) fn of_app(&self, tenant: Uuid, app: Uuid) -> Vec<Arc<SigningKey>> {
        lock(&self.apps).get(&(tenant, app)).cloned().unwrap_or_default()
    }

    /// The key of an app's own with this id.
    pub(crate) fn find_of_app(&self, tenant: Uuid, app: Uuid, kid: &str) -> Option<Arc<SigningKey>> {
        self.of_app(tenant, app).into_iter().find(|key| key.kid == kid)
    }

    /// Takes all keys of its own from an app, whose tokens the tenant's key signs from now on.
    pub(crate) fn remove_app_keys(&self, app: Uuid) {
        lock(&self.apps).retain(|(_, owner), _| *owner != app);
    }

    /// The JSON Web Key Set of a tenant, or of an app there that has keys of its own: these are in no other set.
    /// Only the v2 document names an issuer on each key, as at Entra. There is no certificate behind the keys, so
    /// `x5c` is left out.
    pub(crate) fn jwks(&self, tenant: Uuid, app: Option<Uuid>, issuer: Option<&str>) -> Value {
        let of_app = app.map(|app| self.of_app(tenant, app)).unwrap_or_default();
        let published = if of_app.is_empty() {
            self.published(tenant)
        } else {
            of_app
        };
        let keys: Vec<Value> = published.iter().filter_map(|key| key.to_jwk(issuer)).collect();
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
        assert_eq!(store.jwks(tenant, None, None)["keys"].as_array().unwrap().len(), 2);
        store.withdraw_old(tenant);
        assert!(store.find(tenant, &old).is_none());
        assert_eq!(store.current(tenant).unwrap().kid, new);
    }

    #[test]
    fn an_apps_own_key_is_in_its_own_set_only() {
        let (tenant, app) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let store = KeyStore::generate([tenant]).unwrap();
        let shared = store.jwks(tenant, None, None);
        assert_eq!(store.jwks(tenant, Some(app), None), shared);
        let kid = store.add_app_key(tenant, app).unwrap();
        assert_eq!(store.jwks(tenant, None, None), shared);
        assert_eq!(store.jwks(tenant, Some(Uuid::nil()), None), shared);
        let own = store.jwks(tenant, Some(app), None);
        assert_eq!(
            (own["keys"].as_array().unwrap().len(), &own["keys"][0]["kid"]),
            (1, &json!(kid))
        );
        assert!(store.find(tenant, &kid).is_none() && store.find_of_app(tenant, app, &kid).is_some());
        store.remove_app_keys(app);
        assert_eq!(store.jwks(tenant, Some(app), None), shared);
    }

    #[test]
    fn only_the_v2_set_names_an_issuer() {
        let tenant = Uuid::from_u128(1);
        let store = KeyStore::generate([tenant]).unwrap();
        assert_eq!(store.jwks(tenant, None, Some("i"))["keys"][0]["issuer"], "i");
        assert!(store.jwks(tenant, None, None)["keys"][0].get("issuer").is_none());
        assert_eq!(store.jwks(Uuid::nil(), None, None)["keys"], json!([]));
        assert!(store.rotate(Uuid::nil()).unwrap().is_none());
    }
}
