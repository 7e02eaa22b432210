//! Scripts that run within the store, each over the keys of one hash tag.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use redis::Cmd;

/// A script with the name by which a server knows it.
pub(crate) struct Script {
    code: &'static str,
    // SHA-1 in hexadecimal: what `EVALSHA` takes.
    digest: String,
}

/// Compare and set.
pub(crate) static PUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/put.lua")));
/// A lease, if nobody holds it.
pub(crate) static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lease.lua")));
/// Its end, if it is the owner's.
pub(crate) static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/release.lua")));
/// A place in a budget.
pub(crate) static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/take.lua")));
/// Requests that have ended.
pub(crate) static END: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/end.lua")));
/// A pause.
pub(crate) static PAUSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/pause.lua")));

impl Script {
    fn new(code: &'static str) -> Self {
        let mut name = String::with_capacity(40);
        for byte in digest(&SHA1_FOR_LEGACY_USE_ONLY, code.as_bytes()).as_ref() {
            // Writing into a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        Self { code, digest: name }
    }

    /// A call of the script by its name, which a server that was restarted does not know.
    pub(crate) fn call(&self, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
        Self::command("EVALSHA", &self.digest, keys, arguments)
    }

    /// The same call with the script itself.
    pub(crate) fn call_whole(&self, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
        Self::command("EVAL", self.code, keys, arguments)
    }

    fn command(name: &str, script: &str, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}
