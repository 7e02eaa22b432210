//! What Entra's handlers share.

use std::sync::Arc;

use super::apps::Registration;
use super::certificate::InvalidCertificate;
use super::directory::Directory;
use super::keys::KeyStore;
use super::policy::Policies;
use super::sessions::Sessions;
use super::signed::TokenReader;
use crate::federated::Clusters;
use crate::scenario::Scenario;
use crate::settings::CurrentSettings;
use crate::site::Site;

/// The emulated Entra.
#[derive(Debug)]
pub(crate) struct Entra {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) site: Arc<Site>,
    pub(crate) settings: Arc<CurrentSettings>,
    pub(crate) keys: Arc<KeyStore>,
    /// Reads the tokens that Entra itself has issued.
    pub(crate) tokens: TokenReader,
    pub(crate) registration: Registration,
    /// Service principals, consents and assignments of each tenant.
    pub(crate) directory: Arc<Directory>,
    /// Consent and conditional access, by user.
    pub(crate) policies: Policies,
    pub(crate) sessions: Sessions,
    /// The other issuers whose tokens it takes.
    pub(crate) clusters: Arc<Clusters>,
}

impl Entra {
    /// Entra with the scenario's tenants, whose keys are given, and apps.
    pub(crate) fn new(
        scenario: Arc<Scenario>,
        site: Arc<Site>,
        settings: Arc<CurrentSettings>,
        keys: KeyStore,
    ) -> Result<Self, InvalidCertificate> {
        let keys = Arc::new(keys);
        Ok(Self {
            tokens: TokenReader::new(Arc::clone(&keys), Arc::clone(&site)),
            registration: Registration::new(&scenario.api_app, site.issuer_origin())?,
            directory: Arc::new(Directory::new(Arc::clone(&scenario), site.now())),
            policies: Policies::new(&scenario),
            sessions: Sessions::default(),
            clusters: Arc::new(Clusters::new(Arc::clone(&site))),
            scenario,
            site,
            settings,
            keys,
        })
    }
}
