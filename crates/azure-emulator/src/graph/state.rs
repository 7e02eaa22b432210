//! What Graph's handlers share.

use std::sync::Arc;

use crate::entra::directory::Directory;
use crate::entra::signed::TokenReader;
use crate::scenario::Scenario;
use crate::settings::CurrentSettings;
use crate::site::Site;

/// The emulated Graph, which reads the scenario's directories.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) site: Arc<Site>,
    pub(crate) settings: Arc<CurrentSettings>,
    pub(crate) tokens: TokenReader,
    pub(crate) directory: Arc<Directory>,
}
