//! The crate against real servers: Redis or Valkey, started here on loopback and killed when a test ends. `tests/shared-cache.sh`
//! installs them and runs these tests; without them `cargo test` leaves them out.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on stops")]

extern crate acs_token_broker_shared_cache as shared_cache;

mod budget;
mod budget_model;
mod cluster;
mod failures;
mod leases;
mod proxy;
mod refusals;
mod sentinel;
mod server;
mod support;
mod tls;
mod tokens;
mod values;
