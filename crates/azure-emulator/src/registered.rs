//! The handle's controls over what is registered and set at the emulated Azure.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::Emulator;
use super::control::steps::{is_step_done, set_step};
use super::endpoint::IDENTITY_ENDPOINT;
use super::entra::apis::Api;
use super::entra::app_token::{AppPrincipal, issue};
use super::entra::certificate::InvalidCertificate;
use super::error::ControlError;
use super::federated::{self, FederatedTokenRequest};
use super::lock::lock;
use super::scenario::{CLUSTER, ClientSecret, FederatedCredential, Step, TeamsAssignment};
use super::settings::{InvalidSettings, Settings};

impl Emulator {
    /// Registers a certificate (PEM) with the broker's app. Gives its SHA-1 thumbprint in hexadecimal.
    pub fn add_certificate(&self, pem: &str) -> Result<String, InvalidCertificate> {
        Ok(self.world.entra.registration.add_certificate(pem)?.thumbprint)
    }

    /// Takes a certificate from the broker's app, by a thumbprint in hexadecimal or base64url. Whether it had it.
    #[must_use]
    pub fn remove_certificate(&self, thumbprint: &str) -> bool {
        self.world.entra.registration.remove_certificate(thumbprint)
    }

    /// Replaces the client secrets of the broker's app.
    pub fn set_secrets(&self, secrets: impl IntoIterator<Item = ClientSecret>) {
        self.world.entra.registration.set_secrets(secrets.into_iter().collect());
    }

    /// Registers a federated credential with the broker's app. An issuer that begins with `/` is on the emulator's
    /// own origin.
    pub fn add_federated_credential(&self, credential: FederatedCredential) {
        self.world
            .entra
            .registration
            .add_federated(credential, self.world.site.issuer_origin());
    }

    /// The federated credentials of the broker's app, with full issuers.
    #[must_use]
    pub fn federated_credentials(&self) -> Vec<FederatedCredential> {
        self.world.entra.registration.federated()
    }

    /// Takes all federated credentials from the broker's app.
    pub fn clear_federated_credentials(&self) {
        self.world.entra.registration.clear_federated();
    }

    /// Gives or takes a tenant's consent to what the broker's app asks of other APIs.
    pub fn set_consent(&self, tenant: &str, given: bool) -> Result<(), ControlError> {
        let tenant = self.tenant_id(tenant)?;
        let now = self.world.site.now();
        self.world.entra.directory.set_broker_consent(tenant, given, now);
        Ok(())
    }

    /// Gives the broker's app a signing key of its own in a tenant; tokens for its API are signed with it from now
    /// on, and it is published where `?appid=` asks for it only. Gives the key's id.
    pub fn add_app_signing_key(&self, tenant: &str) -> Result<String, ControlError> {
        let tenant = self.tenant_id(tenant)?;
        let app = self.world.scenario.api_app.client_id;
        Ok(self.world.entra.keys.add_app_key(tenant, app)?)
    }

    /// A service account's token, as a Kubernetes cluster projects it into a pod: the content of the file that
    /// `AZURE_FEDERATED_TOKEN_FILE` names.
    pub fn federated_token(&self, request: &FederatedTokenRequest) -> Result<String, ControlError> {
        match federated::issue(&self.world.entra.clusters, request)? {
            Ok(issued) => Ok(issued.token),
            Err(_) => Err(ControlError::InvalidCluster(
                request.cluster.clone().unwrap_or_default(),
            )),
        }
    }

    /// The issuer of the demo cluster's tokens.
    #[must_use]
    pub fn federated_issuer(&self) -> String {
        federated::issuer(self.world.site.issuer_origin(), CLUSTER)
    }

    /// The managed identity endpoint in App Service's form: what `IDENTITY_ENDPOINT` is set to. What goes with it in
    /// `IDENTITY_HEADER` is the scenario's.
    #[must_use]
    pub fn identity_endpoint(&self) -> String {
        format!("{}{IDENTITY_ENDPOINT}", self.world.site.origin)
    }

    /// An app-only token of the broker's app in a tenant, as the client credentials grant gives it; the resource is
    /// a URI such as `https://graph.microsoft.com` or `https://communication.azure.com`.
    pub fn issue_app_token(&self, tenant: &str, resource: &str, roles: &[String]) -> Result<String, ControlError> {
        let (world, tenant) = (&self.world, self.tenant_id(tenant)?);
        let api = Api::from_name(&world.scenario, resource)
            .ok_or_else(|| ControlError::UnknownResource(resource.to_owned()))?;
        let app = &world.scenario.api_app;
        let principal = AppPrincipal::for_app(app.client_id, &app.name, tenant, "1");
        let unknown = || ControlError::UnknownTenant(tenant.to_string());
        Ok(issue(&world.entra, &principal, api, roles)?
            .ok_or_else(unknown)?
            .access_token)
    }

    /// Does an administrator's step, or undoes it.
    pub fn set_step(&self, step: Step, done: bool) {
        set_step(&self.world.entra, &self.world.acs, step, done);
    }

    /// Whether an administrator's step is done now.
    #[must_use]
    pub fn is_step_done(&self, step: Step) -> bool {
        is_step_done(&self.world.entra, &self.world.acs, step)
    }

    /// Sets whether ACS tokens are encrypted (JWE), so that no client can read them.
    pub fn set_encrypted_tokens(&self, encrypted: bool) {
        self.world.acs.encrypted_tokens.store(encrypted, Ordering::Relaxed);
    }

    /// The settings as they stand.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.world.settings.get()
    }

    /// Replaces the settings.
    pub fn set_settings(&self, settings: Settings) -> Result<(), InvalidSettings> {
        self.world.settings.replace(settings)
    }

    /// The resource's Teams Phone extension assignments.
    #[must_use]
    pub fn teams_assignments(&self) -> Vec<TeamsAssignment> {
        lock(&self.world.acs.teams_assignments).values().cloned().collect()
    }

    /// Replaces the resource's Teams Phone extension assignments.
    pub fn set_teams_assignments(&self, assignments: impl IntoIterator<Item = TeamsAssignment>) {
        let key = |assignment: &TeamsAssignment| -> (Uuid, Uuid) { (assignment.tenant_id, assignment.object_id) };
        *lock(&self.world.acs.teams_assignments) = assignments
            .into_iter()
            .map(|assignment| (key(&assignment), assignment))
            .collect();
    }
}
