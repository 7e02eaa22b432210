//! How the broker shows ACS who asks, wherever it asks in its own name.

use super::app::{self, CredentialFields, CredentialKind};
use super::{Context, client_id, tenant_id};
use crate::reader::Field;
use crate::section::Section;
use crate::{AcsAuthConfig, AppConfig, ServiceIdentity, validate};
use base::ids::{ClientAppId, TenantId};

/// Reads the access key or the credential; one of them is required where `needed`.
pub(super) fn acs_auth(section: &mut Section<'_, '_>, context: Context<'_>, needed: bool) -> Option<AcsAuthConfig> {
    let access_key = app::secret(section, "access_key", context, validate::access_key);
    let identity = IdentityFields::read(section, context);
    let has_credential = section.was_given("credential");
    // What was there and is no good has been reported already.
    let has_key = section.was_given("access_key") || section.was_given("access_key_file");
    match (access_key, identity.credential.kind) {
        (Some(_), Some(_)) => {
            section.problem("access_key", "is set beside credential; set one of them");
            None
        }
        (Some(key), None) => Some(AcsAuthConfig::AccessKey(key)),
        (None, Some(kind)) => Some(AcsAuthConfig::Identity(identity.chosen(section, kind)?)),
        (None, None) => {
            if needed && !has_credential && !has_key {
                section.missing("access_key", "or access_key_file or credential is required");
            }
            None
        }
    }
}

/// What a section says of an identity of the broker's own.
pub(super) struct IdentityFields {
    client_id: Field<ClientAppId>,
    tenant_id: Field<TenantId>,
    pub(super) credential: CredentialFields,
}

impl IdentityFields {
    pub(super) fn read(section: &mut Section<'_, '_>, context: Context<'_>) -> Self {
        Self {
            client_id: section.field("client_id", client_id),
            tenant_id: section.field("tenant_id", tenant_id),
            credential: app::fields(section, context, None),
        }
    }

    /// The identity, by a credential of `kind`. A managed identity may stand for itself.
    pub(super) fn chosen(self, section: &mut Section<'_, '_>, kind: CredentialKind) -> Option<ServiceIdentity> {
        if kind == CredentialKind::ManagedIdentity && matches!(self.client_id, Field::Absent) {
            return Some(ServiceIdentity::ManagedIdentity {
                client_id: self.credential.managed_identity_client_id,
            });
        }
        for (key, absent) in [
            ("client_id", matches!(self.client_id, Field::Absent)),
            ("tenant_id", matches!(self.tenant_id, Field::Absent)),
        ] {
            if absent {
                section.missing(key, "is required beside credential");
            }
        }
        let credential = self.credential.chosen(section);
        Some(ServiceIdentity::App {
            tenant_id: self.tenant_id.given()?,
            app: AppConfig {
                client_id: self.client_id.given()?,
                credential: credential?,
            },
        })
    }
}
