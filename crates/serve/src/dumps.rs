//! Memory of the process that is nobody else's to read.

use std::io;

/// Keeps the process's memory, which holds tokens and keys, from core dumps and from other processes of its user:
/// nobody but root can attach to it, or read its `/proc/PID/mem` and `environ` (prctl(2), `PR_SET_DUMPABLE`).
#[cfg(target_os = "linux")]
pub fn forbid_dumps() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// There is no such thing elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn forbid_dumps() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
