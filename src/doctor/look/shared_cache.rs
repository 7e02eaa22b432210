//! The store that replicas share: a connection as the broker makes it, and the file of keys.

use std::sync::Arc;

use shared_cache::Unobserved;

use super::{CALL_LIMIT, Check, Looker};
use crate::broker::open_store;
use crate::doctor::rules;
use crate::doctor::rules::shared_cache::StoreLook;
use crate::shared::key_names;
use base::tasks::Tasks;
use config::{Config, SharedCacheConfig};

impl Looker<'_> {
    /// Connects once, if there is a store.
    pub(super) async fn store(&self) -> Option<StoreLook> {
        let config = self.config.shared_cache.as_ref()?;
        let keys = key_names(&config.encryption_keys_file);
        let tasks = Tasks::default();
        let settings = self.services.store_settings(self.config, config);
        let opened = settings.and_then(|settings| open_store(settings, &self.clock, Arc::new(Unobserved), &tasks));
        // What cannot be opened is found by `config.valid`.
        let status = match opened {
            Ok(store) => {
                let tried = tokio::time::timeout(CALL_LIMIT, store.tried()).await;
                tried.ok().map(|()| store.status())
            }
            Err(_) => None,
        };
        tasks.stop(CALL_LIMIT).await;
        Some(StoreLook { keys, status })
    }
}

/// The checks of the store, whatever was found.
pub(super) fn checks(config: &Config, look: Option<&StoreLook>) -> Vec<Check> {
    match (&config.shared_cache, look) {
        (Some(shared), Some(look)) => vec![
            rules::shared_cache::reachable(look.status.as_ref()),
            rules::shared_cache::keys(&shared.encryption_keys_file, &look.keys),
        ],
        _ => rules::shared_cache::absent().into(),
    }
}

/// Those that need no network.
pub(super) fn offline(shared: &SharedCacheConfig) -> Check {
    let keys = key_names(&shared.encryption_keys_file);
    rules::shared_cache::keys(&shared.encryption_keys_file, &keys)
}
