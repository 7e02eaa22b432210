#!/bin/sh
# Exchanges a Teams user's token at the emulated ACS with Microsoft's identity SDK for Python, unmodified. Needs python3; packages
# come from their registry. tests/sdk/js/teams-user.js does the same with the one for JavaScript.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
emulator=
trap 'test -z "$emulator" || kill "$emulator"; rm -rf "$work"' EXIT
address=${ADDRESS:-127.0.0.1:18092}

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
"$work/venv/bin/pip" install --quiet azure-communication-identity==1.5.0 azure-identity==1.27.0 requests
SSL_CERT_FILE="$work/ca.pem" REQUESTS_CA_BUNDLE="$work/ca.pem" "$work/venv/bin/python" -W ignore "$here/teams.py"
