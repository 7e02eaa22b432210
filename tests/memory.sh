#!/usr/bin/env bash
# What a broker with default settings takes in memory, whatever is sent to it without a valid token: over HTTP/1.1, h2c
# and TLS, from several addresses, at the public and the management listener. Prints the peak of resident memory for each
# attack, and fails where it is over 200 MiB. Then the same for an ACS that answers many users at once with bodies without end, gzip
# bombs, floods of headers, or not at all. Everything is on loopback, and each attack ends by itself.
#
# cargo build --release && tests/memory.sh [short|long] [ATTACK...]
# "short" (the default) takes some two minutes, "long" some minutes. BROKER=… measures another binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/release/acs-token-broker}
python3 -B tests/memory/attack.py "$broker" "$@"
if [[ $# -le 1 ]]; then python3 -B tests/memory/upstream.py "$broker" "$@"; fi
