//! Tests over HTTP: a client of nothing but sockets, so that every byte sent is the test's own.

mod callers;
mod client_credentials;
mod contract;
mod controls;
mod credentials;
mod directory;
mod discovery;
mod entra;
mod exchange;
mod federated;
mod graph;
mod managed_identity;
mod on_behalf_of;
mod registered;
mod sign_in;
mod signed;
mod steps;
mod support;
mod teams;
mod teams_users;
