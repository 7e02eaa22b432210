#!/usr/bin/env bash
# The crate shared_cache against real servers, which its tests start on loopback and kill: one server, TLS, users with few permissions,
# sentinels, a cluster, failovers, slow, full and foreign stores; the scripts of the budget against a naive model. Then brokers
# with one store (tests/it/shared_cache.rs). Installs Debian's redis-server and redis-sentinel if they are missing; neither is
# started as a service.
#
# tests/shared-cache.sh [FILTER…]: a filter is for the crate's tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.ci/install redis-server redis-sentinel
cargo test --quiet --all-features --test redis -- --ignored "$@"
# Brokers with one store.
cargo test --quiet --all-features --test it shared_cache -- --ignored
