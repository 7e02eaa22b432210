#!/bin/sh
# Exchanges a Teams user's token at the emulated ACS with Microsoft's identity SDK for Python, unmodified. Needs python3; packages
# come from their registry. tests/sdk/js/teams-user.js does the same with the one for JavaScript.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
address=${ADDRESS:-127.0.0.1:18092}
. tests/sdk/emulator.sh

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet azure-communication-identity==1.5.0 azure-identity==1.27.0 requests
SSL_CERT_FILE="$work/ca.pem" REQUESTS_CA_BUNDLE="$work/ca.pem" "$work/venv/bin/python" -W ignore "$here/teams.py"
