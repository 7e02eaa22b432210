//! `[assignments]` and `[graph]`: who may have a token.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{AppConfig, SecretSource, ServiceIdentity};

/// `[assignments]`
#[derive(Debug, Clone, PartialEq)]
pub struct AssignmentsConfig {
    /// The file, if `sources` names it.
    pub file: Option<AssignmentFileConfig>,
    /// ACS itself, if `sources` names it.
    pub acs: Option<AcsSourceConfig>,
    /// How the broker signs assignment operations at ACS, if `[assignments.acs]` says so. The command line uses it
    /// too where `sources` does not name ACS.
    pub acs_auth: Option<AcsAuthConfig>,
    /// Whether a caller whom no assignment covers is refused.
    pub mode: AssignmentsMode,
    /// What happens to a caller whose token does not list their groups.
    pub unknown_groups: UnknownGroups,
    /// Age at which a cached token that ACS alone permitted is exchanged anew.
    pub unknown_groups_max_age: Duration,
}

/// The source `"file"`.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignmentFileConfig {
    /// The TOML or JSON file that holds them.
    pub path: PathBuf,
    /// How often the file is looked at beside change events.
    pub refresh_interval: Duration,
}

/// The source `"acs"`.
#[derive(Debug, Clone, PartialEq)]
pub struct AcsSourceConfig {
    /// How often ACS is asked, with jitter.
    pub refresh_interval: Duration,
    /// How long the last good set serves while ACS is away.
    pub max_age: Duration,
    /// How the broker shows who asks.
    pub auth: AcsAuthConfig,
}

/// How the broker shows ACS that it may ask for assignments.
#[derive(Debug, Clone, PartialEq)]
pub enum AcsAuthConfig {
    /// Requests are signed with the resource's access key.
    AccessKey(SecretSource),
    /// Requests carry an Entra token of the broker's own, from the tenant that the resource belongs to.
    Identity(ServiceIdentity),
}

/// `assignments.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum AssignmentsMode {
    /// A caller whom no assignment covers is refused.
    Enforce,
    /// Such a caller is left to ACS, and it is recorded that they would be refused.
    Audit,
}

/// `unknown_groups`
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum UnknownGroups {
    /// Only assignments that need no groups count.
    Refuse,
    /// If an assignment of a group could cover the caller, ACS decides.
    Acs,
    /// If an assignment of a group could cover the caller, Microsoft Graph is asked.
    Graph,
}

/// `[graph]`
#[derive(Debug, Clone, PartialEq)]
pub struct GraphConfig {
    /// Origin of Microsoft Graph; `/v1.0/…` is appended.
    pub endpoint: Url,
    /// How long a caller waits for an answer about memberships, and the limit for each call.
    pub timeout: Duration,
    /// How long an answer about a user counts.
    pub cache_ttl: Duration,
    /// The app that asks.
    pub app: AppConfig,
}
