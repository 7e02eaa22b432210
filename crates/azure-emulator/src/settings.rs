//! What of the emulated Azure can be set otherwise while it runs.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::lock::lock;

/// As many objects as a page of Azure's usually holds at most.
const MAX_PAGE_SIZE: usize = 1000;
/// As many as Graph lists at once unless it is asked for more or fewer.
const GRAPH_PAGE_SIZE: usize = 100;

/// The settings. As JSON they are the body of `GET` and `PUT /_emulator/settings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seconds that tokens of the token endpoint and of managed identities live. By default 60 to 90 minutes, drawn
    /// for each token.
    pub token_lifetime: Option<i64>,
    /// How many assignments a page of ACS's list holds at most; a caller may ask for fewer with `maxpagesize`.
    pub assignments_page_size: usize,
    /// How many objects a page of Graph's lists holds; a caller may ask for fewer with `$top`. Shown where it is not
    /// the default.
    #[serde(skip_serializing_if = "is_usual_graph_page")]
    pub graph_page_size: usize,
    /// Whether v1 discovery documents and key sets are served. Without, 404, as an External ID tenant may answer. Shown
    /// where it is not the default.
    #[serde(skip_serializing_if = "is_true")]
    pub v1_documents: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token_lifetime: None,
            assignments_page_size: 100,
            graph_page_size: GRAPH_PAGE_SIZE,
            v1_documents: true,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_graph_page(size: &usize) -> bool {
    *size == GRAPH_PAGE_SIZE
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// Settings that cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// A page must hold something.
    #[error("`assignments_page_size` and `graph_page_size` must be between 1 and 1000")]
    PageSize,
    /// Entra issues no token that has ended.
    #[error("`token_lifetime` must be between 1 and 86400")]
    TokenLifetime,
}

impl Settings {
    /// Says what is wrong with them.
    fn check(&self) -> Result<(), InvalidSettings> {
        let sizes = [self.assignments_page_size, self.graph_page_size];
        if sizes.iter().any(|size| !(1..=MAX_PAGE_SIZE).contains(size)) {
            return Err(InvalidSettings::PageSize);
        }
        if self
            .token_lifetime
            .is_some_and(|seconds| !(1..=86_400).contains(&seconds))
        {
            return Err(InvalidSettings::TokenLifetime);
        }
        Ok(())
    }
}

/// The settings as they stand.
#[derive(Debug, Default)]
pub(crate) struct CurrentSettings(Mutex<Settings>);

impl CurrentSettings {
    pub(crate) fn get(&self) -> Settings {
        lock(&self.0).clone()
    }

    /// Replaces them, if the new ones can be served.
    pub(crate) fn replace(&self, settings: Settings) -> Result<(), InvalidSettings> {
        settings.check()?;
        *lock(&self.0) = settings;
        Ok(())
    }
}
