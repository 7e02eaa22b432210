#!/bin/sh
# Does the administrators' steps at the emulated Graph with Microsoft's Graph SDK for Python, unmodified. Needs python3; packages
# come from their registry. tests/sdk/js/graph.js does the same with the one for JavaScript.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
address=${ADDRESS:-127.0.0.1:18091}
. tests/sdk/emulator.sh

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet msgraph-sdk==1.65.0 azure-identity==1.27.0 requests
SSL_CERT_FILE="$work/ca.pem" REQUESTS_CA_BUNDLE="$work/ca.pem" "$work/venv/bin/python" -W ignore "$here/graph.py"
