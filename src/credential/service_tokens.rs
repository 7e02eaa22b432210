//! How the broker shows ACS who it is, made from the configuration.

use std::sync::Arc;

use super::ReloadingSecret;
use crate::clock::SharedClock;
use crate::config::AcsAuthConfig;
use crate::upstream::acs_signing::{AcsAuth, ServiceTokens};

/// The configuration names a way of showing ACS who asks that this build does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("assignments.acs: this version has no tokens for credential; set access_key or access_key_file")]
pub struct NoServiceTokens;

/// Entra tokens of the broker's own for ACS, where `auth` asks for them; `None` where this build has none.
#[must_use]
pub fn service_tokens(auth: &AcsAuthConfig) -> Option<Arc<dyn ServiceTokens>> {
    match auth {
        AcsAuthConfig::AccessKey(_) | AcsAuthConfig::App { .. } | AcsAuthConfig::ManagedIdentity { .. } => None,
    }
}

/// What signs the broker's own requests at ACS.
pub fn acs_auth(auth: &AcsAuthConfig, clock: &SharedClock) -> Result<AcsAuth, NoServiceTokens> {
    if let AcsAuthConfig::AccessKey(source) = auth {
        let key = ReloadingSecret::new(source.clone(), Arc::clone(clock));
        return Ok(AcsAuth::AccessKey(Arc::new(key)));
    }
    service_tokens(auth).map(AcsAuth::ServiceToken).ok_or(NoServiceTokens)
}
