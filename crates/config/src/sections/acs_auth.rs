//! How the broker shows ACS who asks, wherever it asks in its own name.

use super::app::{self, CredentialKind};
use super::{Context, client_id, tenant_id};
use crate::reader::Field;
use crate::section::Section;
use crate::{AcsAuthConfig, AppConfig, validate};

/// Reads the access key or the credential; one of them is required where `needed`.
pub(super) fn acs_auth(section: &mut Section<'_, '_>, context: Context<'_>, needed: bool) -> Option<AcsAuthConfig> {
    let access_key = app::secret(section, "access_key", context, validate::access_key);
    let client_id = section.field("client_id", client_id);
    let tenant_id = section.field("tenant_id", tenant_id);
    let credential = app::fields(section, context, None);
    let has_credential = section.was_given("credential");
    // What was there and is no good has been reported already.
    let has_key = section.was_given("access_key") || section.was_given("access_key_file");
    match (access_key, credential.kind) {
        (Some(_), Some(_)) => {
            section.problem("access_key", "is set beside credential; set one of them");
            None
        }
        (Some(key), None) => Some(AcsAuthConfig::AccessKey(key)),
        (None, Some(CredentialKind::ManagedIdentity)) if matches!(client_id, Field::Absent) => {
            Some(AcsAuthConfig::ManagedIdentity {
                client_id: credential.managed_identity_client_id,
            })
        }
        (None, Some(_)) => {
            for (key, absent) in [
                ("client_id", matches!(client_id, Field::Absent)),
                ("tenant_id", matches!(tenant_id, Field::Absent)),
            ] {
                if absent {
                    section.missing(key, "is required beside credential");
                }
            }
            let credential = credential.chosen(section);
            Some(AcsAuthConfig::App {
                tenant_id: tenant_id.given()?,
                app: AppConfig {
                    client_id: client_id.given()?,
                    credential: credential?,
                },
            })
        }
        (None, None) => {
            if needed && !has_credential && !has_key {
                section.missing("access_key", "or access_key_file or credential is required");
            }
            None
        }
    }
}
