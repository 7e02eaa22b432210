//! What the broker's user must be allowed to do at a server. It is tried out, since a permission that is missing would otherwise
//! show only as an error of some operations.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};

use config::StoreKind;

/// Commands that are allowed or refused as a whole, as an ACL names them, each in a form that leaves nothing behind: all are
/// about one key, which nobody has, and the last one deletes it. Only refusals count, so it does not matter what else the
/// answers say.
pub(crate) fn trials(kind: &StoreKind, key: &str) -> Vec<(&'static str, Cmd)> {
    let about = |name: &'static str, arguments: &[&str]| {
        let mut command = redis::cmd(name);
        command.arg(key).arg(arguments);
        command
    };
    let script = |name: &'static str, script: &str| {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(key);
        command
    };
    let no_script = "0".repeat(40);
    let mut trials = vec![
        ("get", about("GET", &[])),
        ("getrange", about("GETRANGE", &["0", "0"])),
        ("strlen", about("STRLEN", &[])),
        ("set", about("SET", &["", "PX", "1000"])),
        ("pttl", about("PTTL", &[])),
        ("eval", script("EVAL", "return 0")),
        ("evalsha", script("EVALSHA", &no_script)),
        ("time", redis::cmd("TIME")),
        ("zadd", about("ZADD", &["XX", "0", "0"])),
        ("zcard", about("ZCARD", &[])),
        ("zrange", about("ZRANGE", &["0", "0"])),
        ("zrem", about("ZREM", &["0"])),
        ("zremrangebyscore", about("ZREMRANGEBYSCORE", &["0", "0"])),
        ("hmget", about("HMGET", &["0"])),
        ("hset", about("HSET", &["0", "0"])),
        ("pexpire", about("PEXPIRE", &["1000"])),
        ("del", about("DEL", &[])),
    ];
    if matches!(kind, StoreKind::Cluster) {
        // Before a command that needs no asking.
        trials.insert(0, ("asking", redis::cmd("ASKING")));
    }
    trials
}

/// What the user lacks, as an ACL would grant it; `None` if nothing. `refused`: the refusal of each command, if there was one.
pub(crate) fn lacking(refused: &[(&'static str, Option<Refusal>)], prefix: &str) -> Option<String> {
    let commands = refused.iter().filter(|(_, refusal)| *refusal == Some(Refusal::Command));
    let mut lacking: Vec<String> = commands.map(|(name, _)| format!("+{name}")).collect();
    if refused.iter().any(|(_, refusal)| *refusal == Some(Refusal::Key)) {
        lacking.push(format!("~{prefix}*"));
    }
    (!lacking.is_empty()).then(|| lacking.join(" "))
}

/// What a user is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A command.
    Command,
    /// The command is allowed, and its key is not.
    Key,
}

impl Refusal {
    /// Whether an answer is one. What the server says beside the code is not kept: it may name the user or a key.
    pub(crate) fn of(error: &RedisError) -> Option<Self> {
        if error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm) {
            return None;
        }
        // "… to access one of the keys …" (Redis 6, 7.0), "No permissions to access a key" (later ones, Valkey).
        let is_key = error.detail().is_some_and(|detail| detail.contains("access"));
        Some(if is_key { Self::Key } else { Self::Command })
    }
}

/// Whether a permission is missing, for a command or within a script, where the code is that of any error.
pub(crate) fn is_refused(error: &RedisError) -> bool {
    // Redis up to 7.0; later ones and Valkey.
    const WITHIN_SCRIPTS: [&str; 2] = ["The user executing the script", "ACL failure in script"];
    let says = |text: &str| error.detail().is_some_and(|detail| detail.contains(text));
    Refusal::of(error).is_some()
        || (matches!(error.kind(), ErrorKind::Server(_)) && WITHIN_SCRIPTS.iter().any(|text| says(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(said: &str) -> RedisError {
        let answer = format!("-{said}\r\n");
        let value = redis::parse_redis_value(answer.as_bytes()).and_then(redis::Value::extract_error);
        value.unwrap_err()
    }

    #[test]
    fn what_servers_refuse() {
        for (said, refusal, refused) in [
            (
                "NOPERM this user has no permissions to run the 'getrange' command",
                Some(Refusal::Command),
                true,
            ),
            (
                "NOPERM User broker has no permissions to run the 'zadd' command",
                Some(Refusal::Command),
                true,
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Some(Refusal::Key),
                true,
            ),
            ("NOPERM No permissions to access a key", Some(Refusal::Key), true),
            (
                "ERR The user executing the script can't run this command or subcommand script: 12, on @user_script:1.",
                None,
                true,
            ),
            (
                "ERR ACL failure in script: User x has no permissions to run the 'zadd' command script: 12",
                None,
                true,
            ),
            ("ERR unknown command 'GETRANGE'", None, false),
            ("OOM command not allowed when used memory > 'maxmemory'.", None, false),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                None,
                false,
            ),
        ] {
            let error = error(said);
            assert_eq!(Refusal::of(&error), refusal, "{said}");
            assert_eq!(is_refused(&error), refused, "{said}");
        }
    }

    #[test]
    fn what_is_lacking_is_said_as_an_acl_would_grant_it() {
        let command = Some(Refusal::Command);
        let said = |refused: &[(&'static str, Option<Refusal>)]| lacking(refused, "p:");
        assert_eq!(said(&[("get", None), ("del", None)]), None);
        assert_eq!(
            said(&[("get", command), ("del", None), ("zadd", command)]).unwrap(),
            "+get +zadd"
        );
        assert_eq!(
            said(&[
                ("get", command),
                ("set", Some(Refusal::Key)),
                ("del", Some(Refusal::Key))
            ])
            .unwrap(),
            "+get ~p:*"
        );
    }
}
