//! Where assignments come from.

mod node;
pub mod parse;
