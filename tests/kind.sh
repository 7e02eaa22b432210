#!/usr/bin/env bash
# Sends every overlay of deploy/kubernetes to a real API server, which checks all that it would check of what is applied, Pod
# Security "restricted" included, and keeps nothing (--dry-run=server). Makes a cluster with kind and takes it down. Needs Docker,
# kind and a network; a job of GitHub's workflow runs it.
#
# tests/kind.sh [NODE_IMAGE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in docker kind; do
    command -v "$tool" >/dev/null || { echo "there is no $tool here; this check needs it" >&2; exit 1; }
done
programs=$(.ci/venv)
.ci/gotools >/dev/null
work=$(mktemp -d)
cluster=acs-token-broker-check
export KUBECONFIG=$work/kubeconfig
finish() {
    kind delete cluster --name "$cluster" || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
kind create cluster --name "$cluster" --wait 120s ${1:+--image "$1"}
kubectl() { "$programs/kubectl" "$@"; }

# The custom resources, from the modules that kubeconform's schemas come from.
module() { (cd .ci/go && go list -m -f '{{.Dir}}' "$1"); }
for definitions in "$(module sigs.k8s.io/gateway-api)/config/crd/standard" \
    "$(module github.com/prometheus-operator/prometheus-operator)/example/prometheus-operator-crd"; do
    kubectl apply --server-side --filename "$definitions"
done
# Of this one no module can be had. What it holds is checked by tests/kubernetes/static.py.
kubectl apply --server-side --filename - <<'END'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: secretproviderclasses.secrets-store.csi.x-k8s.io}
spec:
  group: secrets-store.csi.x-k8s.io
  names: {kind: SecretProviderClass, listKind: SecretProviderClassList, plural: secretproviderclasses, singular: secretproviderclass}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
END
kubectl wait --for condition=established --timeout=60s crd --all

PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/kubernetes "$programs/python" -c 'import pathlib, sys, common; common.copy(pathlib.Path(sys.argv[1]))' "$work"
for overlay in "$work"/kubernetes/overlays/*; do
    kubectl kustomize "$overlay" >"$work/objects.yaml"
    # A dry run makes no namespace, and nothing can be tried in one that is not there. Its labels enforce "restricted".
    namespace=$("$programs/python" -c '
import sys, yaml
print(yaml.safe_dump(next(each for each in yaml.safe_load_all(sys.stdin) if each["kind"] == "Namespace")))' <"$work/objects.yaml")
    kubectl apply --server-side --filename - <<<"$namespace"
    said=$(kubectl apply --server-side --dry-run=server --filename "$work/objects.yaml" 2>&1) || { echo "$said"; exit 1; }
    echo "$said"
    # Pod Security says of a Deployment in words only; it refuses the pods. So a pod of each template is tried too.
    if grep -i '^Warning' <<<"$said"; then exit 1; fi
    "$programs/python" -c '
import sys, yaml
for each in yaml.safe_load_all(sys.stdin):
    if each["kind"] == "Deployment":
        template = each["spec"]["template"]
        template["metadata"] |= {"name": "pod", "namespace": each["metadata"]["namespace"]}
        # No service account is there to be found, nor a runtime class: both are looked up before a pod is taken.
        template["spec"].pop("serviceAccountName", None)
        print(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **template}))' <"$work/objects.yaml" >"$work/pod.yaml"
    in_it=(--namespace "$(awk '/^  name:/ { print $2; exit }' <<<"$namespace")")
    kubectl "${in_it[@]}" wait --for=create --timeout=60s serviceaccount/default
    kubectl "${in_it[@]}" apply --server-side --dry-run=server --filename "$work/pod.yaml"
    echo "${overlay##*/}: taken"
done
