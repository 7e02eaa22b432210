#!/usr/bin/env bash
# What a broker with default settings takes in memory, whatever is sent to it without a valid token: over HTTP/1.1, h2c
# and TLS, from several addresses, at the public and the management listener. Prints the peak of resident memory for each
# attack, and fails where it is over 200 MiB. Everything is on loopback, and each attack ends by itself.
#
# cargo build --release && tests/memory.sh [short|long] [ATTACK...]
# "short" (the default) takes less than a minute, "long" some minutes. BROKER=… measures another binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/release/acs-token-broker}
exec python3 tests/memory/attack.py "$broker" "$@"
