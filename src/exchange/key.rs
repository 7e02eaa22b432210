//! Which two exchanges are the same, and what each of them is.

use std::sync::Arc;

use jiff::Timestamp;

use crate::authorize::Permit;
use crate::cache::Weigh;
use azure::acs::Operation;
use base::ids::{ClientAppId, ObjectId, Scopes, TenantId};
use base::secret::TokenDigest;
use config::IdentityScope;

/// Who asks, for what, where: nothing that two callers could share. Made only from a [`Permit`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExchangeKey {
    tenant: TenantId,
    object_id: ObjectId,
    // Where the outcome depends on it.
    client_app: Option<ClientAppId>,
    scopes: Scopes,
    // Where the token itself goes to ACS, which may read its audience: the whole `aud`, not only what is accepted here.
    audience: Option<Arc<str>>,
    // Where the outcome is this token's alone. Apart, so that the others need no room for it.
    presented: Option<Box<TokenDigest>>,
    operation: Option<Operation>,
    resource: Arc<str>,
}

/// What an exchange is about, as another replica would say it: no names and no places of this one's configuration.
#[derive(Debug)]
pub struct KeyFields<'k> {
    /// Whose tenant.
    pub tenant: TenantId,
    /// Who.
    pub user: ObjectId,
    /// Through which app, where the outcome depends on it.
    pub client_app: Option<ClientAppId>,
    /// With which scopes, sorted.
    pub scopes: String,
    /// For which audience, where the token itself goes to ACS.
    pub audience: Option<&'k str>,
    /// The operation at ACS, where there are several.
    pub operation: Option<&'static str>,
    /// The token, where the outcome is its alone.
    pub token: Option<TokenDigest>,
}

impl ExchangeKey {
    /// What it is about, beside the resource.
    #[must_use]
    pub fn fields(&self) -> KeyFields<'_> {
        KeyFields {
            tenant: self.tenant,
            user: self.object_id,
            client_app: self.client_app,
            scopes: self.scopes.to_string(),
            audience: self.audience.as_deref(),
            operation: self.operation.map(Operation::name),
            token: self.presented.as_deref().copied(),
        }
    }
}

impl Weigh for ExchangeKey {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.scopes.bytes() + self.audience.as_ref().map_or(0, |audience| audience.len())
    }
}

/// An exchange for a permitted caller, not yet carried out.
#[derive(Debug)]
pub struct ExchangePlan {
    permit: Permit,
    key: ExchangeKey,
    bounded_by: Option<Timestamp>,
}

impl ExchangePlan {
    /// The caller's token goes to ACS as it is: any token of theirs with the same scopes gets the same, until it expires.
    pub(super) fn passthrough(permit: Permit, operation: Operation, resource: &Arc<str>) -> Self {
        let caller = permit.caller();
        Self {
            key: ExchangeKey {
                tenant: caller.tenant(),
                object_id: caller.object_id(),
                client_app: Some(caller.client_app()),
                scopes: caller.scopes().clone(),
                audience: Some(Arc::clone(caller.audience())),
                presented: None,
                operation: Some(operation),
                resource: Arc::clone(resource),
            },
            bounded_by: Some(caller.token_expires_on()),
            permit,
        }
    }

    /// The user's token goes to ACS in a request of the broker's own; otherwise as in passthrough mode.
    pub(super) fn teams_user(permit: Permit, resource: &Arc<str>) -> Self {
        let mut plan = Self::passthrough(permit, Operation::TeamsExtension, resource);
        plan.key.operation = None;
        plan
    }

    /// Entra decides by the very token presented: a session with a stronger sign-in may get what a weaker one of the
    /// same user may not (conditional access). So the outcome is that token's alone. It has a lifetime of its own.
    pub(super) fn on_behalf_of(
        permit: Permit,
        operation: Operation,
        presented: TokenDigest,
        resource: &Arc<str>,
    ) -> Self {
        let mut plan = Self::passthrough(permit, operation, resource);
        plan.key.presented = Some(Box::new(presented));
        plan.bounded_by = None;
        plan
    }

    /// The identity is the user's, whatever token they present and through whichever app; what the token allows is
    /// part of the key. The broker chooses its lifetime.
    pub(super) fn identity(permit: Permit, scopes: &[IdentityScope], resource: &Arc<str>) -> Self {
        let caller = permit.caller();
        Self {
            key: ExchangeKey {
                tenant: caller.tenant(),
                object_id: caller.object_id(),
                client_app: None,
                scopes: scopes.iter().map(|scope| scope.name()).collect(),
                audience: None,
                presented: None,
                operation: None,
                resource: Arc::clone(resource),
            },
            bounded_by: None,
            permit,
        }
    }

    /// The key under which the outcome is cached.
    #[must_use]
    pub fn key(&self) -> &ExchangeKey {
        &self.key
    }

    /// When the presented token expires, if that bounds the lifetime of the ACS token.
    #[must_use]
    pub fn bounded_by(&self) -> Option<Timestamp> {
        self.bounded_by
    }

    /// Whose exchange it is.
    #[must_use]
    pub fn user(&self) -> (TenantId, ObjectId) {
        (self.key.tenant, self.key.object_id)
    }

    pub(super) fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The exchange operation, unless the broker asks in its own name.
    pub(super) fn operation(&self) -> Option<Operation> {
        self.key.operation
    }
}
