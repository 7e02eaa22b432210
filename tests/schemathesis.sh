#!/usr/bin/env bash
# Lets schemathesis make requests out of openapi.yaml, good and bad ones, and hold the answers of
# `acs-token-broker dev` against it. Fails if it finds anything.
#
# tests/schemathesis.sh [MOST_EXAMPLES] [SEED]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
examples=${1:-100} seed=${2:-1}
# The binary as the tests have it; `cargo build` would compile the dependencies again, with fewer features.
cargo test --quiet --all-features --test sdk --no-run
programs=$(.ci/venv)
work=$(mktemp -d)
dev=

finish() {
    if [[ -n $dev ]]; then
        kill "$dev" 2>/dev/null || true
        wait "$dev" || true
    fi
    rm -rf "$work"
}
trap finish EXIT

"${CARGO_TARGET_DIR:-target}/debug/acs-token-broker" dev --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 \
    --emulator-listen 127.0.0.1:0 >"$work/dev.txt" 2>&1 </dev/null &
dev=$!
for _ in {1..600}; do
    if grep -q '^Stop with' "$work/dev.txt"; then break; fi
    if ! kill -0 "$dev" 2>/dev/null; then break; fi
    sleep 0.1
done
address() { awk -v name="$1" '$1 == name { print $2 }' "$work/dev.txt"; }
broker=$(address broker) emulator=$(address emulator)
if [[ -z $broker || -z $emulator ]]; then
    cat "$work/dev.txt" >&2
    exit 1
fi
token=$("$programs/python" - "$emulator" <<'PYTHON'
import json, sys, urllib.request

call = urllib.request.Request(sys.argv[1] + "/_emulator/users/alex/token", data=b"", method="POST")
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(json.load(direct.open(call))["access_token"])
PYTHON
)

# It leaves a folder of notes where it runs.
cd "$work"
run() {
    "$programs/schemathesis" --config-file "$root/tests/schemathesis.toml" run "$root/openapi.yaml" --url "$broker" \
        --max-examples "$examples" --seed "$seed" "$@"
}
run --header "Authorization: Bearer $token"
# A form is never looked into where an Authorization header stands beside it, so once more without. Made-up tokens
# are all refused then, of which it would warn.
run --include-path /oauth2/token --warnings off
