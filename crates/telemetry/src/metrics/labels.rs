//! What labels can say: closed sets, so that no caller can make up a series.

use opentelemetry::KeyValue;

/// How a set of values is written: each variant with its text.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of their definition.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As it stands in the label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

label! {
    /// What became of a presented token: accepted, or the code that its caller gets.
    Authentication {
        /// It is a listed tenant's user's.
        Accepted = "accepted",
        /// Not a JWT that is read here.
        Malformed = "Malformed",
        /// Not RS256.
        UnsupportedAlgorithm = "UnsupportedAlgorithm",
        /// Of a tenant that is not listed.
        UnknownTenant = "UnknownTenant",
        /// Signed with a key that the tenant does not publish.
        UnknownKey = "UnknownKey",
        /// Signed by somebody else.
        InvalidSignature = "InvalidSignature",
        /// A claim is missing.
        MissingClaim = "MissingClaim",
        /// Another issuer.
        InvalidIssuer = "InvalidIssuer",
        /// For another API.
        InvalidAudience = "InvalidAudience",
        /// Over.
        Expired = "Expired",
        /// Not begun.
        NotYetValid = "NotYetValid",
        /// Not a user's.
        NotDelegated = "NotDelegated",
        /// None of the required scopes.
        InsufficientScope = "InsufficientScope",
        /// The tenant's keys cannot be had.
        KeysUnavailable = "KeysUnavailable",
        /// The caller's deadline passed while the keys were waited for.
        UpstreamTimeout = "UpstreamTimeout",
    }
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

label! {
    /// What became of an authenticated caller: what covers them, or why nothing does.
    Authorization {
        /// The user's own assignment.
        User = "user",
        /// A group's.
        Group = "group",
        /// The tenant's.
        Tenant = "tenant",
        /// ACS is to decide.
        Acs = "acs",
        /// No assignment covers the caller.
        NoAssignment = "NoAssignment",
        /// Only a group's could, and the token does not list groups.
        GroupsUnknown = "GroupsUnknown",
        /// Not all assignments are loaded.
        NotLoaded = "NotLoaded",
        /// Whether the user is a member cannot be learnt now.
        MembershipUnknown = "MembershipUnknown",
    }
}

impl Authorization {
    /// Outcome, kind of assignment, reason.
    pub(super) fn told(self) -> [&'static str; 3] {
        match self {
            Self::User | Self::Group | Self::Tenant | Self::Acs => ["permitted", self.name(), "permitted"],
            Self::NoAssignment | Self::GroupsUnknown => ["denied", "none", self.name()],
            Self::NotLoaded | Self::MembershipUnknown => ["undecided", "none", self.name()],
        }
    }
}

label! {
    /// How a permitted caller got their token, if they did.
    CacheRequest {
        /// From the cache.
        Hit = "hit",
        /// By an exchange that this caller started.
        Miss = "miss",
        /// By one that another caller started.
        Shared = "shared",
        /// Not at all.
        Failed = "failed",
    }
}

label! {
    /// Who is called.
    Peer {
        /// Entra, for discovery documents and signing keys.
        EntraKeys = "entra_keys",
        /// Entra, for tokens.
        EntraToken = "entra_token",
        /// Microsoft Graph.
        Graph = "graph",
        /// ACS.
        Acs = "acs",
        /// The platform's managed identity endpoint.
        ManagedIdentity = "managed_identity",
        /// A broker, by the `healthcheck` command, which records nothing.
        Healthcheck = "healthcheck",
    }
}

label! {
    /// Why requests are refused before anything is decided about their token.
    Refusal {
        /// `server.max_in_flight`
        Overloaded = "Overloaded",
        /// The broker is stopping.
        ShuttingDown = "ShuttingDown",
        /// The body did not come in time.
        RequestTimeout = "RequestTimeout",
        /// The header section is too large.
        HeadersTooLarge = "HeadersTooLarge",
        /// The body is too large.
        PayloadTooLarge = "PayloadTooLarge",
        /// 429, ours or passed on from Azure.
        TooManyRequests = "TooManyRequests",
    }
}

impl Refusal {
    /// The refusal that an error code stands for, if it does.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|refusal| refusal.name() == code)
    }
}

label! {
    /// Why signing keys are fetched.
    KeyFetch {
        /// It is time.
        Schedule = "schedule",
        /// A token names a key that is not known.
        UnknownKid = "unknown_kid",
    }
}

label! {
    /// What is exported.
    Signal {
        /// Spans.
        Traces = "traces",
        /// Metrics.
        Metrics = "metrics",
        /// Log lines.
        Logs = "logs",
    }
}

pub(super) fn outcome(value: &'static str) -> KeyValue {
    KeyValue::new("acs_broker.outcome", value)
}

pub(super) fn reason(value: &'static str) -> KeyValue {
    KeyValue::new("acs_broker.reason", value)
}
