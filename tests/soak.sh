#!/usr/bin/env bash
# Hundreds of users over hours of moved time, while signing keys, assignments and secrets change, upstreams fail and brokers are
# restarted, all of it drawn from the seed. A checker knows what each answer has to be; the first wrong one ends the run with exit code 1,
# the seed and what happened last. Ends with counts. Everything is on loopback.
#
# tests/soak.sh [SECONDS [SEED]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export SOAK_SECONDS=${1:-30} SOAK_SEED=${2:-$RANDOM}
exec cargo test --quiet --all-features --test soak
