//! What labels can say: closed sets, so that no caller can make up a series. `into_str` is the text of the label.

#![expect(missing_docs, reason = "strum generates `into_str` without a comment")]

use opentelemetry::KeyValue;
use strum::VariantArray;

/// What became of a presented token: accepted, or the code that its caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str)]
pub enum Authentication {
    /// It is a listed tenant's user's.
    #[strum(serialize = "accepted")]
    Accepted,
    /// Not a JWT that is read here.
    Malformed,
    /// Not RS256.
    UnsupportedAlgorithm,
    /// Of a tenant that is not listed.
    UnknownTenant,
    /// Signed with a key that the tenant does not publish.
    UnknownKey,
    /// Signed with another key.
    InvalidSignature,
    /// A claim is missing.
    MissingClaim,
    /// Another issuer.
    InvalidIssuer,
    /// For another API.
    InvalidAudience,
    /// Over.
    Expired,
    /// Not begun.
    NotYetValid,
    /// Not a user's.
    NotDelegated,
    /// None of the required scopes.
    InsufficientScope,
    /// The tenant's keys cannot be had.
    KeysUnavailable,
    /// The caller's deadline passed while the keys were waited for.
    UpstreamTimeout,
}

impl Authentication {
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::KeysUnavailable | Self::UpstreamTimeout => "undecided",
            _ => "refused",
        }
    }
}

/// The limit that refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Limit {
    /// `limits.per_user`
    PerUser,
    /// `limits.per_address`
    PerAddress,
    /// `limits.upstream_per_user`
    UpstreamPerUser,
    /// `limits.upstream_exchanges`
    UpstreamExchanges,
    /// `limits.upstream_queue`
    Queue,
}

/// What became of an authenticated caller: what covers them, or why nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str)]
pub enum Authorization {
    /// The user's own assignment.
    #[strum(serialize = "user")]
    User,
    /// A group's.
    #[strum(serialize = "group")]
    Group,
    /// The tenant's.
    #[strum(serialize = "tenant")]
    Tenant,
    /// ACS is to decide.
    #[strum(serialize = "acs")]
    Acs,
    /// No assignment covers the caller, and assignments are not enforced.
    #[strum(serialize = "NoAssignment")]
    WouldRefuseNoAssignment,
    /// Only a group's could, the token does not list groups, and assignments are not enforced.
    #[strum(serialize = "GroupsUnknown")]
    WouldRefuseGroupsUnknown,
    /// No assignment covers the caller.
    NoAssignment,
    /// Only a group's could, and the token does not list groups.
    GroupsUnknown,
    /// Not all assignments are loaded.
    NotLoaded,
    /// Whether the user is a member cannot be learnt now.
    MembershipUnknown,
}

impl Authorization {
    /// Its labels: outcome, kind of assignment, reason.
    pub(super) fn labels(self) -> [&'static str; 3] {
        match self {
            Self::User | Self::Group | Self::Tenant | Self::Acs => ["permitted", self.into_str(), "permitted"],
            Self::WouldRefuseNoAssignment | Self::WouldRefuseGroupsUnknown => ["would_refuse", "acs", self.into_str()],
            Self::NoAssignment | Self::GroupsUnknown => ["denied", "none", self.into_str()],
            Self::NotLoaded | Self::MembershipUnknown => ["undecided", "none", self.into_str()],
        }
    }
}

/// How a permitted caller got their token, if they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "lowercase")]
pub enum CacheRequest {
    /// From the cache.
    Hit,
    /// By an exchange that this caller started.
    Miss,
    /// By one that another caller started.
    Shared,
    /// Not at all.
    Failed,
}

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Peer {
    /// Entra, for discovery documents and signing keys.
    EntraKeys,
    /// Entra, for tokens.
    EntraToken,
    /// Microsoft Graph.
    Graph,
    /// ACS.
    Acs,
    /// The platform's managed identity endpoint.
    ManagedIdentity,
    /// A broker, by the `healthcheck` command, which records nothing.
    Healthcheck,
}

/// Why requests are refused before anything is decided about their token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str)]
pub enum Refusal {
    /// `server.max_in_flight`
    Overloaded,
    /// The broker is stopping.
    ShuttingDown,
    /// The body did not come in time.
    RequestTimeout,
    /// The header section is too large.
    HeadersTooLarge,
    /// The body is too large.
    PayloadTooLarge,
    /// 429, ours or passed on from Azure.
    TooManyRequests,
}

impl Refusal {
    /// All of them.
    pub const ALL: &[Self] = <Self as VariantArray>::VARIANTS;

    /// The refusal that an error code stands for, if it does.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        code.parse().ok()
    }
}

/// Why signing keys are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum KeyFetch {
    /// It is time.
    Schedule,
    /// A token names a key that is not known.
    UnknownKid,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(const_into_str, serialize_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log lines, but for audit events.
    Logs,
    /// Audit events, which have queues of their own.
    Audit,
}

pub(super) fn outcome(value: &'static str) -> KeyValue {
    KeyValue::new("acs_broker.outcome", value)
}

pub(super) fn reason(value: &'static str) -> KeyValue {
    KeyValue::new("acs_broker.reason", value)
}
