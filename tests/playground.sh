#!/usr/bin/env bash
# The playground that `dev` serves, in headless Chromium: its story in both colour schemes, its switches, its accessibility
# (axe), the keyboard, a narrow screen, and pages from elsewhere. Its scripts are checked by TypeScript first.
# Everything is on loopback and on free ports. Installs Debian's chromium if there is none.
#
# BROKER=target/debug/acs-token-broker tests/playground.sh [PICTURES]
# With a folder PICTURES it leaves screenshots there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(.ci/broker)
.ci/install chromium
if [[ $# -gt 0 ]]; then
    mkdir -p "$1"
    PICTURES=$(cd "$1" && pwd)
    export PICTURES
fi
work=$PWD/target/playground
rm -f "$work/dev.txt"
mkdir -p "$work"
cp tests/playground/* "$work"
(cd "$work" && npm ci --silent --no-audit --no-fund)
"$work/node_modules/.bin/tsc" --noEmit --checkJs --allowJs --strict --target es2023 --module esnext --moduleResolution bundler \
    --lib es2023,dom,dom.iterable crates/azure-emulator/src/playground/page/*.js

dev=
finish() {
    local code=$?
    if [[ -n $dev ]]; then
        kill "$dev" 2>/dev/null || true
        wait "$dev" || true
    fi
    if [[ $code != 0 ]]; then tail -n 40 "$work/dev.txt" >&2 || true; fi
}
trap finish EXIT
"$broker" dev --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 >"$work/dev.txt" 2>&1 </dev/null &
dev=$!
for _ in {1..600}; do
    if grep -q '^Stop with' "$work/dev.txt"; then break; fi
    if ! kill -0 "$dev" 2>/dev/null; then break; fi
    sleep 0.1
done
address() { awk -v name="$1" '$1 == name { print $2 }' "$work/dev.txt"; }
PLAYGROUND=$(address playground) BROKER=$(address broker) node "$work/story.mjs"
