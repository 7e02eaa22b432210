//! The tokens of one resource in the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use shared_cache::{EntryId, Found, SharedCache, StoredValue};

use super::{Authorities, payload};
use crate::cache::shared::{Kept, Lease, Leased, SharedEntry, SharedTier};
use crate::exchange::{ExchangeKey, IssuedToken};

/// What entries of a resource have in common. The resource's name and its place in the configuration are no part of it: they
/// may differ between replicas during a rollout.
#[derive(Debug, Clone)]
pub struct TierSettings {
    /// Where users' tokens come from.
    pub authorities: Arc<Authorities>,
    /// The origin of the ACS endpoint.
    pub endpoint: String,
    /// `exchange.mode`
    pub mode: &'static str,
    /// The longest that an exchange takes: the length of a lease.
    pub timeout: Duration,
}

/// The store as the cache sees it for one resource.
pub struct ResourceTier {
    store: Arc<SharedCache>,
    settings: TierSettings,
}

impl ResourceTier {
    /// That of `settings` in `store`.
    #[must_use]
    pub fn new(store: Arc<SharedCache>, settings: TierSettings) -> Self {
        Self { store, settings }
    }

    fn id(&self, key: &ExchangeKey) -> EntryId {
        let settings = &self.settings;
        let about = key.fields();
        let mut fields: Vec<(&str, &[u8])> = vec![
            ("authority", settings.authorities.of(about.tenant).as_bytes()),
            ("endpoint", settings.endpoint.as_bytes()),
            ("mode", settings.mode.as_bytes()),
            ("tenant", about.tenant.as_bytes()),
            ("user", about.user.as_bytes()),
            ("scopes", about.scopes.as_bytes()),
        ];
        fields.extend(about.operation.map(|operation| ("operation", operation.as_bytes())));
        fields.extend(about.client_app.as_ref().map(|app| ("client_app", &app.as_bytes()[..])));
        fields.extend(about.audience.map(|audience| ("audience", audience.as_bytes())));
        fields.extend(about.token.as_ref().map(|digest| ("token", &digest.as_bytes()[..])));
        EntryId::new(&fields)
    }
}

impl SharedTier<ExchangeKey, IssuedToken> for ResourceTier {
    fn entry(&self, key: &ExchangeKey) -> Arc<dyn SharedEntry<IssuedToken>> {
        Arc::new(StoreEntry {
            store: Arc::clone(&self.store),
            id: self.id(key),
            lease: self.settings.timeout,
        })
    }
}

struct StoreEntry {
    store: Arc<SharedCache>,
    id: EntryId,
    lease: Duration,
}

impl SharedEntry<IssuedToken> for StoreEntry {
    fn get(&self) -> BoxFuture<'_, Option<Kept<IssuedToken>>> {
        Box::pin(async move {
            let Found::Value(value) = self.store.get(&self.id).await else {
                return None;
            };
            let token = payload::read(&value.payload, value.expires_on)?;
            Some(Kept {
                token: Arc::new(token),
                exchanged_at: value.exchanged_at,
            })
        })
    }

    fn put<'a>(&'a self, kept: &'a Kept<IssuedToken>, revalidated: bool) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let value = StoredValue {
                payload: payload::write(&kept.token),
                expires_on: kept.token.grant.expires_on,
                exchanged_at: kept.exchanged_at,
            };
            self.store.put(&self.id, &value, revalidated).await;
        })
    }

    fn delete(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.store.delete(&self.id))
    }

    fn lease(&self) -> BoxFuture<'_, Leased> {
        Box::pin(async move {
            match self.store.lease(&self.id, self.lease).await {
                shared_cache::Leased::Held(lease) => Leased::Held {
                    lease: Box::new(StoreLease { _lease: lease }),
                    length: self.lease,
                },
                shared_cache::Leased::Taken { remaining } => Leased::Taken(remaining),
                shared_cache::Leased::Away => Leased::Away,
            }
        })
    }
}

/// Released when it is dropped.
struct StoreLease {
    _lease: shared_cache::Lease,
}

impl Lease for StoreLease {}
