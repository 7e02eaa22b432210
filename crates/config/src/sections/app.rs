//! An app registration and its credential, wherever one is set; and secrets.

use secrecy::SecretString;
use strum::VariantArray as _;

use super::{Context, client_id, file};
use crate::reader::Field;
use crate::section::Section;
use crate::value::{self, Raw};
use crate::{AppConfig, CredentialConfig, SecretSource};
use base::ids::ClientAppId;

/// The variable with which AKS's webhook names the file of the pod's federated token.
const FEDERATED_TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// `credential` by its name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub(super) enum CredentialKind {
    Secret,
    Certificate,
    WorkloadIdentity,
    ManagedIdentity,
}

impl CredentialKind {
    /// The settings that only this kind has.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Secret => &["client_secret", "client_secret_file"],
            Self::Certificate => &["certificate_file", "certificate_password", "certificate_password_file"],
            Self::WorkloadIdentity => &["federated_token_file"],
            Self::ManagedIdentity => &["managed_identity_client_id"],
        }
    }
}

/// What a section says of its credential, and the kind it chooses.
pub(super) struct CredentialFields {
    pub(super) kind: Option<CredentialKind>,
    secret: Option<SecretSource>,
    certificate_file: Option<std::path::PathBuf>,
    certificate_password: Option<SecretSource>,
    federated_token_file: Option<std::path::PathBuf>,
    pub(super) managed_identity_client_id: Option<ClientAppId>,
}

/// Reads `client_id` and the credential beside it, a secret by default; both are required where `needed`.
pub(super) fn app(section: &mut Section<'_, '_>, context: Context<'_>, needed: bool) -> Option<AppConfig> {
    let client_id = section.field("client_id", client_id);
    let fields = fields(section, context, needed.then_some(CredentialKind::Secret));
    if needed && matches!(client_id, Field::Absent) {
        section.missing("client_id", "is required");
    }
    let credential = fields.chosen(section);
    Some(AppConfig {
        client_id: client_id.given()?,
        credential: credential?,
    })
}

/// Reads every setting that a credential can have. `default` is the kind where none is set.
pub(super) fn fields(
    section: &mut Section<'_, '_>,
    context: Context<'_>,
    default: Option<CredentialKind>,
) -> CredentialFields {
    let file = |raw: Raw<'_>| file(raw, context.folder);
    let kind = match section.field("credential", value::choice) {
        Field::Absent => default,
        kind => kind.given(),
    };
    let fields = CredentialFields {
        kind,
        secret: secret(section, "client_secret", context, |_| Ok(())),
        certificate_file: section.field("certificate_file", file).given(),
        certificate_password: secret(section, "certificate_password", context, |_| Ok(())),
        federated_token_file: match section.field("federated_token_file", file) {
            Field::Absent if kind == Some(CredentialKind::WorkloadIdentity) => context
                .environment
                .get(FEDERATED_TOKEN_FILE)
                .map(std::path::PathBuf::from),
            field => field.given(),
        },
        managed_identity_client_id: section.field("managed_identity_client_id", client_id).given(),
    };
    if let Some(kind) = kind {
        for &owner in CredentialKind::VARIANTS.iter().filter(|owner| **owner != kind) {
            for key in owner.keys() {
                if section.was_given(key) {
                    let name: &str = owner.into();
                    section.problem(key, format!("belongs to credential = \"{name}\""));
                }
            }
        }
    }
    fields
}

impl CredentialFields {
    /// The credential that is chosen, with what it needs.
    pub(super) fn chosen(self, section: &mut Section<'_, '_>) -> Option<CredentialConfig> {
        match self.kind? {
            CredentialKind::Secret => required(
                section,
                self.secret,
                "client_secret",
                "or client_secret_file is required",
            )
            .map(CredentialConfig::Secret),
            CredentialKind::Certificate => Some(CredentialConfig::Certificate {
                file: required(section, self.certificate_file, "certificate_file", "is required")?,
                password: self.certificate_password,
            }),
            CredentialKind::WorkloadIdentity => Some(CredentialConfig::WorkloadIdentity {
                federated_token_file: required(
                    section,
                    self.federated_token_file,
                    "federated_token_file",
                    "is required, since AZURE_FEDERATED_TOKEN_FILE is not set",
                )?,
            }),
            CredentialKind::ManagedIdentity => Some(CredentialConfig::ManagedIdentity {
                client_id: self.managed_identity_client_id,
            }),
        }
    }
}

fn required<T>(section: &mut Section<'_, '_>, value: Option<T>, key: &str, reason: &str) -> Option<T> {
    // What was there and is no good has been reported already.
    if value.is_none() && !section.was_given(key) && !section.was_given(&format!("{key}_file")) {
        section.missing(key, reason);
    }
    value
}

/// A secret from the environment (`key`) or from a file (`key` with `_file`). In the TOML file it is a problem:
/// such files are copied, committed and shown around.
pub(super) fn secret(
    section: &mut Section<'_, '_>,
    key: &str,
    context: Context<'_>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Option<SecretSource> {
    let file_key = format!("{key}_file");
    let value = section.field(key, |raw| {
        let text = value::secret(raw)?;
        check(&text).map(|()| SecretString::from(text))
    });
    let file = section.field(&file_key, |raw| file(raw, context.folder));
    if section.was_given(key) && !section.is_from_environment(key) {
        section.problem(
            key,
            format!("is a secret, which is not for this file; set its variable, or {file_key}"),
        );
        return None;
    }
    match (value, file) {
        (Field::Given(_), Field::Given(_)) => {
            section.problem(key, format!("is set beside {file_key}; set one of them"));
            None
        }
        (Field::Given(value), _) => Some(SecretSource::Value(value)),
        (_, Field::Given(file)) => Some(SecretSource::File(file)),
        _ => None,
    }
}
