//! App registrations, their credentials, and managed identities.

use jiff::Timestamp;
use uuid::Uuid;

/// The app registration of a middle-tier service, such as the broker: an API of its own, and credentials with which
/// it asks Entra for tokens.
#[derive(Debug, Clone)]
pub struct ApiApp {
    /// The application (client) id; the audience of v2 tokens for its API.
    pub client_id: Uuid,
    /// The display name.
    pub name: String,
    /// The App ID URI; the audience of v1 tokens for its API, and what its scopes begin with.
    pub app_id_uri: String,
    /// The delegated scopes of its API.
    pub scopes: Vec<String>,
    /// Client secrets.
    pub secrets: Vec<ClientSecret>,
    /// Certificates, each as PEM; RSA of 2048 bits or more.
    pub certificates: Vec<String>,
    /// The identities whose tokens stand in for a credential of its own.
    pub federated_credentials: Vec<FederatedCredential>,
    /// The app roles at Microsoft Graph that a consenting tenant grants it.
    pub graph_roles: Vec<String>,
    /// The tenants whose admins have consented to what it asks of other APIs.
    pub consented_by: Vec<Uuid>,
    /// Whether its tokens are signed with a key of its own, as after a claims mapping policy.
    pub own_signing_key: bool,
}

/// A client secret.
#[derive(Debug, Clone)]
pub struct ClientSecret {
    /// The secret's value.
    pub value: String,
    /// When it ends; `None` for never, which Entra itself would not allow.
    pub expires_on: Option<Timestamp>,
}

/// A federated identity credential: a token of another issuer that Entra takes for the app's own credential.
///
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedCredential {
    /// The issuer, compared to the letter. One that begins with `/` is on the emulator's own origin.
    pub issuer: String,
    /// The subject, compared to the letter.
    pub subject: String,
    /// The audience; `api://AzureADTokenExchange` unless another was chosen.
    pub audience: String,
}

/// A managed identity of an Azure resource on which the broker runs.
#[derive(Debug, Clone)]
pub struct ManagedIdentity {
    /// The client id.
    pub client_id: Uuid,
    /// The object (principal) id; the subject of its tokens.
    pub object_id: Uuid,
    /// The tenant that it lives in.
    pub tenant_id: Uuid,
    /// The display name.
    pub name: String,
    /// What the endpoint in App Service's form wants in `X-IDENTITY-HEADER`.
    pub identity_header: String,
    /// The app roles at Microsoft Graph that it was given.
    pub graph_roles: Vec<String>,
}
