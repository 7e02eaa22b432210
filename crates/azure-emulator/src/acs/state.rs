//! What ACS's handlers share.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::encrypted::TokenCipher;
use super::quota::Counted;
use crate::entra::directory::Directory;
use crate::entra::signed::TokenReader;
use crate::entra::state::Entra;
use crate::jwt::{CryptoFailed, SigningKey};
use crate::scenario::{Assignment, Scenario, Step, TeamsAssignment};
use crate::settings::CurrentSettings;
use crate::site::Site;

/// The emulated Communication Services resource, and what it remembers.
#[derive(Debug)]
pub(crate) struct Acs {
    pub(super) scenario: Arc<Scenario>,
    pub(super) site: Arc<Site>,
    pub(super) settings: Arc<CurrentSettings>,
    pub(super) tokens: TokenReader,
    /// Which groups it learns of.
    pub(super) directory: Arc<Directory>,
    /// The key that signs ACS tokens; no one but ACS looks into these.
    pub(super) key: SigningKey,
    /// Encrypts them, while that is on.
    pub(super) cipher: TokenCipher,
    /// Whether ACS tokens are encrypted.
    pub(crate) encrypted_tokens: AtomicBool,
    /// How much of its quota is used.
    pub(crate) counted: Counted,
    /// Assignments by object id.
    pub(crate) assignments: Mutex<BTreeMap<Uuid, Assignment>>,
    /// Teams Phone extension assignments by tenant and object id.
    pub(crate) teams_assignments: Mutex<BTreeMap<(Uuid, Uuid), TeamsAssignment>>,
    /// Identities by id, with their custom id.
    pub(super) identities: Mutex<BTreeMap<String, Option<String>>>,
}

impl Acs {
    /// A resource as the scenario describes it.
    pub(crate) fn new(
        scenario: Arc<Scenario>,
        site: Arc<Site>,
        settings: Arc<CurrentSettings>,
        entra: &Entra,
    ) -> Result<Self, CryptoFailed> {
        Ok(Self {
            key: SigningKey::generate()?,
            cipher: TokenCipher::generate()?,
            encrypted_tokens: AtomicBool::new(false),
            counted: Counted::default(),
            assignments: Mutex::new(
                scenario
                    .assignments
                    .iter()
                    .filter(|found| scenario.begins_with(Step::AcsAssignment) || !scenario.is_customer(found.tenant_id))
                    .map(|assignment| (assignment.object_id, assignment.clone()))
                    .collect(),
            ),
            teams_assignments: Mutex::new(
                scenario
                    .teams_assignments
                    .iter()
                    .map(|assignment| ((assignment.tenant_id, assignment.object_id), assignment.clone()))
                    .collect(),
            ),
            identities: Mutex::default(),
            scenario,
            site,
            settings,
            tokens: entra.tokens.clone(),
            directory: Arc::clone(&entra.directory),
        })
    }
    /// The access key as connection strings write it.
    pub(crate) fn access_key_text(&self) -> String {
        STANDARD.encode(&self.scenario.resource.access_key)
    }
}
