"""Checks of the objects of deploy/kubernetes what no schema says: what refers to what exists, and figures that belong together
agree. Their schemas are kubeconform's to check.

static.py FOLDER    FOLDER is a copy made by common.copy
"""

import base64
import ipaddress
import json
import pathlib
import re
import subprocess
import sys
import tomllib
import urllib.parse

import yaml

from common import HOME, ROOT, RULES, environment, overlays, quantity, seconds

FLUSH = 5
NAME = "acs-token-broker"
# https://kubernetes.io/docs/concepts/security/pod-security-standards/
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
problems = []


def check(good, problem):
    if not good:
        problems.append(problem)


def selects(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


def everything(objects):
    where = objects.overlay
    check("from-values" not in json.dumps(objects.all), f"{where}: a value was not filled in")
    check(not objects.find("ConfigMap", "values"), f"{where}: values.yaml would be sent to the cluster")
    (namespace,) = objects.of("Namespace")
    for mode in ("enforce", "audit", "warn"):
        check(namespace["metadata"]["labels"].get(f"pod-security.kubernetes.io/{mode}") == "restricted", f"{where}: the namespace does not {mode} restricted")
    for each in objects.all:
        name = f"{where}: {each['kind']} {each['metadata']['name']}"
        labels = each["metadata"].get("labels", {})
        for label in ("name", "part-of", "managed-by"):
            check(f"app.kubernetes.io/{label}" in labels, f"{name} has no label app.kubernetes.io/{label}")
        if each["kind"] != "Namespace":
            check(each["metadata"].get("namespace") == namespace["metadata"]["name"], f"{name} is in another namespace")
    seen = [(each["kind"], each["metadata"]["name"]) for each in objects.all]
    check(len(seen) == len(set(seen)), f"{where}: an object is there twice")


def pod_security(objects, pod, of_it):
    """Pod Security Standards, "restricted", and beyond it a read-only root and fixed ids."""

    def need(good, what):
        check(good, f"{objects.overlay}: pod security: {what}")

    for key in ("hostNetwork", "hostPID", "hostIPC"):
        need(not pod.get(key), f"{key} is set")
    context = pod.get("securityContext", {})
    need(context.get("runAsNonRoot") is True, "runAsNonRoot is not set")
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        need(context.get(key) == 65532, f"{key} is not 65532")
    need(context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"), "there is no seccomp profile")
    for key in ("windowsOptions", "sysctls", "seLinuxOptions", "appArmorProfile"):
        need(key not in context, f"{key} is set")
    need(pod.get("automountServiceAccountToken") is False, "the service account's token is mounted")
    for volume in pod["volumes"]:
        kind = set(volume) - {"name"}
        need(kind <= VOLUMES and len(kind) == 1, f"volume {volume['name']} is a {kind}")
    for container in of_it:
        own, name = container.get("securityContext", {}), container["name"]
        need(own.get("allowPrivilegeEscalation") is False, f"{name} may gain privileges")
        need(own.get("readOnlyRootFilesystem") is True, f"{name} may write to its root")
        capabilities = own.get("capabilities", {})
        need(capabilities.get("drop") == ["ALL"] and not capabilities.get("add"), f"{name} has capabilities")
        need(not own.get("privileged"), f"{name} is privileged")
        need(own.get("procMount", "Default") == "Default", f"{name} has another procMount")
        for key in ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "seLinuxOptions", "windowsOptions", "appArmorProfile"):
            need(key not in own, f"{name} overrides {key}")
        need(not any("hostPort" in port for port in container.get("ports", [])), f"{name} has a hostPort")
        for hook in container.get("lifecycle", {}).values():
            need("exec" not in hook, f"{name} wants a shell")


def store(objects):
    """The shared cache's pod: as confined as the broker's, reached by the broker alone, and what the broker's variables say."""
    where, name = objects.overlay, f"{NAME}-valkey"
    env = environment(objects.container("broker"))
    found = objects.find("StatefulSet", name)
    check(bool(found) == (where == "shared-cache") == ("ACS_TOKEN_BROKER__SHARED_CACHE__URL" in env), f"{where}: a shared cache is there, or is not")
    if not found:
        return
    url = urllib.parse.urlsplit(env["ACS_TOKEN_BROKER__SHARED_CACHE__URL"])
    labels, pod = found["spec"]["template"]["metadata"]["labels"], found["spec"]["template"]["spec"]
    check(selects(found["spec"]["selector"]["matchLabels"], labels), f"{where}: the StatefulSet does not select its pods")
    (container,) = pod["containers"]
    (port,) = container["ports"]
    service = objects.find("Service", url.hostname)
    check(url.scheme == "rediss" and service and found["spec"]["serviceName"] == url.hostname, f"{where}: {url.hostname} is no Service")
    check(selects(service["spec"]["selector"], labels), f"{where}: the store's Service does not select it")
    check([(each["port"], each["targetPort"]) for each in service["spec"]["ports"]] == [(url.port, port["name"])] and port["containerPort"] == url.port, f"{where}: the store's ports differ")
    for each in objects.all:
        selector = (each.get("spec") or {}).get("selector" if each["kind"] != "NetworkPolicy" else "podSelector") or {}
        selector = selector.get("matchLabels", selector)
        if each["kind"] in ("Service", "NetworkPolicy", "PodDisruptionBudget") and each["metadata"]["name"] != name:
            check(not selects(selector, labels), f"{where}: {each['kind']} {each['metadata']['name']} takes the store for a broker")
    policy = objects.find("NetworkPolicy", name)["spec"]
    check(selects(policy["podSelector"]["matchLabels"], labels) and policy["policyTypes"] == ["Ingress", "Egress"] and not policy["egress"], f"{where}: the store is not closed")
    broker = objects.deployment["spec"]["template"]["metadata"]["labels"]
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    check(peer.keys() == {"podSelector"} and selects(peer["podSelector"]["matchLabels"], broker) and not selects(peer["podSelector"]["matchLabels"], labels), f"{where}: others than the broker reach the store")
    check([each["port"] for each in rule["ports"]] == [url.port], f"{where}: other ports of the store are open")
    for volume in pod["volumes"]:
        check(objects.files(volume) != {} or volume["name"] == "tls", f"{where}: the store's volume {volume['name']} has no object")
        for kind in ("secret", "configMap"):
            check(kind not in volume or volume[kind]["defaultMode"] == 0o440, f"{where}: the store's volume {volume['name']} has not mode 0440")
    text = objects.find("ConfigMap", next(each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each))["data"]["valkey.conf"]
    config = dict(line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#"))
    check(config["port"] == "0" and config["tls-port"] == str(url.port), f"{where}: the store takes passwords in clear")
    check(config["maxmemory-policy"] == "volatile-lru" and config["save"] == '""', f"{where}: the store is no cache")
    check(quantity(container["resources"]["limits"]["memory"]) >= 1.5 * quantity(config["maxmemory"].replace("mb", "Mi")), f"{where}: a full store does not fit into its memory limit")
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    for key in ("tls-cert-file", "tls-key-file", "aclfile"):
        check(config[key].rpartition("/")[0] in mounts, f"{where}: {config[key]} is not mounted")
    users = base64.b64decode(objects.files(next(each for each in pod["volumes"] if each["name"] == "acl"))["users.acl"]).decode().splitlines()
    check(users[0] == "user default off" and users[1].startswith(f"user {env['ACS_TOKEN_BROKER__SHARED_CACHE__USERNAME']} on #") and len(users) == 2, f"{where}: the store has other users")
    documented = re.search(r"^ACL SETUSER broker on >PASSWORD (.+)$", (ROOT / "docs/shared-cache.md").read_text(), re.M)
    check(documented and users[1].partition(" resetchannels ")[2] == documented[1], f"{where}: the broker's user may do other things than docs/shared-cache.md says")


def containers(objects):
    for container in objects.containers:
        name = f"{objects.overlay}: container {container['name']}"
        image = container["image"]
        tag = re.fullmatch(r"[^@]+?(?::([\w.-]+))?(?:@sha256:[0-9a-f]{64})?", image.rpartition("/")[2])
        check(tag and (tag[1] or "@" in image) and tag[1] != "latest", f"{name}: {image} has no fixed tag")
        check("memory" in container["resources"].get("limits", {}), f"{name} has no memory limit")
        check({"cpu", "memory"} <= container["resources"].get("requests", {}).keys(), f"{name} requests nothing")
        known = set()
        for variable in container.get("env", []):
            for reference in re.findall(r"\$\(([^)]+)\)", variable.get("value", "")):
                check(reference in known, f"{name}: {variable['name']} refers to {reference}, which does not stand before it")
            check("secretKeyRef" not in variable.get("valueFrom", {}), f"{name}: {variable['name']} is a secret in the environment")
            known.add(variable["name"])
        check(not container.get("envFrom"), f"{name} takes whole environments")
        names = [variable["name"] for variable in container.get("env", [])]
        check(len(names) == len(set(names)), f"{name}: a variable is there twice")
        volumes = {volume["name"]: volume for volume in objects.pod["volumes"]}
        for mount in container.get("volumeMounts", []):
            check(mount["name"] in volumes, f"{name} mounts {mount['name']}, which is no volume")
            check("subPath" not in mount, f"{name}: with subPath, changes of {mount['name']} would not arrive")
            if objects.files(volumes.get(mount["name"], {})) is not None:
                check(mount.get("readOnly") is True, f"{name}: {mount['name']} is not read-only")


def volumes(objects):
    for volume in objects.pod["volumes"]:
        name = f"{objects.overlay}: volume {volume['name']}"
        files = objects.files(volume)
        optional = volume.get("secret", {}).get("optional") and objects.overlay == "dev"
        check(files is None or files or optional, f"{name}: its object does not exist, or is empty")
        for kind in ("secret", "configMap"):
            if kind in volume:
                check(volume[kind].get("defaultMode") == 0o440, f"{name} has not mode 0440")
    names = {each["name"]: each for each in objects.pod["volumes"]}
    check(re.search(r"-[0-9a-z]{10}$", names["config"]["configMap"]["name"]), f"{objects.overlay}: a change of broker.toml would not roll out")
    check(names["assignments"]["configMap"]["name"] == f"{NAME}-assignments", f"{objects.overlay}: a change of the assignments would roll out")


def strings(value):
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def configuration(objects):
    """broker.toml against the pod: files, times, memory."""
    where = objects.overlay
    broker = objects.container("broker")
    env = environment(broker)
    mounts = {mount["mountPath"]: mount["name"] for mount in broker["volumeMounts"]}
    by_name = {volume["name"]: volume for volume in objects.pod["volumes"]}

    def there(path):
        folder, _, file = path.rpartition("/")
        return file in (objects.files(by_name.get(mounts.get(folder), {})) or {})

    check(there(env["ACS_TOKEN_BROKER_CONFIG"]), f"{where}: there is no {env['ACS_TOKEN_BROKER_CONFIG']}")
    text = next(each["data"]["broker.toml"] for each in objects.of("ConfigMap") if "broker.toml" in each.get("data", {}))
    config = tomllib.loads(text)
    paths = [value for value in strings(config) if value.startswith("/etc/")]
    check(config["assignments"]["file"] in paths, f"{where}: assignments.file is no absolute path")
    for path in paths:
        check(there(path), f"{where}: broker.toml names {path}, which the pod does not have")
    server = config.get("server", {})
    for key in ("listen", "drain_delay", "drain_timeout"):
        check(key not in server, f"{where}: server.{key} in broker.toml is overridden by the Deployment")

    drain = seconds(env["ACS_TOKEN_BROKER__SERVER__DRAIN_DELAY"]) + seconds(env["ACS_TOKEN_BROKER__SERVER__DRAIN_TIMEOUT"])
    grace = objects.pod["terminationGracePeriodSeconds"]
    check(grace >= drain + FLUSH, f"{where}: a grace period of {grace} s is too short for draining, {drain} s, and telemetry")
    timeout = seconds(server.get("request_timeout", "10s"))
    check(seconds(env["ACS_TOKEN_BROKER__SERVER__DRAIN_TIMEOUT"]) >= timeout, f"{where}: requests may take longer than drain_timeout")
    readiness = broker["readinessProbe"]
    if where != "dev":
        noticed = readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
        check(seconds(env["ACS_TOKEN_BROKER__SERVER__DRAIN_DELAY"]) >= noticed, f"{where}: DRAIN_DELAY ends before readiness is noticed, {noticed} s")
    cache = quantity(config.get("cache", {}).get("max_bytes", "256MiB").replace("MiB", "Mi"))
    limit = quantity(broker["resources"]["limits"]["memory"])
    check(limit >= 1.5 * cache + 64 * 2**20, f"{where}: a full cache does not fit into the memory limit")


def probes_and_ports(objects):
    where = objects.overlay
    broker = objects.container("broker")
    env = environment(broker)
    ports = {port["name"]: port["containerPort"] for port in broker["ports"]}
    for name, variable in (("http", "SERVER__LISTEN"), ("management", "MANAGEMENT__LISTEN")):
        check(env[f"ACS_TOKEN_BROKER__{variable}"] == f"0.0.0.0:{ports[name]}", f"{where}: port {name} is not where the broker listens")
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        check(broker[probe]["httpGet"] == {"path": path, "port": "management"}, f"{where}: {probe} does not ask {path} of the management listener")
    return ports


def selectors(objects, ports):
    where = objects.overlay
    spec = objects.deployment["spec"]
    labels = spec["template"]["metadata"]["labels"]
    check(selects(spec["selector"]["matchLabels"], labels), f"{where}: the Deployment does not select its pods")
    for each in objects.pod["topologySpreadConstraints"]:
        check(selects(each["labelSelector"]["matchLabels"], labels), f"{where}: spread over {each['topologyKey']} counts other pods")
    for each in objects.of("PodDisruptionBudget"):
        check(selects(each["spec"]["selector"]["matchLabels"], labels), f"{where}: the PodDisruptionBudget is of other pods")
    check(len(objects.of("PodDisruptionBudget")) == 1, f"{where}: there is no PodDisruptionBudget")
    served = set()
    for each in objects.of("Service"):
        if each["metadata"]["name"] == f"{NAME}-valkey":  # store() looks at it
            continue
        name = f"{where}: Service {each['metadata']['name']}"
        check(selects(each["spec"]["selector"], labels), f"{name} does not select the pods")
        for port in each["spec"]["ports"]:
            check(port["targetPort"] in ports, f"{name}: no port of the container is called {port['targetPort']}")
            served.add(ports.get(port["targetPort"]))
        if each["spec"].get("clusterIP") != "None":
            check([port["targetPort"] for port in each["spec"]["ports"]] == ["http"], f"{name} shows more than the public listener")
    check(objects.find("ServiceAccount", objects.pod["serviceAccountName"]), f"{where}: the service account does not exist")
    for each in objects.of("ServiceAccount"):
        check(each.get("automountServiceAccountToken") is False, f"{where}: the ServiceAccount's token is mounted")
        identity = "azure.workload.identity/client-id" in each["metadata"].get("annotations", {})
        check(identity == (labels.get("azure.workload.identity/use") == "true"), f"{where}: workload identity wants both the annotation and the label")
    for each in objects.of("NetworkPolicy"):
        if each["metadata"]["name"] == f"{NAME}-valkey":
            continue
        check(selects(each["spec"]["podSelector"]["matchLabels"], labels), f"{where}: NetworkPolicy {each['metadata']['name']} is of other pods")
    return served


def allows(rule, address):
    """Whether a rule lets out to an address, by its blocks."""
    address = ipaddress.ip_address(address)
    for peer in rule["to"]:
        block = peer.get("ipBlock")
        if block and address in ipaddress.ip_network(block["cidr"]):
            if not any(address in ipaddress.ip_network(each) for each in block.get("except", [])):
                return True
    return False


def network(objects, served):
    where = objects.overlay
    policies = [each["spec"] for each in objects.of("NetworkPolicy") if each["metadata"]["name"] != f"{NAME}-valkey"]
    if not objects.find("NetworkPolicy", NAME):
        check(where in ("dev", "bare"), f"{where}: there is no NetworkPolicy")
        return
    closed = objects.find("NetworkPolicy", NAME)["spec"]
    check(closed["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in closed, f"{where}: the pods are not closed")
    ins = [rule for policy in policies for rule in policy.get("ingress", [])]
    outs = [rule for policy in policies for rule in policy.get("egress", [])]
    for rule in ins:
        check(rule.get("from") and rule.get("ports"), f"{where}: a rule lets anyone in")
    for rule in outs:
        check(rule.get("to") and rule.get("ports"), f"{where}: a rule lets out to anywhere")
    check({port["port"] for rule in ins for port in rule["ports"]} == served, f"{where}: other ports are open than the Services have, {served}")
    wanted = {53, 443}
    endpoint = environment(objects.container("broker")).get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if endpoint:
        parts = urllib.parse.urlsplit(endpoint)
        wanted.add(parts.port)
        namespace = parts.hostname.split(".")[1]
        to = [rule["to"] for rule in outs if rule["ports"][0]["port"] == parts.port]
        check(to == [[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]], f"{where}: the collector's namespace is not {namespace}")
    store = environment(objects.container("broker")).get("ACS_TOKEN_BROKER__SHARED_CACHE__URL")
    if store:
        wanted.add(urllib.parse.urlsplit(store).port)
    check({port["port"] for rule in outs for port in rule["ports"]} == wanted, f"{where}: the ways out are not {wanted}")
    for rule in outs:
        if any(port["port"] == 443 for port in rule["ports"]):
            for address in ("10.0.0.1", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.31.0.1", "192.168.1.1", "::1", "fd00::1", "fe80::1"):
                check(not allows(rule, address), f"{where}: {address} can be reached")
            for address in ("20.190.128.1", "2603:1006:2000::1"):
                check(allows(rule, address), f"{where}: {address} cannot be reached")
        else:
            check(not allows(rule, "20.190.128.1") and not allows(rule, "169.254.169.254"), f"{where}: more than 443 is open to the internet")


def ways_in(objects, values):
    """Ingress and Gateway: what they point to exists, and they serve each path of the interface."""
    where = objects.overlay
    config = tomllib.loads(next(each["data"]["broker.toml"] for each in objects.of("ConfigMap") if "broker.toml" in each.get("data", {})))
    paths = yaml.safe_load((ROOT / "openapi.yaml").read_text())["paths"]

    def service_port(name, port):
        service = objects.find("Service", name)
        return service and any(port in (each["name"], each["port"]) for each in service["spec"]["ports"])

    routes = None
    for ingress in objects.of("Ingress"):
        (rule,) = ingress["spec"]["rules"]
        routes = [({"Exact": "Exact", "Prefix": "PathPrefix"}[each["pathType"]], each["path"]) for each in rule["http"]["paths"]]
        for each in rule["http"]["paths"]:
            backend = each["backend"]["service"]
            check(service_port(backend["name"], backend["port"]["name"]), f"{where}: the Ingress's backend does not exist")
        check(rule["host"] == values["host"] and ingress["spec"]["tls"][0]["hosts"] == [values["host"]], f"{where}: the Ingress is of another host")
        check(ingress["spec"]["ingressClassName"] == values["ingress-class"], f"{where}: the Ingress is of another class")
    for route in objects.of("HTTPRoute"):
        (rule,) = route["spec"]["rules"]
        routes = [(each["path"]["type"], each["path"]["value"]) for each in rule["matches"]]
        for backend in rule["backendRefs"]:
            check(service_port(backend["name"], backend["port"]), f"{where}: the HTTPRoute's backend does not exist")
        for parent in route["spec"]["parentRefs"]:
            gateway = objects.find("Gateway", parent["name"])
            listeners = gateway["spec"]["listeners"] if gateway else []
            listener = next((each for each in listeners if each["name"] == parent["sectionName"]), None)
            check(listener and route["spec"]["hostnames"] == [listener["hostname"]] == [values["host"]], f"{where}: the HTTPRoute has no listener of its host")
            check(all(each["protocol"] == "HTTPS" for each in listeners), f"{where}: the Gateway takes tokens in clear")
        deadline = seconds(config.get("server", {}).get("request_timeout", "10s"))
        timeouts = rule["timeouts"]
        check(seconds(timeouts["request"]) >= seconds(timeouts["backendRequest"]) > deadline, f"{where}: the route gives up before the broker does")
        port = next(each for each in objects.find("Service", NAME)["spec"]["ports"] if each["name"] == "http")
        check(port.get("appProtocol") == "kubernetes.io/h2c", f"{where}: the gateway would keep HTTP/1.1 connections too long")
    if routes is None:
        check(where in ("dev", "bare"), f"{where}: there is no way in")
        return
    for path in paths:
        served = any(path == value if kind == "Exact" else path == value or path.startswith(value + "/") for kind, value in routes)
        check(served, f"{where}: {path} of openapi.yaml is not served")


def scaling(objects):
    where = objects.overlay
    for each in objects.of("HorizontalPodAutoscaler"):
        spec = each["spec"]
        target = spec["scaleTargetRef"]
        check(objects.find(target["kind"], target["name"]), f"{where}: the HorizontalPodAutoscaler has no target")
        check("replicas" not in objects.deployment["spec"], f"{where}: each apply would undo the HorizontalPodAutoscaler")
        for budget in objects.of("PodDisruptionBudget"):
            check(budget["spec"]["maxUnavailable"] < spec["minReplicas"] < spec["maxReplicas"], f"{where}: too few replicas")
        used = {metric["pods"]["metric"]["name"] for metric in spec["metrics"] if metric["type"] == "Pods"}
        adapter = yaml.safe_load((HOME / "components/autoscaling/prometheus-adapter.yaml").read_text())
        given = {rule["name"]["as"] for rule in adapter["rules"]["custom"]}
        check(used == given and used, f"{where}: prometheus-adapter gives {given}, the HorizontalPodAutoscaler wants {used}")
    if not objects.of("HorizontalPodAutoscaler"):
        replicas = {"dev": 1, "bare": 3}.get(where)
        check(replicas and objects.deployment["spec"].get("replicas") == replicas, f"{where}: there is no HorizontalPodAutoscaler, nor {replicas} replicas")


def monitoring(objects, ports):
    where = objects.overlay
    if where in ("dev", "bare"):
        return
    monitor = objects.find("ServiceMonitor", NAME)
    check(monitor, f"{where}: there is no ServiceMonitor")
    if not monitor:
        return
    found = [each for each in objects.of("Service") if selects(monitor["spec"]["selector"]["matchLabels"], each["metadata"]["labels"])]
    check(len(found) == 1, f"{where}: the ServiceMonitor selects {len(found)} Services")
    for each in found:
        job = each["metadata"]["labels"].get(monitor["spec"].get("jobLabel"), each["metadata"]["name"])
        check(job == NAME, f"{where}: the job would be {job}; the rules go by {NAME}")
        check(each["spec"].get("publishNotReadyAddresses") is True, f"{where}: replicas that are not ready would not be scraped")
        for endpoint in monitor["spec"]["endpoints"]:
            target = {port["name"]: port["targetPort"] for port in each["spec"]["ports"]}.get(endpoint["port"])
            check(target == "management" and endpoint["path"] == "/metrics", f"{where}: what is scraped is not /metrics of the management listener")
    for name in ("rules", "alerts"):
        rule = objects.find("PrometheusRule", f"{NAME}-{name}")
        check(rule and rule["spec"] == yaml.safe_load((RULES / f"{name}.yaml").read_text()), f"{where}: {name} are not those of deploy/observability")


def secret_provider(objects):
    """By the documentation of the driver and of Azure's provider; kubeconform leaves it out, since there is no schema to be had."""
    for each in objects.of("SecretProviderClass"):
        name, spec = f"{objects.overlay}: SecretProviderClass", each["spec"]
        check(spec.keys() == {"provider", "parameters"} and spec["provider"] == "azure", f"{name} has other members")
        check(spec["parameters"].keys() == {"clientID", "keyvaultName", "tenantId", "usePodIdentity", "objects"}, f"{name} has other parameters")
        check(all(isinstance(value, str) for value in spec["parameters"].values()), f"{name}: parameters are texts")
        for entry in yaml.safe_load(spec["parameters"]["objects"])["array"]:
            check(yaml.safe_load(entry).keys() == {"objectName", "objectAlias", "objectType"}, f"{name}: {entry}")
        volume = next(volume for volume in objects.pod["volumes"] if "csi" in volume)["csi"]
        check(volume["driver"] == "secrets-store.csi.k8s.io" and volume["readOnly"], f"{name}: its volume is of another driver")
        identity = objects.find("ServiceAccount", NAME)["metadata"].get("annotations", {}).get("azure.workload.identity/client-id")
        check(spec["parameters"]["clientID"] == identity, f"{name} is of another identity than the pods")


def values():
    """Each value is used by a component, and none is missing."""
    given = yaml.safe_load((HOME / "overlays/production/values.yaml").read_text())["data"]
    used = set()
    for path in (HOME / "components").glob("*/kustomization.yaml"):
        for each in yaml.safe_load(path.read_text()).get("replacements", []):
            used.add(each["source"]["fieldPath"].removeprefix("data."))
    check(given.keys() == used, f"values.yaml has {sorted(given)}, the components take {sorted(used)}")
    listed = (HOME / "README.md").read_text()
    for key in given:
        check(f"`{key}`" in listed, f"README.md does not tell of {key} in values.yaml")
    return given


def demo():
    """The dev overlay's configuration is that of docker-compose.yml, but for where things are."""
    ours = tomllib.loads((HOME / "overlays/dev/broker.toml").read_text())
    compose = tomllib.loads((ROOT / "deploy/observability/broker.toml").read_text())
    for config in (ours, compose):
        config["server"].pop("listen", None)
        config.pop("management", None)
        config.pop("assignments")
    check(ours == compose, "overlays/dev/broker.toml and deploy/observability/broker.toml say different things")
    check(
        (HOME / "overlays/dev/assignments.toml").read_text() == (ROOT / "deploy/observability/assignments.toml").read_text(),
        "overlays/dev/assignments.toml and deploy/observability/assignments.toml say different things",
    )


def secrets_stay_out():
    tracked = subprocess.run(["git", "ls-files", HOME / "overlays/production/secrets"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    check({pathlib.Path(each).name for each in tracked} <= {".gitignore", "README.md"}, f"a secret is in git: {tracked}")
    for name in ("user-hash-key", "client-secret", "broker.pem", "access-key", "shared-cache-keys", "shared-cache-password", "users.acl"):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", HOME / "overlays/production/secrets" / name], cwd=ROOT)
        check(ignored.returncode == 0, f"git would take secrets/{name}")


def one(objects, given):
    """All that is checked of an overlay."""
    everything(objects)
    pod_security(objects, objects.pod, objects.containers)
    for other in objects.of("StatefulSet"):
        pod = other["spec"]["template"]["spec"]
        pod_security(objects, pod, pod["containers"])
    containers(objects)
    store(objects)
    volumes(objects)
    configuration(objects)
    ports = probes_and_ports(objects)
    network(objects, selectors(objects, ports))
    ways_in(objects, given)
    scaling(objects)
    monitoring(objects, ports)
    secret_provider(objects)


def main():
    fresh = subprocess.run([sys.executable, HOME / "components/monitoring/prometheusrules.py", "--check"], capture_output=True, text=True)
    check(fresh.returncode == 0, fresh.stdout + fresh.stderr)
    given = values()
    demo()
    secrets_stay_out()
    built = overlays(pathlib.Path(sys.argv[1]))
    for objects in built:
        try:
            one(objects, given)
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
            # Something is missing or of another form. What was found before says more, as a rule.
            line = error.__traceback__.tb_next.tb_next or error.__traceback__.tb_next
            check(False, f"{objects.overlay}: {line.tb_frame.f_code.co_name}, line {line.tb_lineno}: {error!r}")
    if problems:
        raise SystemExit("kubernetes, static part:\n" + "\n".join(dict.fromkeys(problems)))
    count = sum(len(objects.all) for objects in built)
    print(f"{count} objects of {', '.join(objects.overlay for objects in built)} agree with each other")


main()
