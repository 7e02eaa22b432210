#!/usr/bin/env bash
# Measures what the sizing in docs/scaling-and-sizing.md is made of: CPU time of a request that the cache serves and of one that is
# exchanged at ACS, memory of a cached token and of an open connection. By hand, on a quiet machine, some two minutes;
# installs Debian's wrk if it is missing. Everything is on loopback, the loads end by themselves.
#
# cargo build --release && tests/sizing.sh [SECONDS [USERS [CONNECTIONS]]]
# BROKER=… measures another binary, such as the static one of the image, against the emulator of target/release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.ci/install wrk
emulator=${CARGO_TARGET_DIR:-target}/release/acs-token-broker
exec python3 tests/sizing.py "$emulator" "${BROKER:-$emulator}" "${1:-5}" "${2:-20000}" "${3:-2000}"
