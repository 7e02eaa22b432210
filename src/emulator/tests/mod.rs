//! Tests over HTTP: a client of nothing but sockets, so that every byte sent is the test's own.

mod controls;
mod entra;
mod exchange;
mod signed;
mod support;
