//! The crate against real servers.
