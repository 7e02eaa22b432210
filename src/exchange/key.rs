//! Which two exchanges are the same.

use std::sync::Arc;

use crate::authorize::Permit;
use crate::cache::Weigh;
use crate::ids::{ClientAppId, ObjectId, Scopes, TenantId};

/// Who asks, for what, where: nothing that two callers could share. Made only from a [`Permit`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExchangeKey {
    tenant: TenantId,
    object_id: ObjectId,
    client_app: ClientAppId,
    scopes: Scopes,
    endpoint: Arc<str>,
}

impl ExchangeKey {
    /// The key of an exchange for `permit` at `endpoint`.
    #[must_use]
    pub fn new(permit: &Permit, endpoint: &Arc<str>) -> Self {
        let caller = permit.caller();
        Self {
            tenant: caller.tenant(),
            object_id: caller.object_id(),
            client_app: caller.client_app(),
            scopes: caller.scopes().clone(),
            endpoint: Arc::clone(endpoint),
        }
    }
}

impl Weigh for ExchangeKey {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.scopes.bytes()
    }
}
