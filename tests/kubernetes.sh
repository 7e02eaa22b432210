#!/usr/bin/env bash
# Checks deploy/kubernetes: builds every overlay with the kustomize that is in kubectl, holds the objects against the schemas of
# Kubernetes, the Gateway API and Prometheus Operator and against each other, and runs what the pods run, the dev overlay's
# emulator included. Nothing of a cluster is needed. Packages come from PyPI and npm the first time; afterwards it works offline.
#
# BROKER=target/debug/acs-token-broker tests/kubernetes.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $broker ]]; then
    echo "there is no $broker; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
programs=$(.ci/venv)
packages=tests/kubernetes/js
if ! cmp -s "$packages/package-lock.json" "$packages/node_modules/installed.json"; then
    (cd "$packages" && npm ci --silent --no-audit --no-fund)
    cp "$packages/package-lock.json" "$packages/node_modules/installed.json"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$programs/yamllint" --strict --config-file tests/kubernetes/yamllint.yaml deploy/kubernetes
PYTHONPATH=tests/kubernetes "$programs/python" -c 'import pathlib, sys, common; common.copy(pathlib.Path(sys.argv[1]))' "$work"
"$programs/python" tests/kubernetes/static.py "$work/kubernetes"
"$programs/python" tests/kubernetes/live.py "$work/kubernetes" "$broker"
