#!/usr/bin/env bash
# Runs a day of the official SDK's token refresh against `acs-token-broker dev`, in moved time: the real
# AzureCommunicationTokenCredential with fake timers, and the emulator's control `POST /_emulator/clock`, which moves the clocks of
# the emulator and of the broker. Counts calls to the broker and exchanges at ACS. Fails if a user is without a valid token, if
# calls crowd near the end of a token, or if ACS sees more exchanges than new Entra tokens. docs/sdk-refresh.md has the figures.
#
# BROKER=target/debug/acs-token-broker tests/refresh.sh [HOURS]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export HOURS=${1:-24}
binary=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $binary ]]; then
    echo "there is no $binary; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
folder=tests/refresh
if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/installed.json"; then
    # The SDK asks for Node 22, and works with 20.
    (cd "$folder" && npm ci --no-audit --no-fund --ignore-scripts --engine-strict=false --loglevel=error)
    cp "$folder/package-lock.json" "$folder/node_modules/installed.json"
fi
work=$(mktemp -d)
dev=
stop_dev() {
    if [[ -z $dev ]]; then return; fi
    kill "$dev" 2>/dev/null || true
    wait "$dev" || true
    dev=
}
finish() {
    stop_dev
    rm -rf "$work"
}
trap finish EXIT

# day SCENARIO: with a stack of its own, and an empty cache.
day() {
    : >"$work/dev.txt"
    "$binary" dev --tls --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 \
        >"$work/dev.txt" 2>&1 </dev/null &
    dev=$!
    for _ in {1..600}; do
        if grep -q '^Stop with' "$work/dev.txt" || ! kill -0 "$dev" 2>/dev/null; then break; fi
        sleep 0.1
    done
    local broker emulator authority
    broker=$(awk '$1 == "broker" { print $2 }' "$work/dev.txt")
    emulator=$(awk '$1 == "emulator" { print $2 }' "$work/dev.txt")
    authority=$(awk '$1 == "CA" { print $3 }' "$work/dev.txt")
    if [[ -z $broker || -z $emulator || -z $authority ]]; then
        cat "$work/dev.txt" >&2
        exit 1
    fi
    if ! BROKER=$broker EMULATOR=$emulator NODE_EXTRA_CA_CERTS=$authority \
        node "$folder/day.mjs" "$1" >>"$work/counted.txt"; then
        tail -20 "$work/dev.txt" >&2
        exit 1
    fi
    stop_dev
}

for scenario in endpoint refresher proactive acs_decides tabs tabs_apart encrypted encrypted_text; do day "$scenario"; done
node "$folder/judge.mjs" "$work/counted.txt"
