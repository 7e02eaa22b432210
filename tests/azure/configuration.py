"""Whether the broker takes the variables that app.bicep gives it in each way of use, and whether its ports, probes and times fit.

configuration.py BROKER_BINARY
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from bicep import HOME, File, at, properties, text, walk
from ways import APP, WAYS, clean, variables

# As the image and the platform set them.
PLATFORM = {"ACS_TOKEN_BROKER__SERVER__LISTEN": "0.0.0.0:8080", "ACS_TOKEN_BROKER__MANAGEMENT__LISTEN": "0.0.0.0:8081",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.service.k8se-apps:4317/", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "IDENTITY_ENDPOINT": "http://localhost:42356/msi/token", "IDENTITY_HEADER": "a header"}
CONTENT = {"assignments.toml": (HOME / "assignments.toml").read_text(), "user-hash-key": "sixteen or more.", "access-key": "bm8ga2V5",
           "shared-cache-keys": "2026-12 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
PROBES = [("Startup", "/livez", "8081"), ("Liveness", "/livez", "8081"), ("Readiness", "/readyz", "8081")]
problems = []


def expect(is_so, problem):
    if not is_so:
        problems.append(problem)


def check_config(broker, folder, given):
    ran = subprocess.run([broker, "check-config"], env={**clean(), **PLATFORM, **given}, cwd=folder, capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


def app():
    """What the broker needs from the container app."""
    resource = APP.of("resource")["app"].value
    ingress, pod = at(resource, "properties.configuration.ingress"), at(resource, "properties.template")
    for key, wanted in (("targetPort", "8080"), ("allowInsecure", "false")):
        expect(text(properties(ingress)[key]) == wanted, f"the ingress has {key} other than {wanted}")
    expect("additionalPortMappings" not in properties(ingress), "the ingress maps other ports")
    probes = [properties(each) for each in at(pod, "containers.probes").named_children if each.type == "object"]
    found = [tuple(text(node).strip("'") for node in (each["type"], at(each["httpGet"], "path"), at(each["httpGet"], "port"))) for each in probes]
    expect(found == PROBES, f"the probes are {found}")
    grace = "drainDelaySeconds + drainTimeoutSeconds + 10"
    expect(text(properties(pod)["terminationGracePeriodSeconds"]) == grace, "the platform may end a replica before it has drained")
    expect(text(at(pod, "containers.volumeMounts.mountPath")) == "secretsPath", "the secrets are not where the broker looks")
    expect("name: 'ACS_TOKEN_BROKER__${each.key}'" in APP.text, "settings do not become variables by their keys")


def secret_files(wanted):
    """Each file that a setting names is a secret of the app, and one of the vault."""
    literals = {text(each).strip("'") for name in ("fromVault", "secretFiles") for each in walk(APP.of("variable")[name].value) if each.type == "string"}
    expect(wanted <= literals, f"no file comes of {sorted(wanted - literals)}")
    resources = File(HOME / "modules" / "keyvault.bicep").of("resource").values()
    kept = {text(properties(each.value)["name"]).strip("'") for each in resources}
    expect(wanted - {"assignments.toml"} <= kept, f"the vault keeps {sorted(kept)}")


def main():
    broker = pathlib.Path(sys.argv[1]).resolve()
    # The example of `settings` in the parameter file, commented out there.
    example = dict(re.findall(r"^//   ([A-Z_]+__[A-Z_]+): '(.*)'$", (HOME / "main.bicepparam").read_text(), re.M))
    expect(example, "main.bicepparam has no example of settings")
    all_files = set()
    for name in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            given, files = variables(name, folder)
            all_files |= files
            for file in files:
                (pathlib.Path(folder) / file).write_text(CONTENT[file])
            given |= {f"ACS_TOKEN_BROKER__{key}": value for key, value in example.items()}
            code, said = check_config(broker, folder, given)
            expect(code == 0 and "warning" not in said.lower(), f"{name}: check-config ends with {code}:\n{said}")
    for wrong in ("EXCHANGE__MODE", "EXCHANGE__MOD"):  # Settings that are missing, and one that the broker does not read.
        code, _ = check_config(broker, "/", {f"ACS_TOKEN_BROKER__{wrong}": "identity"})
        expect(code == 2, f"check-config ends with {code} for {wrong}")
    secret_files(all_files)
    app()
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"in {len(WAYS)} ways of use the broker takes the variables that app.bicep gives it")


main()
