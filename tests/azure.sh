#!/usr/bin/env bash
# Checks deploy/azure without Azure: the Bicep by two parsers and a linter, its resource types and properties against those
# that were looked up, and for each way of use what is deployed, whether the broker takes the configuration it gets, and
# whether it gives tokens with it, at the emulator. A
# Bicep CLI, where there is one, builds the templates too; it fetches the Microsoft Graph extension, so it needs a network.
#
# BROKER=target/debug/acs-token-broker tests/azure.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $broker ]]; then
    echo "there is no $broker; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
python=$(.ci/venv)/python
export PYTHONDONTWRITEBYTECODE=1

"$python" tests/azure/static.py
"$python" tests/azure/properties.py
"$python" tests/azure/configuration.py "$broker"
"$python" tests/azure/live.py "$broker"
if command -v bicep >/dev/null; then
    for template in main entra; do bicep build "deploy/azure/$template.bicep" --stdout >/dev/null; done
    USER_HASH_KEY='' bicep build-params deploy/azure/main.bicepparam --stdout >/dev/null
    bicep build-params deploy/azure/entra.bicepparam --stdout >/dev/null
    echo "bicep builds all of it"
else
    echo "there is no bicep here; what only the compiler knows was not checked"
fi
