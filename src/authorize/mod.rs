//! Who may have a token.

pub mod assignment;
pub mod source;
