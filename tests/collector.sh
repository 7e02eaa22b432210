#!/usr/bin/env bash
# Lets `acs-token-broker dev` send to a real collector, rotel, over gRPC and over HTTP/protobuf, and sees that every
# signal arrives there.
#
# tests/collector.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# The binary as the tests have it; `cargo build` would compile the dependencies again, with fewer features.
cargo test --quiet --all-features --test sdk --no-run
programs=$(.ci/venv)
work=$(mktemp -d)
dev='' collector=''

end() {
    if [[ -n $1 ]]; then
        kill "$1" 2>/dev/null || true
        wait "$1" || true
    fi
}
finish() {
    end "$dev"
    end "$collector"
    rm -rf "$work"
}
trap finish EXIT

# Ports that are free now; rotel cannot pick its own.
read -r grpc http < <("$programs/python" -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
agent=$("$programs/python" -c 'import os, rotel; print(os.path.join(os.path.dirname(rotel.__file__), "rotel-agent"))')
"$agent" start --otlp-grpc-endpoint "127.0.0.1:$grpc" --otlp-http-endpoint "127.0.0.1:$http" --exporter blackhole \
    --debug-log traces --debug-log metrics --debug-log logs --debug-log-verbosity detailed >"$work/rotel.txt" 2>&1 </dev/null &
collector=$!

# await NAME FILE PATTERN
await() {
    for _ in {1..150}; do
        if grep -qE -- "$3" "$2"; then return; fi
        sleep 0.1
    done
    echo "$1: nothing like $3 in:" >&2
    tail -n 100 "$2" >&2
    return 1
}

run() {
    local protocol=$1 port=$2
    local before
    before=$(wc -l <"$work/rotel.txt")
    : >"$work/dev.txt"
    OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$port" OTEL_EXPORTER_OTLP_PROTOCOL=$protocol \
        OTEL_SERVICE_NAME="broker-over-${protocol%%/*}" OTEL_METRIC_EXPORT_INTERVAL=500 \
        "${CARGO_TARGET_DIR:-target}/debug/acs-token-broker" dev --listen 127.0.0.1:0 \
        --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 >"$work/dev.txt" 2>&1 </dev/null &
    dev=$!
    await "$protocol" "$work/dev.txt" '^Stop with'
    "$programs/python" - "$(awk '$1 == "broker" { print $2 }' "$work/dev.txt")" \
        "$(awk '$1 == "emulator" { print $2 }' "$work/dev.txt")" <<'PYTHON'
import json, sys, time, urllib.error, urllib.request

broker, emulator = sys.argv[1:]
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

def post(url, headers={}):
    return json.load(direct.open(urllib.request.Request(url, data=b"", headers=headers, method="POST")))

token = post(emulator + "/_emulator/users/alex/token")["access_token"]
for attempt in range(50):
    try:
        post(broker + "/token", {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
        break
    except urllib.error.HTTPError as error:
        # Not ready yet.
        if error.code != 503 or attempt == 49:
            raise
        time.sleep(0.1)
PYTHON
    end "$dev"
    dev=
    tail -n "+$((before + 1))" "$work/rotel.txt" >"$work/received.txt"
    for _ in {1..100}; do
        if grep -q 'POST /token' "$work/received.txt" && grep -q 'acs_token_broker::audit' "$work/received.txt"; then break; fi
        sleep 0.1
        tail -n "+$((before + 1))" "$work/rotel.txt" >"$work/received.txt"
    done
    # A server span, a stage of ours and the call to ACS; the audit event; under the service's name.
    local wanted
    for wanted in 'POST /token' 'authenticate' 'acs_broker.upstream' 'acs_token_broker::audit' \
        "broker-over-${protocol%%/*}"; do
        await "$protocol" "$work/received.txt" "$wanted"
    done
    if grep -q 'eyJ' "$work/received.txt"; then
        echo "$protocol: something that looks like a token was sent" >&2
        return 1
    fi
    echo "$protocol: traces and logs arrive"
    await "$protocol" "$work/received.txt" 'http.server.request.duration'
    echo "$protocol: metrics arrive"
}

await rotel "$work/rotel.txt" '.'
run grpc "$grpc"
run http/protobuf "$http"
