#!/usr/bin/env bash
# Checks deploy/kubernetes: builds every overlay with the kustomize that is in kubectl, checks the objects with kubeconform, by the
# schemas of Kubernetes, the Gateway API and Prometheus Operator, and against each other, and runs what the pods run, the dev
# overlay's emulator included, and the shared cache's store. No cluster is needed; tests/kind.sh is for one. Packages come from
# PyPI, Go's module proxy and Debian (redis-server) the first time; afterwards it works offline.
#
# BROKER=target/debug/acs-token-broker tests/kubernetes.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
broker=$(.ci/broker)
.ci/install redis-server
programs=$(.ci/venv)
go_programs=$(.ci/gotools)
# The oldest Kubernetes that has what is used (sidecar containers), and the newest that is known.
versions=(1.29 1.37)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$programs/yamllint" --strict --config-file tests/kubernetes/yamllint.yaml deploy/kubernetes
PYTHONPATH=tests/kubernetes "$programs/python" -c 'import pathlib, sys, common; common.copy(pathlib.Path(sys.argv[1]))' "$work"
for component in deploy/kubernetes/components/*; do
    if ! grep -rqE "^ *- ../../components/${component##*/}( |$)" "$work/kubernetes/overlays"; then
        echo "no overlay has the component ${component##*/}, so nothing below would look at it" >&2
        exit 1
    fi
done
mkdir "$work/built"
for overlay in "$work"/kubernetes/overlays/*; do
    "$programs/kubectl" kustomize "$overlay" >"$work/built/${overlay##*/}.yaml"
done
"$programs/python" tests/kubernetes/schemas.py "$work/schemas" "${versions[@]}"
for version in "${versions[@]}"; do
    echo "Kubernetes $version:"
    # static.py checks a SecretProviderClass; no package has a schema of it.
    "$go_programs/kubeconform" -strict -summary -skip secrets-store.csi.x-k8s.io/v1/SecretProviderClass \
        -schema-location "$work/schemas/$version/{{ .ResourceKind }}{{ .KindSuffix }}.json" "$work/built"
done
"$programs/python" tests/kubernetes/static.py "$work/kubernetes"
"$programs/python" tests/kubernetes/live.py "$work/kubernetes" "$broker"
