"""Where things are, and what kustomize makes of deploy/kubernetes in the ways that it can be put together."""

import pathlib
import re
import shutil
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / "deploy" / "kubernetes"
RULES = ROOT / "deploy" / "observability" / "prometheus"
KUBECTL = pathlib.Path(sys.executable).parent / "kubectl"
HASH_KEY = "0123456789abcdef0123456789abcdef"

# The broker.toml of an overlay that acts on behalf of users, with workload identity.
ON_BEHALF_OF = """
[entra]
audiences = ["b0b00000-0000-4000-8000-000000000005", "api://b0b00000-0000-4000-8000-000000000005"]
required_scopes = ["access"]

[[entra.tenants]]
id = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11"

[exchange]
mode = "on_behalf_of"
endpoint = "https://contoso.communication.azure.com"

[exchange.on_behalf_of]
client_id = "b0b00000-0000-4000-8000-000000000005"
credential = "workload_identity"

[assignments]
file = "/etc/acs-token-broker/assignments/assignments.toml"

[telemetry]
user_hash_key_file = "/etc/acs-token-broker/secrets/user-hash-key"
"""


def changed(path, *pairs):
    text = path.read_text()
    for old, new in pairs:
        if old not in text:
            raise SystemExit(f"{path.name} does not hold {old!r} any more: adapt tests/kubernetes/common.py")
        text = text.replace(old, new)
    path.write_text(text)


def copy(work):
    """deploy/kubernetes with the secret that its README has one make."""
    home = work / "kubernetes"
    shutil.copytree(HOME, home)
    (home / "overlays/production/secrets/user-hash-key").write_text(HASH_KEY + "\n")
    production = home / "overlays" / "production"
    ingress = shutil.copytree(production, production.with_name("ingress"))
    changed(ingress / "kustomization.yaml", ("components/gateway # or ../../components/ingress", "components/ingress"))
    vault = shutil.copytree(production, production.with_name("key-vault"))
    changed(
        vault / "kustomization.yaml",
        ("# - ../../components/workload-identity", "- ../../components/workload-identity"),
        ("# - ../../components/key-vault", "- ../../components/key-vault"),
    )
    text = (vault / "kustomization.yaml").read_text()
    (vault / "kustomization.yaml").write_text(text[: text.index("secretGenerator:")])
    (vault / "broker.toml").write_text(ON_BEHALF_OF)
    shared = shutil.copytree(production, production.with_name("shared-cache"))
    changed(
        shared / "kustomization.yaml",
        ("# - ../../components/shared-cache", "- ../../components/shared-cache"),
        *((f"# - secrets/{name}", f"- secrets/{name}") for name in ("shared-cache-keys", "shared-cache-password", "shared-cache-ca.pem")),
        ("# - name: acs-token-broker-valkey-acl\n  #   files:\n  #     - secrets/users.acl", "- name: acs-token-broker-valkey-acl\n    files:\n      - secrets/users.acl"),
    )
    secrets_by_the_readme(shared / "secrets")
    # Nothing optional at all.
    bare = shutil.copytree(production, production.with_name("bare"))
    text = (bare / "kustomization.yaml").read_text()
    text = re.sub(r"^components:.*\n(  .*\n)*", "", text, flags=re.M)
    (bare / "kustomization.yaml").write_text(text)
    changed(bare / "kustomization.yaml", ("# replicas:\n#   - name", "replicas:\n  - name"), ("#     count: 3", "    count: 3"))
    return home


def secrets_by_the_readme(folder):
    """Runs what secrets/README.md says for the shared cache, but for kubectl, whose files are kept as a Secret would have them."""
    blocks = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.S)
    script = "".join(block for block in blocks if "shared-cache" in block).replace("kubectl -n acs-token-broker create secret tls", ": kubectl create secret tls")
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, check=True, capture_output=True)


def build(overlay):
    """The objects of an overlay, as kubectl would send them."""
    made = subprocess.run([KUBECTL, "kustomize", overlay], capture_output=True, text=True)
    if made.returncode != 0:
        raise SystemExit(f"kubectl kustomize {overlay.name}: {made.stderr}")
    return Objects(overlay.name, [each for each in yaml.safe_load_all(made.stdout) if each])


def overlays(home):
    return [build(each) for each in sorted((home / "overlays").iterdir())]


class Objects:
    def __init__(self, overlay, objects):
        self.overlay = overlay
        self.all = objects

    def of(self, kind):
        return [each for each in self.all if each["kind"] == kind]

    def find(self, kind, name):
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    @property
    def deployment(self):
        (deployment,) = self.of("Deployment")
        return deployment

    @property
    def pod(self):
        return self.deployment["spec"]["template"]["spec"]

    @property
    def containers(self):
        return self.pod.get("initContainers", []) + self.pod["containers"]

    def container(self, name):
        return next((each for each in self.containers if each["name"] == name), None)

    def files(self, volume):
        """The names of the files that a volume has, and their content where it is here; None if it begins empty."""
        if "configMap" in volume:
            return (self.find("ConfigMap", volume["configMap"]["name"]) or {}).get("data", {})
        if "secret" in volume:
            return (self.find("Secret", volume["secret"]["secretName"]) or {}).get("data", {})
        if "csi" in volume:
            provider = self.find("SecretProviderClass", volume["csi"]["volumeAttributes"]["secretProviderClass"])
            listed = yaml.safe_load(provider["spec"]["parameters"]["objects"])["array"] if provider else []
            return {yaml.safe_load(each)["objectAlias"]: None for each in listed}
        return None


def environment(container):
    """What is set to a value of its own; what comes from elsewhere is left out."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def quantity(text):
    number, unit = re.fullmatch(r"(\d+)(m|Ki|Mi|Gi|)", str(text)).groups()
    return int(number) * {"m": 0.001, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]
