//! What was handed out, to whom; and how everything is counted.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use azure_emulator::scenario::RESOURCE;

use crate::annex;
use crate::traffic::Held;
use crate::world::{Person, Resource, claims_of};

/// `cache.min_gain`, in seconds: a cached token may outlive the presented one by so much.
const MIN_GAIN: i64 = 120;

/// Whose an ACS token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    person: usize,
    resource: Resource,
    scopes: &'static [&'static str],
    end: i64,
}

/// The tally of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) lost_in_restarts: u64,
    pub(crate) wrong: u64,
    pub(crate) past_expiry: u64,
    pub(crate) crossed_users: u64,
    pub(crate) crossed_scopes: u64,
    pub(crate) crossed_resources: u64,
    pub(crate) crossed_modes: u64,
    pub(crate) events: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn right(&self) -> u64 {
        self.tokens + self.refusals.values().sum::<u64>()
    }

    /// Everything that must be zero.
    pub(crate) fn failures(&self) -> u64 {
        self.wrong
            + self.past_expiry
            + self.crossed_users
            + self.crossed_scopes
            + self.crossed_resources
            + self.crossed_modes
    }
}

/// Remembers every ACS token that has not ended, and each user's identity.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    hasher: RandomState,
    owners: HashMap<u64, Owner>,
    identities: HashMap<usize, String>,
    /// Whose an identity is.
    people: HashMap<String, usize>,
}

/// An ACS token as it was answered.
pub(crate) struct Issued<'a> {
    pub(crate) token: &'a str,
    pub(crate) end: i64,
    pub(crate) identity: Option<&'a str>,
}

impl Ledger {
    /// Checks a token that a user was answered with; what is wrong with it, if anything, and counts it.
    pub(crate) fn check(
        &mut self,
        (number, person): (usize, &Person),
        held: &Held,
        issued: &Issued<'_>,
        now: i64,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let claims = claims_of(issued.token);
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        let mut wrong = Vec::new();
        if issued.end <= now || claims["exp"].as_i64() != Some(issued.end) {
            tally.past_expiry += 1;
            wrong.push(format!(
                "it ends at {} and says {}, now is {now}",
                issued.end, claims["exp"]
            ));
        }
        let bounded = matches!(person.resource, Resource::Calling | Resource::Annex | Resource::Teams);
        if bounded && issued.end > held.end + MIN_GAIN {
            tally.past_expiry += 1;
            wrong.push(format!("it outlives the presented token's end, {}", held.end));
        }
        let resource = match person.resource {
            Resource::Annex => annex::RESOURCE.to_owned(),
            _ => RESOURCE.to_string(),
        };
        if text("resourceId") != resource {
            tally.crossed_resources += 1;
            wrong.push(format!("it is of the resource {}", text("resourceId")));
        }
        let granted = text("acsScope");
        let mut granted: Vec<&str> = granted.split(',').collect();
        granted.sort_unstable();
        if granted != held.scopes {
            tally.crossed_scopes += 1;
            wrong.push(format!("its scopes are {granted:?}"));
        }
        let identity = format!("8:{}", text("skypeid"));
        if issued.identity.is_some_and(|said| said != identity) {
            tally.crossed_users += 1;
            wrong.push(format!(
                "it is for {identity}, and the answer says {:?}",
                issued.identity
            ));
        }
        if let Err(reason) = self.identity(number, person, &resource, &identity) {
            match reason {
                Crossed::Mode => tally.crossed_modes += 1,
                Crossed::User => tally.crossed_users += 1,
            }
            wrong.push(format!("it is for {identity}"));
        }
        let owner = Owner {
            person: number,
            resource: person.resource,
            scopes: held.scopes,
            end: issued.end,
        };
        let before = self.owners.insert(self.hasher.hash_one(issued.token), owner);
        if let Some(before) = before.filter(|before| *before != owner) {
            if before.person != number {
                tally.crossed_users += 1;
            } else if before.scopes != held.scopes {
                tally.crossed_scopes += 1;
            } else {
                tally.wrong += 1;
            }
            wrong.push(format!("it was handed out before: {before:?}"));
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("; "))
        }
    }

    /// Whether an identity is this user's, in this mode: what ACS says of them is known, or what it said before.
    fn identity(&mut self, number: usize, person: &Person, resource: &str, identity: &str) -> Result<(), Crossed> {
        let mode_of = |identity: &str| match identity {
            teams if teams.starts_with("8:orgid:") => "teams_user",
            entra if entra.contains("_wf_") => "entra",
            _ => "identity",
        };
        let (mode, expected) = match person.resource {
            Resource::Calling | Resource::Annex | Resource::Behalf => {
                let id = format!("8:acs:{resource}_wf_{}_{}", person.resource.tenant(), person.object_id);
                ("entra", Some(id))
            }
            Resource::Identity => ("identity", self.identities.get(&number).cloned()),
            Resource::Teams => ("teams_user", Some(format!("8:orgid:{}", person.object_id))),
        };
        if mode_of(identity) != mode {
            return Err(Crossed::Mode);
        }
        let of_another = self.people.get(identity).is_some_and(|owner| *owner != number);
        if of_another || expected.is_some_and(|expected| expected != identity) {
            return Err(Crossed::User);
        }
        self.identities.insert(number, identity.to_owned());
        self.people.insert(identity.to_owned(), number);
        Ok(())
    }

    /// Forgets tokens that ended long ago.
    pub(crate) fn forget(&mut self, now: i64) {
        self.owners.retain(|_, owner| owner.end > now - 3600);
    }
}

enum Crossed {
    User,
    Mode,
}
