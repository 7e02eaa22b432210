//! What each answer has to be. Pure: a case in, the answers that are right out.

use std::collections::BTreeSet;

use crate::world::Resource;

/// `entra.clock_skew`, in seconds.
const CLOCK_SKEW: i64 = 60;
/// What an answer must have left of an ACS token that the cache certainly serves: beyond every renewal.
const CERTAINLY_CACHED: i64 = 30 * 60;

/// What is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presented {
    /// The user's token as it is.
    Own,
    /// With another signature.
    Tampered,
    /// Made for another API.
    OtherAudience,
    /// Without a scope that counts.
    NoScope,
    /// For an app that no assignment names.
    OtherApp,
    /// Valid from tomorrow on.
    Early,
    /// No token.
    Nothing,
}

/// What is wrong upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Signing keys cannot be fetched.
    Keys,
    /// Entra's token endpoint answers so.
    Token(Answered),
    /// Exchanges at the emulated ACS.
    Exchange(Answered),
    /// Its identities.
    Identities(Answered),
    /// Its exchange of Teams users' tokens.
    TeamsUser(Answered),
    /// Exchanges at the other ACS.
    Annex(Answered),
}

/// What an upstream does in place of its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    Status(u16),
    Dropped,
    BrokenJson,
}

impl Trouble {
    /// Whether a caller of this resource who needs an exchange meets it.
    pub(crate) fn hits(self, resource: Resource) -> bool {
        match self {
            Self::Keys => false,
            Self::Token(_) => resource == Resource::Behalf,
            Self::Exchange(_) => matches!(resource, Resource::Calling | Resource::Behalf),
            Self::Identities(_) => resource == Resource::Identity,
            Self::TeamsUser(_) => resource == Resource::Teams,
            Self::Annex(_) => resource == Resource::Annex,
        }
    }

    /// Whether an exchange of this resource uses the upstream, its circuit and its pause: there is one of each for an endpoint,
    /// whatever the operation.
    fn concerns(self, resource: Resource) -> bool {
        match self {
            Self::Keys => false,
            Self::Token(_) => resource == Resource::Behalf,
            Self::Annex(_) => resource == Resource::Annex,
            Self::Exchange(_) | Self::Identities(_) | Self::TeamsUser(_) => resource != Resource::Annex,
        }
    }

    /// The answer to a caller who meets it.
    fn refusal(self) -> &'static str {
        let (Self::Token(answered)
        | Self::Exchange(answered)
        | Self::Identities(answered)
        | Self::TeamsUser(answered)
        | Self::Annex(answered)) = self
        else {
            return "503 KeysUnavailable";
        };
        match answered {
            Answered::Status(429) => "429 TooManyRequests/UpstreamLimit",
            Answered::Status(403) => "403 ExchangeForbidden",
            Answered::Status(_) | Answered::Dropped => "503 UpstreamUnavailable",
            Answered::BrokenJson => "502 UpstreamInvalidResponse",
        }
    }

    /// What else whoever needs the same upstream may be told: its circuit is open, or a pause that it asked for lasts.
    fn aftermath(self, resource: Resource) -> Option<&'static str> {
        match self {
            _ if !self.concerns(resource) => None,
            Self::Token(Answered::Status(429))
            | Self::Exchange(Answered::Status(429))
            | Self::Identities(Answered::Status(429))
            | Self::TeamsUser(Answered::Status(429))
            | Self::Annex(Answered::Status(429)) => Some("429 TooManyRequests/UpstreamLimit"),
            _ => Some("503 UpstreamUnavailable"),
        }
    }
}

/// What the broker can know of the key that signed a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// Entra publishes it, and the broker has it or can get it.
    Published,
    /// Entra has taken it out of its set; the broker may know that or not.
    Withdrawn,
    /// The broker has not seen it and cannot get it.
    Unseen,
}

/// What the broker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Serving,
    /// A trouble has passed, and a circuit that it opened is not closed yet.
    Mending,
    /// It has been asked to end.
    Ending,
}

/// Everything that decides about an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) resource: Resource,
    pub(crate) presented: Presented,
    pub(crate) assigned: bool,
    /// Seconds to the presented token's end.
    pub(crate) left: i64,
    pub(crate) key: Key,
    /// This broker has verified a token of that key.
    pub(crate) proven: bool,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) broker: State,
    /// Nobody can have been served with this token, nor with another for the same, since this broker started.
    pub(crate) never_served: bool,
    /// Seconds left of the ACS token that this very token was answered with by this broker.
    pub(crate) served_left: Option<i64>,
}

/// What may be answered: `200`, or a refusal as `status code/inner`.
pub(crate) fn right(case: &Case) -> BTreeSet<&'static str> {
    let mut right = at_work(case);
    if case.broker == State::Ending {
        right.insert("503 ShuttingDown");
    }
    right
}

/// What a broker answers that has not been asked to end.
fn at_work(case: &Case) -> BTreeSet<&'static str> {
    if case.presented == Presented::Nothing {
        return ["401 AuthenticationRequired"].into();
    }
    if case.key == Key::Unseen {
        return ["503 KeysUnavailable"].into();
    }
    let mut right = verified(case);
    if case.key == Key::Withdrawn {
        // The broker may still have it, and ACS not take it any more.
        right.extend(["401 InvalidToken/UnknownKey", "401 InvalidToken/RejectedUpstream"]);
    }
    if case.trouble == Some(Trouble::Keys) && (!case.proven || case.key == Key::Withdrawn) {
        // It may have to be fetched, and cannot.
        right.insert("503 KeysUnavailable");
    }
    right
}

/// The answers to a token whose key is known.
fn verified(case: &Case) -> BTreeSet<&'static str> {
    match case.presented {
        Presented::Tampered => return ["401 InvalidToken/InvalidSignature"].into(),
        Presented::OtherAudience => return ["401 InvalidToken/InvalidAudience"].into(),
        Presented::Early => return ["401 InvalidToken/NotYetValid"].into(),
        _ => {}
    }
    if case.left < -CLOCK_SKEW {
        return ["401 InvalidToken/Expired"].into();
    }
    // On the second itself it may be either.
    let mut right: BTreeSet<&'static str> = BTreeSet::new();
    if case.left == -CLOCK_SKEW {
        right.insert("401 InvalidToken/Expired");
    }
    if case.presented == Presented::NoScope {
        right.insert("403 InsufficientScope");
    } else if case.presented == Presented::OtherApp || !case.assigned {
        right.insert("403 NotAssigned/NoAssignment");
    } else {
        right.extend(permitted(case));
    }
    right
}

/// The answers to a caller whom the broker lets through.
fn permitted(case: &Case) -> BTreeSet<&'static str> {
    let mut right: BTreeSet<&'static str> = BTreeSet::new();
    right.insert("200");
    if case.left <= 0 && case.resource != Resource::Identity {
        // Only the skew still lets the token in, and the upstream does not take it. What the cache has for a token that ended up to
        // `cache.min_gain` later is served; the ledger looks at its end.
        right.extend(["401 InvalidToken/Expired", "401 InvalidToken/RejectedUpstream"]);
    }
    let cached = case.served_left.is_some_and(|left| left > CERTAINLY_CACHED);
    if case.broker == State::Mending && !cached {
        right.insert("503 UpstreamUnavailable");
    }
    let Some(trouble) = case.trouble else { return right };
    if trouble.hits(case.resource) && !cached {
        right.insert(trouble.refusal());
        if case.never_served {
            right.remove("200");
        }
    }
    if !cached {
        right.extend(trouble.aftermath(case.resource));
    }
    right
}
