#!/usr/bin/env bash
# The crate shared_cache against real servers, which its tests start on loopback and kill: one server, TLS, users with few permissions,
# sentinels, a cluster, failovers, slow, full and foreign stores; the scripts of the budget against a naive model. Then brokers
# with one store (tests/it/shared_cache.rs). Installs Debian's redis-server and redis-sentinel if they are missing; neither is
# started as a service.
#
# tests/shared-cache.sh [FILTER…]: a filter is for the crate's tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

install() (
    sudo=
    if [[ $(id -u) -ne 0 ]]; then sudo=sudo; fi
    # Nothing is to be started as a service: a policy that says so, unless there is one.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin "$policy"
        trap '$sudo rm -f "$policy"' EXIT
    fi
    $sudo apt-get -qq update
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
)
packages=()
for name in redis-server redis-sentinel; do
    command -v "$name" >/dev/null || packages+=("$name")
done
if [[ ${#packages[@]} -gt 0 ]]; then install "${packages[@]}"; fi
cargo test --quiet --all-features --test redis -- --ignored "$@"
# Brokers with one store.
cargo test --quiet --all-features --test it shared_cache -- --ignored
