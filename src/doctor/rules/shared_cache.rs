//! `shared_cache.*`: the store that replicas share.

use std::path::Path;

use shared_cache::{Failure, KeyFileError, Status};

use super::super::check::{Check, CheckId, Who};

/// What was seen of the store.
pub struct StoreLook {
    /// The names of the keys in `shared_cache.encryption_keys_file`, or what is wrong with it.
    pub keys: Result<Vec<String>, KeyFileError>,
    /// How the store was found; `None`: it did not answer within the limit.
    pub status: Option<Status>,
}

/// Where there is no `[shared_cache]`.
#[must_use]
pub fn absent() -> [Check; 2] {
    const WHY: &str = "there is no [shared_cache]";
    [
        Check::skip(CheckId::SharedCacheReachable, WHY),
        Check::skip(CheckId::SharedCacheKeys, WHY),
    ]
}

/// `shared_cache.reachable`: whether a connection of the broker's kind works.
#[must_use]
pub fn reachable(status: Option<&Status>) -> Check {
    const FIX: &str = "see that the store runs, that its address, user, password and certificate are those of [shared_cache], and that \
                       the network lets the broker reach it; until then each replica goes on by itself";
    const GRANT: &str = "give the user these permissions too (ACL SETUSER; docs/shared-cache.md lists all that it needs); until then each \
                         replica goes on by itself";
    let failed = |why: String, fix| {
        let summary = format!("the store that replicas share cannot be used: {why}");
        Check::fail(CheckId::SharedCacheReachable, Who::Operator, summary, fix)
    };
    match status {
        None => failed("it did not answer in time".to_owned(), FIX),
        Some(Status {
            failure: Some(failure), ..
        }) => {
            let is_permission = matches!(failure, Failure::NotPermitted { .. });
            failed(failure.to_string(), if is_permission { GRANT } else { FIX })
        }
        Some(Status { failure: None, .. }) => Check::pass(
            CheckId::SharedCacheReachable,
            "the store that replicas share answers, and takes the broker's credential",
        ),
    }
}

/// `shared_cache.keys`: whether the file of keys can be used, and which keys it names.
#[must_use]
pub fn keys(file: &Path, keys: &Result<Vec<String>, KeyFileError>) -> Check {
    match keys {
        Ok(names) => Check::pass(
            CheckId::SharedCacheKeys,
            format!("values are sealed with the key {}", in_order(names)),
        ),
        Err(error) => Check::fail(
            CheckId::SharedCacheKeys,
            Who::Operator,
            format!("shared_cache.encryption_keys_file ({}) {error}", file.display()),
            "write a line for each key, a name and 32 random bytes in base64, the same file for all replicas; until then the \
             store counts as away",
        )
        .with_command("printf 'key-1 %s\\n' \"$(openssl rand -base64 32)\" > keys"),
    }
}

/// The first is written with, the others are read.
fn in_order(names: &[String]) -> String {
    match names.split_first() {
        Some((first, [])) => first.clone(),
        Some((first, others)) => format!("{first}; {} is still read", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::check::Status as Outcome;
    use super::*;

    #[test]
    fn what_is_said_of_the_store() {
        let status = |failure| Status {
            failure,
            is_asked: true,
            keys: Vec::new(),
        };
        let lost = Failure::NoMaster("store".to_owned());
        for (found, outcome) in [
            (Some(status(None)), Outcome::Pass),
            (Some(status(Some(lost))), Outcome::Fail),
            (None, Outcome::Fail),
        ] {
            assert_eq!(reachable(found.as_ref()).status, outcome, "{found:?}");
        }
    }

    #[test]
    fn what_is_said_of_the_keys() {
        let file = Path::new("keys");
        let named = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
        let passed = keys(file, &named(&["new", "old"]));
        assert_eq!(passed.status, Outcome::Pass);
        assert!(passed.summary.contains("the key new; old is still read"), "{passed:?}");
        let failed = keys(file, &Err(KeyFileError::Key(2)));
        assert_eq!(failed.status, Outcome::Fail);
        assert!(
            failed.summary.contains("(keys) line 2 does not hold 32 bytes"),
            "{failed:?}"
        );
        assert!(absent().iter().all(|check| check.status == Outcome::Skip));
    }
}
