#!/usr/bin/env bash
# What telemetry costs: CPU time of the broker for each request that the cache serves, as a ratio to that without an
# exporter, in one run on this machine. By hand, on a quiet machine, some ninety seconds: a ratio from a busy one decides
# nothing. Wants a release build with all features. Installs Debian's wrk if it is missing.
#
# cargo build --release --all-features && tests/overhead.sh [SECONDS] [ROUNDS]
# BROKER=… measures another binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.ci/install wrk
seconds=${1:-5} rounds=${2:-3}
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/release/acs-token-broker}
programs=$(.ci/venv)
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait || true
    rm -rf "$work"
}
trap finish EXIT

agent=$("$programs/python" -c 'import os, rotel; print(os.path.join(os.path.dirname(rotel.__file__), "rotel-agent"))')
read -r grpc http dead < <("$programs/python" -c '
import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
"$agent" start --otlp-grpc-endpoint "127.0.0.1:$grpc" --otlp-http-endpoint "127.0.0.1:$http" --exporter blackhole \
    >/dev/null 2>&1 </dev/null &
pids+=($!)

# start NAME VARIABLE... : a broker of that name, with its token.
declare -A process address token
start() {
    local name=$1
    shift
    : >"$work/$name.txt"
    env "$@" "$broker" dev --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 \
        >"$work/$name.txt" 2>/dev/null </dev/null &
    process[$name]=$!
    pids+=($!)
    for _ in {1..100}; do
        if grep -q '^Stop with' "$work/$name.txt"; then break; fi
        sleep 0.1
    done
    address[$name]=$(awk '$1 == "broker" { print $2 }' "$work/$name.txt")
    if [[ -z ${address[$name]} ]]; then
        echo "the broker \"$name\" has not started: $broker" >&2
        return 1
    fi
    local emulator
    emulator=$(awk '$1 == "emulator" { print $2 }' "$work/$name.txt")
    token[$name]=$(curl --silent --noproxy '*' --request POST "$emulator/_emulator/users/alex/token" |
        "$programs/python" -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
}

# CPU time of a process in clock ticks.
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

start off OTEL_SDK_DISABLED=true
traces=(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$http" OTEL_LOGS_EXPORTER=none OTEL_METRICS_EXPORTER=none)
start one "${traces[@]}" OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.01
start all "${traces[@]}" OTEL_TRACES_SAMPLER=always_on
start logs OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$http" OTEL_METRICS_EXPORTER=none \
    OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.01
start down OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$dead" OTEL_METRICS_EXPORTER=none OTEL_TRACES_SAMPLER=always_on
names=(off one all logs down)

# wrk reads its script once for each thread, so it is a file. What is not a token is no measurement.
load() {
    printf 'wrk.method = "POST"\nwrk.headers["Authorization"] = "Bearer %s"\n' "${token[$1]}" >"$work/$1.lua"
    wrk --threads 1 --connections 8 --duration "$2" --script "$work/$1.lua" "${address[$1]}/token" >"$work/wrk.txt"
    if grep --quiet 'Non-2xx' "$work/wrk.txt"; then
        cat "$work/wrk.txt" >&2
        return 1
    fi
    awk '/requests in/ { print $1 }' "$work/wrk.txt"
}
declare -A spent served
for name in "${names[@]}"; do load "$name" 1s >/dev/null; done
for ((round = 0; round < rounds; round++)); do
    # Each goes first in turn: what went before leaves its traces in the processor's caches.
    for ((turn = 0; turn < ${#names[@]}; turn++)); do
        name=${names[(round + turn) % ${#names[@]}]}
        before=$(ticks "${process[$name]}")
        requests=$(load "$name" "${seconds}s")
        after=$(ticks "${process[$name]}")
        spent[$name]=$((${spent[$name]:-0} + after - before))
        served[$name]=$((${served[$name]:-0} + requests))
    done
done
# Bounds far above what was seen on a quiet machine (1.02, 1.5, 1.4, 1.5).
declare -A most=([off]=1 [one]=1.2 [all]=2 [logs]=2 [down]=2)
failed=0
for name in "${names[@]}"; do
    memory=$(awk '/^VmRSS/ { print $2 }' "/proc/${process[$name]}/status")
    awk -v name="$name" -v spent="${spent[$name]}" -v served="${served[$name]}" -v hz="$(getconf CLK_TCK)" \
        -v first="${spent[off]}" -v of="${served[off]}" -v memory="$memory" -v most="${most[$name]}" 'BEGIN {
        ratio = (spent / served) / (first / of)
        printf "%-5s %7.1f us CPU a request, %.2f of off (at most %s); %d requests; %d KiB resident\n", name,
            spent / hz / served * 1e6, ratio, most, served, memory
        exit ratio > most }' || failed=1
done
[[ $failed == 0 ]]
