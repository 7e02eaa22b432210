//! What follows from what was looked at. Nothing here reads a file, asks a service or knows the time by itself.

pub mod acs;
pub mod config;
pub mod entra;
pub mod graph;
pub mod shared_cache;
pub mod token;
mod words;

pub use self::words::in_words;
