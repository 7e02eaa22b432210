#!/usr/bin/env bash
# The morning storm: many users without a token within a minute, more than ACS issues tokens to. Four times, two at a time, each with a
# broker and an emulated ACS of its own (`dev`) that holds to a quota: with the broker's budget of exchanges, without it, and with the
# official SDK's own retries at ACS itself and at the broker. Ends with counts. Fails if with the budget ACS answers one 429, more
# requests than the quota reach it in any window, a user gets no token, is told anything but when to come back, or is overtaken in the
# queue; and if without it ACS does not refuse, as then nothing was tried. Everything is on loopback, and each storm ends by itself.
#
# BROKER=target/debug/acs-token-broker tests/storm.sh [--short|--tenth] [--keep]
# In full 10,000 users, 500 tokens in 30 s, some twenty-five minutes; --short is the first two with 200 users and 50 tokens in 4 s, half a
# minute; --tenth is a tenth of the users and of the quota, for an unoptimized build. --keep writes what was measured into
# tests/storm/measured.json and the picture of it into docs/images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(.ci/broker)
AT_ONCE=2
export USERS=10000 ARRIVALS=60 LIMIT=900 QUOTA=500/30s
keep=()
storms=("budget page broker quota" "none page broker off" "sdk sdk emulator quota" "sdk-broker sdk broker quota")
for option in "$@"; do
    case $option in
    --short)
        USERS=200 ARRIVALS=3 LIMIT=35 QUOTA=50/4s
        storms=("${storms[@]:0:2}")
        ;;
    --tenth) USERS=1000 QUOTA=50/30s AT_ONCE=4 ;;
    --keep) keep=(tests/storm/measured.json docs/images/storm.svg) ;;
    *)
        echo "tests/storm.sh [--short|--tenth] [--keep]" >&2
        exit 2
        ;;
    esac
done
folder=tests/refresh
if [[ ${#storms[@]} -gt 2 ]] && ! cmp -s "$folder/package-lock.json" "$folder/node_modules/installed.json"; then
    # The SDK asks for Node 22, and works with 20.
    (cd "$folder" && npm ci --no-audit --no-fund --ignore-scripts --engine-strict=false --loglevel=error)
    cp "$folder/package-lock.json" "$folder/node_modules/installed.json"
fi
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT

# storm NAME CLIENT TARGET BUDGET: with a stack of its own.
storm() {
    local name=$1 client=$2 target=$3 budget=$4 said=$work/$1.log tls=()
    # Of this shell, which is the storm's own; its end looks at them.
    dev='' users=''
    : >"$said"
    # The SDK refuses plain http.
    if [[ $client == sdk ]]; then tls=(--tls); fi
    # All users are one address here, and a busy machine is no ACS that fails: exchanges have time, and there is no breaker.
    ACS_TOKEN_BROKER__LIMITS__UPSTREAM_EXCHANGES=${budget/quota/$QUOTA} \
        ACS_TOKEN_BROKER__SERVER__MAX_CONNECTIONS_PER_ADDRESS=off ACS_TOKEN_BROKER__UPSTREAM__BREAKER=off \
        ACS_TOKEN_BROKER__EXCHANGE__TIMEOUT=60s ACS_TOKEN_BROKER__TELEMETRY__LOG_LEVEL=warn \
        "$broker" dev "${tls[@]}" --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 \
        >"$said" 2>&1 </dev/null &
    dev=$!
    # shellcheck disable=SC2329,SC2086 # by the trap; each is one number or nothing
    end() {
        kill $dev $users 2>/dev/null || true
        wait
    }
    trap end EXIT
    for _ in {1..600}; do
        if grep -q '^Stop with' "$said" || ! kill -0 "$dev" 2>/dev/null; then break; fi
        sleep 0.1
    done
    local where emulator authority
    where=$(awk -v name="$target" '$1 == name { print $2 }' "$said")
    emulator=$(awk '$1 == "emulator" { print $2 }' "$said")
    authority=$(awk '$1 == "CA" { print $3 }' "$said")
    TARGET=$where EMULATOR=$emulator CLIENT=$client OUT=$work/$name.json NODE_EXTRA_CA_CERTS=$authority \
        node tests/storm/storm.mjs "$name" &
    users=$!
    if ! wait "$users"; then
        tail -n 5 "$said" >&2
        return 1
    fi
}

# All at a time would keep a small machine busy with itself.
while [[ ${#storms[@]} -gt 0 ]]; do
    for each in "${storms[@]:0:AT_ONCE}"; do
        # shellcheck disable=SC2086 # four words
        (storm $each) &
        pids+=("$!")
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    pids=()
    storms=("${storms[@]:AT_ONCE}")
done
python3 -B tests/storm/judge.py "$work" "${keep[@]}"
