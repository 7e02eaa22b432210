#!/usr/bin/env bash
# Checks deploy/azure without Azure: with a Bicep CLI that all of it compiles without a warning, is formatted, and refuses what
# cannot work; without one by a grammar alone. In either case whether the broker takes the variables that each way of use gives
# it, and whether it gives tokens with them, at the emulator.
#
# BROKER=target/debug/acs-token-broker tests/azure.sh
# BICEP=require tests/azure.sh      fails where there is no Bicep CLI, 0.41.2 or later
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Needs a network: the CLI fetches the Microsoft Graph extension.
compile() {
    local work file said wrong=0
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    cp -r deploy/azure/. "$work"
    export USER_HASH_KEY=0123456789abcdef0123456789abcdef
    for file in "$work"/*.bicep "$work"/modules/*.bicep "$work"/*.bicepparam; do
        # It ends with 0 where there are warnings only.
        said=$(bicep lint "$file" 2>&1) || wrong=1
        if grep -E ' : (Warning|Error|Info) ' <<<"$said"; then wrong=1; fi
        bicep format "$file" --stdout | diff -u "$file" - || wrong=1
    done
    for file in main entra; do
        bicep build "$work/$file.bicep" --stdout >/dev/null || wrong=1
        bicep build-params "$work/$file.bicepparam" --stdout >/dev/null || wrong=1
        # What would be deployed, as far as it can be known beforehand.
        snapshot "$work" "$file" || wrong=1
    done
    # What cannot work is refused by `fail` in main.bicep, with these words.
    refuses "$work" 'brokerClientId is needed in this mode' "param mode = 'on_behalf_of'" || wrong=1
    refuses "$work" 'brokerClientId is needed in this mode' "param mode = 'identity'" || wrong=1
    refuses "$work" 'brokerClientId is needed in this mode' "param unknownGroups = 'graph'" || wrong=1
    refuses "$work" 'unknownGroups cannot be acs in identity mode' "param mode = 'identity'" "param brokerClientId = 'a'" \
        "param unknownGroups = 'acs'" || wrong=1
    refuses "$work" 'need infrastructureSubnetId' "param zoneRedundant = true" || wrong=1
    refuses "$work" 'need infrastructureSubnetId' "param externalIngress = false" || wrong=1
    refuses "$work" 'minReplicas is larger than maxReplicas' "param minReplicas = 7" || wrong=1
    return "$wrong"
}

# snapshot FOLDER NAME: prints what the CLI says of FOLDER/NAME.bicepparam, and the snapshot that it writes.
snapshot() {
    local kept=$1/$2.snapshot.json
    rm -f "$kept"
    bicep snapshot "$1/$2.bicepparam" --mode overwrite || return 1
    [[ -s $kept ]] || { echo "$2: there is no snapshot" >&2; return 1; }
}

# refuses FOLDER WORDS PARAMETER...: main.bicepparam with these parameters gets no snapshot, but these words.
refuses() {
    local work=$1 words=$2 said
    shift 2
    # A parameter that the file sets already is set anew.
    for parameter in "$@"; do
        grep -v "^${parameter%=*}=" "${made:-$work/main.bicepparam}" >"$work/next" && mv "$work/next" "$work/wrong.bicepparam"
        echo "$parameter" >>"$work/wrong.bicepparam"
        local made=$work/wrong.bicepparam
    done
    rm -f "$work/wrong.snapshot.json"
    said=$(bicep snapshot "$work/wrong.bicepparam" --mode overwrite 2>&1; cat "$work/wrong.snapshot.json" 2>/dev/null) || true
    # An expression that could not be worked out stands in a snapshot as it is, and says nothing.
    if ! grep -F "$words" <<<"$said" | grep -qvF 'fail('; then
        echo "not refused: $*: $said" >&2
        return 1
    fi
}

if command -v bicep >/dev/null; then
    compile
    echo "$(bicep --version): all of it compiles without a warning, is formatted, and refuses what cannot work"
elif [[ ${BICEP:-} == require ]]; then
    echo "there is no bicep here" >&2
    exit 1
else
    echo "there is no bicep here: types, properties and formatting were not checked, nor what the templates refuse"
fi
if [[ ${BICEP:-} == require ]]; then exit; fi

broker=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $broker ]]; then
    echo "there is no $broker; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
python=$(.ci/venv)/python
export PYTHONDONTWRITEBYTECODE=1
"$python" tests/azure/static.py
"$python" tests/azure/configuration.py "$broker"
"$python" tests/azure/live.py "$broker"
