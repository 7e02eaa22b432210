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
    local file said wrong=0
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
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
    done

    # What would be deployed, by how the parameter files are filled in.
    deploys main Microsoft.Insights/metricAlerts || wrong=1
    lacks main Microsoft.Insights/metricAlerts "param alertEmail = ''" || wrong=1
    lacks main "$role_at_acs" || wrong=1
    deploys main "$role_at_acs" "param assignmentsSource = 'acs'" || wrong=1
    local api="param brokerClientId = 'a'" way
    for way in identity teams_user; do
        deploys main "$role_at_acs" "param mode = '$way'" "$api" || wrong=1
        lacks main "$role_at_acs" "param mode = '$way'" "$api" "param communicationCredential = 'access_key'" || wrong=1
        lacks main ACCESS_KEY_FILE "param mode = '$way'" "$api" || wrong=1
        deploys main ACCESS_KEY_FILE "param mode = '$way'" "$api" "param communicationCredential = 'access_key'" || wrong=1
    done
    local keys="param sharedCacheKeys = 'a'" store=Microsoft.Cache/redisEnterprise
    lacks main "$store" || wrong=1
    deploys main "$store/databases/accessPolicyAssignments" "param sharedCacheSku = 'Balanced_B0'" "$keys" || wrong=1
    deploys main SHARED_CACHE__KIND "param sharedCacheSku = 'Balanced_B0'" "$keys" || wrong=1
    deploys main Microsoft.ContainerRegistry/registries "param registryName = 'contoso'" || wrong=1
    deploys entra Microsoft.Graph/oauth2PermissionGrants || wrong=1
    lacks entra Microsoft.Graph/oauth2PermissionGrants "param grantAdminConsent = false" || wrong=1
    lacks entra federatedIdentityCredentials || wrong=1
    deploys entra federatedIdentityCredentials "param mode = 'on_behalf_of'" || wrong=1
    lacks entra federatedIdentityCredentials "param mode = 'identity'" || wrong=1
    deploys entra "$teams_api" "param mode = 'teams_user'" || wrong=1
    lacks entra "$teams_api" || wrong=1
    deploys entra Microsoft.Graph/appRoleAssignedTo "param groupsFromGraph = true" || wrong=1

    # What cannot work is refused by `fail` in main.bicep, with these words.
    local client='brokerClientId is needed in this mode' subnet='need infrastructureSubnetId'
    refuses "$client" "param mode = 'on_behalf_of'" || wrong=1
    refuses "$client" "param mode = 'identity'" || wrong=1
    refuses "$client" "param unknownGroups = 'graph'" || wrong=1
    for way in identity teams_user; do
        refuses 'unknownGroups cannot be acs' "param mode = '$way'" "$api" "param unknownGroups = 'acs'" || wrong=1
    done
    refuses "$subnet" "param zoneRedundant = true" || wrong=1
    refuses "$subnet" "param externalIngress = false" || wrong=1
    refuses 'minReplicas is larger than maxReplicas' "param minReplicas = 7" || wrong=1
    return "$wrong"
}
# Communication and Email Service Owner
role_at_acs=09976791-48a7-449e-bb21-39d1a415f350
# ACS's API for Teams
teams_api=1fd5118e-2576-4263-8130-9503064c837a

# snapshot NAME PARAMETER...: takes one of NAME.bicepparam with these parameters, and prints what the CLI says and the snapshot.
snapshot() {
    local name=$1 code=0 parameter
    shift
    cp "$work/$name.bicepparam" "$work/tried.bicepparam"
    for parameter in "$@"; do
        # What the file sets already is set anew.
        sed -i "/^${parameter%%=*}=/d" "$work/tried.bicepparam"
        echo "$parameter" >>"$work/tried.bicepparam"
    done
    rm -f "$work/tried.snapshot.json"
    bicep snapshot "$work/tried.bicepparam" --mode overwrite 2>&1 || code=$?
    cat "$work/tried.snapshot.json" 2>/dev/null || code=1
    return "$code"
}

deploys() {
    local said
    if said=$(snapshot "$1" "${@:3}") && grep -qF "$2" <<<"$said"; then return; fi
    echo "$1 deploys no $2: ${*:3} $said" >&2
    return 1
}

lacks() {
    local said
    if said=$(snapshot "$1" "${@:3}") && ! grep -qF "$2" <<<"$said"; then return; fi
    echo "$1 deploys $2: ${*:3} $said" >&2
    return 1
}

# refuses WORDS PARAMETER...
refuses() {
    local said
    said=$(snapshot main "${@:2}") || true
    # An expression that could not be worked out stands in a snapshot as it is, and says nothing.
    if grep -F "$1" <<<"$said" | grep -qvF 'fail('; then return; fi
    echo "not refused: ${*:2}: $said" >&2
    return 1
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

broker=$(.ci/broker)
python=$(.ci/venv)/python
export PYTHONDONTWRITEBYTECODE=1
"$python" tests/azure/static.py
"$python" tests/azure/configuration.py "$broker"
"$python" tests/azure/live.py "$broker"
