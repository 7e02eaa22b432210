"""Writes the schemas that kubeconform checks deploy/kubernetes with: Kubernetes' own from the package kubernetes-validate, the
Gateway API's and Prometheus Operator's from the custom resource definitions in their Go modules (.ci/go/go.mod).

schemas.py FOLDER KUBERNETES_VERSION...    writes FOLDER/{version}/{kind}-{group}-{version of the API}.json
"""

import json
import pathlib
import subprocess
import sys

import kubernetes_validate
import yaml

GO = pathlib.Path(__file__).resolve().parents[2] / ".ci" / "go"
DEFINITIONS = {
    "sigs.k8s.io/gateway-api": "config/crd/standard",
    "github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd",
}


def write(folder, group, kind, version, schema):
    """Under the name that kubeconform gives a kind: the first word of its group, and the version."""
    word = f"-{group.partition('.')[0]}" if group else ""
    (folder / f"{kind}{word}-{version}.json".lower()).write_text(json.dumps(schema))


def references(schema):
    """The definitions that a schema names; each name is made one within the same document."""
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str):
            name = target.rpartition("/")[2]
            schema["$ref"] = f"#/$defs/{name}"
            yield name
        for each in schema.values():
            yield from references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from references(each)


def kubernetes(folder, version):
    """Each kind with the definitions that it needs: kubeconform reads single files. They are the strict ones, which let no
    unknown member pass."""
    source = next(pathlib.Path(kubernetes_validate.__file__).parent.glob(f"kubernetes-json-schema/v{version}.*-local-strict"))
    definitions = json.loads((source / "_definitions.json").read_text())["$defs"]
    needs = {name: list(references(each)) for name, each in definitions.items()}
    for path in source.glob("*-v[0-9]*.json"):
        schema = json.loads(path.read_text())
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        waiting, found = list(references(schema)), {}
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = definitions[name]
                waiting += needs[name]
        schema["$defs"] = found
        for each in kinds:
            write(folder, each["group"], each["kind"], each["version"], schema)


def strict(schema):
    """Kubernetes drops members that a custom resource does not have, without a word; here they are an error."""
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for each in [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]:
        if isinstance(each, dict):
            strict(each)


class Loader(yaml.CSafeLoader):
    """YAML 1.1 gives a lone `=` a meaning of its own; in these files it is a text."""


Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_yaml_str)


def versions(file):
    for definition in yaml.load_all(file.read_text(), Loader):
        if definition and definition["kind"] == "CustomResourceDefinition":
            for version in definition["spec"]["versions"]:
                yield definition, version


def custom(folders):
    for module, path in DEFINITIONS.items():
        home = subprocess.run(["go", "list", "-m", "-f", "{{.Dir}}", module], cwd=GO, capture_output=True, text=True, check=True).stdout.strip()
        for file in (pathlib.Path(home) / path).glob("*.yaml"):
            for definition, version in versions(file):
                schema = version["schema"]["openAPIV3Schema"]
                strict(schema)
                # An object's name and labels are Kubernetes' to check.
                schema["properties"]["metadata"] = {"type": "object"}
                for folder in folders:
                    write(folder, definition["spec"]["group"], definition["spec"]["names"]["kind"], version["name"], schema)


def main():
    for version in sys.argv[2:]:
        folder = pathlib.Path(sys.argv[1]) / version
        folder.mkdir(parents=True)
        kubernetes(folder, version)
    custom([pathlib.Path(sys.argv[1]) / version for version in sys.argv[2:]])


main()
