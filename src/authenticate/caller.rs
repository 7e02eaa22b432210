//! Who asks: the proof that a token was verified.

use std::sync::Arc;

use jiff::Timestamp;

use super::known::InCommon;
use base::ids::{ClientAppId, ObjectId, Scopes, TenantId};
use config::Addressee;

/// A caller whose token passed every check. Made only in this room. Clones share what the token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(Arc<Accepted>);

/// What an accepted token says of its caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) principal: Principal,
    pub(super) scopes: Scopes,
    pub(super) token_expires_on: Timestamp,
    pub(super) audience: Arc<str>,
    pub(super) addressee: Addressee,
}

impl From<Accepted> for Caller {
    fn from(accepted: Accepted) -> Self {
        Self(Arc::new(accepted))
    }
}

/// Who a token is of, through which app: what assignments are matched by. It proves nothing; a [`Caller`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// `tid`
    pub tenant: TenantId,
    /// `oid`
    pub object_id: ObjectId,
    /// `azp` or `appid`
    pub client_app: ClientAppId,
    /// `groups`
    pub groups: Groups,
    /// Whether the token lists groups by something else than their ids: which they are is not known.
    pub groups_by_name: bool,
}

/// What a token says of its user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// All of them.
    Known(Vec<ObjectId>),
    /// At most some of them: the claim is absent, or stands beside an overage marker.
    /// Absent groups mean unknown, never "in no group".
    Unknown {
        /// Those that the token lists all the same.
        listed: Vec<ObjectId>,
    },
}

impl Groups {
    /// The groups that the token lists.
    #[must_use]
    pub fn listed(&self) -> &[ObjectId] {
        match self {
            Self::Known(listed) | Self::Unknown { listed } => listed,
        }
    }
}

impl Caller {
    /// The same caller, with one copy of what others have too.
    pub(super) fn sharing(mut self, common: &InCommon) -> Self {
        if let Some(accepted) = Arc::get_mut(&mut self.0) {
            accepted.scopes = common.scopes.shared(&accepted.scopes);
            accepted.audience = common.audiences.shared(&accepted.audience);
        }
        self
    }

    /// Bytes held, roughly. What others share counts too: whoever has more than a few sets of scopes has them alone.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Accepted>() + size_of_val(self.groups().listed()) + self.0.scopes.bytes() + self.0.audience.len()
    }

    /// Who the token is of.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// `tid`
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.0.principal.tenant
    }

    /// `oid`
    #[must_use]
    pub fn object_id(&self) -> ObjectId {
        self.0.principal.object_id
    }

    /// `azp` or `appid`
    #[must_use]
    pub fn client_app(&self) -> ClientAppId {
        self.0.principal.client_app
    }

    /// `scp`
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// `groups`
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.0.principal.groups
    }

    /// `exp`
    #[must_use]
    pub fn token_expires_on(&self) -> Timestamp {
        self.0.token_expires_on
    }

    /// `aud` as text: all of it, in one way of writing.
    #[must_use]
    pub fn audience(&self) -> &Arc<str> {
        &self.0.audience
    }

    /// Who the token is for, by `aud`.
    #[must_use]
    pub fn addressee(&self) -> Addressee {
        self.0.addressee
    }
}

#[cfg(test)]
impl Caller {
    /// A caller as a verified token would make it, for the tests of later stages.
    pub(crate) fn for_test(tenant: TenantId, object_id: ObjectId, client_app: ClientAppId, groups: Groups) -> Self {
        Self::from(Accepted {
            principal: Principal {
                tenant,
                object_id,
                client_app,
                groups,
                groups_by_name: false,
            },
            scopes: Scopes::parse("VoIP"),
            token_expires_on: Timestamp::MAX,
            audience: "2a04943b-b6a7-4f65-8786-2bb6131b59f6".into(),
            addressee: Addressee::AcsClients,
        })
    }
}
