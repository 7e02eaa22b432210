#!/bin/sh
# Does the administrators' steps at the emulated Graph with Microsoft's Graph SDK for Python, unmodified. Needs python3; packages
# come from their registry. tests/sdk/js/graph.js does the same with the one for JavaScript.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
emulator=
trap 'test -z "$emulator" || kill "$emulator"; rm -rf "$work"' EXIT
address=${ADDRESS:-127.0.0.1:18091}

cd "$here/../../.."
cargo build --quiet -p acs-token-broker-azure-emulator --example serve
: > "$work/serve.log"
target/debug/examples/serve "$work" "$address" > "$work/serve.log" &
emulator=$!
until EMULATOR=$(sed -n 's/^https  *//p' "$work/serve.log") && test -n "$EMULATOR"; do
  kill -0 "$emulator"
  sleep 0.2
done
export EMULATOR

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet msgraph-sdk==1.65.0 azure-identity==1.27.0 requests
SSL_CERT_FILE="$work/ca.pem" REQUESTS_CA_BUNDLE="$work/ca.pem" "$work/venv/bin/python" -W ignore "$here/graph.py"
