//! What the fuzz targets reach of this module (`fuzz/`). cargo-fuzz alone compiles it.

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::payload;
use crate::exchange::IssuedToken;

/// The token that a payload is, and what would be written of it.
#[must_use]
pub fn payload(bytes: &[u8], expires_on: Timestamp) -> Option<(IssuedToken, Zeroizing<Vec<u8>>)> {
    let token = payload::read(bytes, expires_on)?;
    let written = payload::write(&token);
    Some((token, written))
}
