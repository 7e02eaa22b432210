//! The issuers of a tenant's tokens.

use std::fmt::Display;

/// The issuer of a tenant's v2 tokens.
pub(crate) fn v2_issuer(origin: &str, tenant: impl Display) -> String {
    format!("{origin}/{tenant}/v2.0")
}

/// The issuer of a tenant's v1 tokens. Entra uses another host (`https://sts.windows.net/{tid}/`); the emulator
/// has one address only, so a path of its own stands for that host.
pub(crate) fn v1_issuer(origin: &str, tenant: impl Display) -> String {
    format!("{origin}/sts/{tenant}/")
}
