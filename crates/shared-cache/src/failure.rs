//! Why the store cannot be used.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::credentials::CredentialError;
use base::untrusted::Untrusted;

/// Why a server cannot be used. No text of it holds a password, a token, a key or what a value is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The first attempt to connect has not ended.
    #[error("not connected yet")]
    Connecting,
    /// Its name has no address, it cannot be connected to, or TLS failed.
    #[error("{node}: no connection: {reason}")]
    NoConnection {
        /// The server.
        node: String,
        /// What the system or TLS said.
        reason: String,
    },
    /// Connecting or a probe took too long.
    #[error("{node}: no answer in time")]
    NoAnswer {
        /// The server.
        node: String,
    },
    /// It answers, though later than is allowed to an operation.
    #[error("{node}: answers in {milliseconds}ms, later than shared_cache.timeout")]
    Slow {
        /// The server.
        node: String,
        /// How long a probe took.
        milliseconds: u128,
    },
    /// It does not take the user and the password or token.
    #[error("{node}: refuses the credential ({code})")]
    Unauthenticated {
        /// The server.
        node: String,
        /// What it said, in one word.
        code: Untrusted,
    },
    /// It takes the user, who lacks permissions that the broker needs.
    #[error("{node}: the user lacks the permissions {permissions}")]
    NotPermitted {
        /// The server.
        node: String,
        /// What is missing, as an ACL would grant it: commands (`+getrange`), and keys that begin with `shared_cache.prefix`.
        permissions: String,
    },
    /// It answered with an error: it is a replica, loads its data, and so on.
    #[error("{node}: {code}")]
    Refused {
        /// The server.
        node: String,
        /// What it said, in one word.
        code: Untrusted,
    },
    /// It answered with something else than a store would.
    #[error("{node}: not an answer that a store would give")]
    Nonsense {
        /// The server.
        node: String,
    },
    /// No sentinel knows the server by that name.
    #[error("no sentinel knows a server {0}")]
    NoMaster(String),
    /// No server of the cluster tells which ones there are.
    #[error("the cluster has no servers")]
    NoServers,
    /// Some keys of the cluster are on no server.
    #[error("the cluster does not cover all slots")]
    Uncovered,
    /// There is nothing to say who the broker is.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl Failure {
    /// What an answer, or the lack of one, of `node` means.
    pub(crate) fn of(node: String, error: &RedisError) -> Self {
        let code = || Untrusted::new(code(error));
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Unauthenticated { node, code: code() },
            ErrorKind::Server(_) | ErrorKind::Extension => {
                if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) {
                    Self::Unauthenticated { node, code: code() }
                } else {
                    Self::Refused { node, code: code() }
                }
            }
            ErrorKind::Io => Self::NoConnection {
                node,
                reason: "the connection was lost".to_owned(),
            },
            _ => Self::Nonsense { node },
        }
    }
}

/// The word that says which error it is: capitals, as the protocol has it
/// (<https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>). Another word may be of what was sent.
fn code(error: &RedisError) -> &str {
    const LONGEST: usize = 32;
    let is_code = |word: &&str| {
        (1..=LONGEST).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    error.code().filter(is_code).unwrap_or("ERR")
}

/// Whether a server that answers so is of no use to anybody, rather than to this operation.
pub(crate) fn is_of_server(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::ReadOnly
        ),
        ErrorKind::Extension => matches!(
            error.code(),
            Some("NOAUTH" | "WRONGPASS" | "MISCONF" | "NOREPLICAS" | "BUSY")
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_an_error_is_shown() {
        let said = |line: &str| {
            let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
            let error = value.and_then(redis::Value::extract_error).unwrap_err();
            Failure::of("h:1".to_owned(), &error).to_string()
        };
        for (line, shown) in [
            (
                "WRONGPASS invalid username-password pair",
                "h:1: refuses the credential (WRONGPASS)",
            ),
            ("NOREPLICAS Not enough good replicas", "h:1: NOREPLICAS"),
            ("LOADING", "h:1: LOADING"),
            ("MASTER_DOWN", "h:1: MASTER_DOWN"),
            ("hunter2 what is that", "h:1: ERR"),
            ("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.e30.c2ln", "h:1: ERR"),
            (" of its own", "h:1: ERR"),
            (&"A".repeat(100), "h:1: ERR"),
        ] {
            assert_eq!(said(line), shown, "{line}");
        }
    }
}
