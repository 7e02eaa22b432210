//! End-to-end tests: the broker against the emulated Azure side, over real sockets; one file per promise.
//!
//! Everything listens on loopback and on ports that the system picks, so that all tests can run at once.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on stops")]

mod support;

mod architecture;
mod assignments;
mod assignments_cli;
mod attacks;
mod audit;
mod authenticate;
mod authorize;
mod base_path;
mod budget;
mod cache;
mod caller_limits;
mod certificates;
mod cheap;
mod circuits;
mod cli;
mod clients;
mod collector_away;
mod collector_tls;
mod collectors;
mod connections;
mod dead_connections;
mod descriptors;
mod dev;
mod dev_playground;
mod docs;
mod doctor;
mod early_answers;
mod encrypted;
mod entra_refusals;
mod environment_file;
mod exchange;
mod explain;
mod external_id;
mod faults;
mod forms;
mod graph;
mod identity;
mod key_sets;
mod keys;
mod left;
mod limits;
mod logs;
mod metrics;
mod on_behalf_of;
mod platform;
mod proxies;
mod refusals;
mod reload;
mod renewal;
mod replay;
mod resources;
mod sampling;
mod secrets;
mod shared_cache;
mod shutdown;
mod signing;
mod span_links;
mod span_trees;
mod status_page;
mod teams_assignments_cli;
mod teams_user;
mod tls;
mod traces;
mod unenforced;
