//! An app registration and its credential, wherever one is set; and secrets.

use secrecy::SecretString;

use super::{Surroundings, id, path};
use crate::reader::Field;
use crate::section::Section;
use crate::value::{self, Raw};
use crate::{AppConfig, CredentialConfig, SecretSource, validate};
use base::ids::ClientAppId;

/// The variable with which AKS's webhook names the file of the pod's federated token.
const FEDERATED_TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// `credential` by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CredentialKind {
    Secret,
    Certificate,
    WorkloadIdentity,
    ManagedIdentity,
}

impl CredentialKind {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "secret" => Some(Self::Secret),
            "certificate" => Some(Self::Certificate),
            "workload_identity" => Some(Self::WorkloadIdentity),
            "managed_identity" => Some(Self::ManagedIdentity),
            _ => None,
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
pub(super) fn app(section: &mut Section<'_, '_>, surroundings: Surroundings<'_>, needed: bool) -> Option<AppConfig> {
    let client_id = section.field("client_id", |raw| id(raw, "a client id"));
    let fields = fields(section, surroundings, needed.then_some(CredentialKind::Secret));
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
    surroundings: Surroundings<'_>,
    default: Option<CredentialKind>,
) -> CredentialFields {
    let file = |raw: Raw<'_>| validate::readable_file(path(raw, surroundings.folder)?);
    let kind = section.field("credential", |raw| {
        CredentialKind::from_name(&value::text(raw)?).ok_or_else(|| {
            "must be \"secret\", \"certificate\", \"workload_identity\" or \"managed_identity\"".to_owned()
        })
    });
    let kind = match kind {
        Field::Absent => default,
        kind => kind.given(),
    };
    let fields = CredentialFields {
        kind,
        secret: secret(section, "client_secret", surroundings, |_| Ok(())),
        certificate_file: section.field("certificate_file", file).given(),
        certificate_password: secret(section, "certificate_password", surroundings, |_| Ok(())),
        federated_token_file: match section.field("federated_token_file", file) {
            Field::Absent if kind == Some(CredentialKind::WorkloadIdentity) => surroundings
                .environment
                .get(FEDERATED_TOKEN_FILE)
                .map(std::path::PathBuf::from),
            field => field.given(),
        },
        managed_identity_client_id: section
            .field("managed_identity_client_id", |raw| id(raw, "a client id"))
            .given(),
    };
    if let Some(kind) = kind {
        for (owner, name, keys) in [
            (
                CredentialKind::Secret,
                "secret",
                &["client_secret", "client_secret_file"][..],
            ),
            (
                CredentialKind::Certificate,
                "certificate",
                &["certificate_file", "certificate_password", "certificate_password_file"],
            ),
            (
                CredentialKind::WorkloadIdentity,
                "workload_identity",
                &["federated_token_file"],
            ),
            (
                CredentialKind::ManagedIdentity,
                "managed_identity",
                &["managed_identity_client_id"],
            ),
        ] {
            for key in keys {
                if owner != kind && section.was_given(key) {
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
    surroundings: Surroundings<'_>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Option<SecretSource> {
    let file_key = format!("{key}_file");
    let value = section.field(key, |raw| {
        let text = value::secret(raw)?;
        check(&text).map(|()| SecretString::from(text))
    });
    let file = section.field(&file_key, |raw| {
        validate::readable_file(path(raw, surroundings.folder)?)
    });
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
