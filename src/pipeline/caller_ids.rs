//! A verified caller's ids, as the operator sees them.

use std::fmt;

use crate::authenticate::Caller;
use base::ids::{ClientAppId, ObjectId, TenantId};
use telemetry::{UserName, UserNames};

/// A verified caller's ids. However it is shown, the user is named as `telemetry.user_ids` says.
#[derive(Clone)]
pub struct CallerIds {
    tenant: TenantId,
    object_id: ObjectId,
    client_app: ClientAppId,
    // Few callers are ever shown, and a hash costs more than keeping the rule.
    users: UserNames,
}

impl CallerIds {
    pub(super) fn new(caller: &Caller, users: &UserNames) -> Self {
        Self {
            tenant: caller.tenant(),
            object_id: caller.object_id(),
            client_app: caller.client_app(),
            users: users.clone(),
        }
    }

    /// The caller's tenant.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The caller's client app.
    #[must_use]
    pub fn client_app(&self) -> ClientAppId {
        self.client_app
    }

    /// The user, as telemetry may name them.
    #[must_use]
    pub fn user(&self) -> UserName {
        self.users.name(self.tenant, self.object_id)
    }

    /// `text`, with the user's id as telemetry may show it: an upstream may have quoted it.
    pub(super) fn without_user_id(&self, text: &impl fmt::Display) -> String {
        self.user().in_place_of(self.object_id, text.to_string())
    }
}

impl fmt::Display for CallerIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of tenant {} with client app {}",
            self.user(),
            self.tenant,
            self.client_app
        )
    }
}

impl fmt::Debug for CallerIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerIds({self})")
    }
}

#[cfg(test)]
impl CallerIds {
    pub(crate) fn for_test() -> Self {
        let id = "11111111-0000-4000-8000-000000000001";
        let users = UserNames::new(config::UserIds::Plain, None);
        let (Ok(tenant), Ok(object_id), Ok(client_app), Ok(users)) = (id.parse(), id.parse(), id.parse(), users) else {
            unreachable!("a GUID");
        };
        Self {
            tenant,
            object_id,
            client_app,
            users,
        }
    }
}
