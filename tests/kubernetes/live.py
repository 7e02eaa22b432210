"""Lays the pods of deploy/kubernetes out in a temporary folder, as kubelet would, and runs what they run: check-config of every
overlay; the dev overlay's emulator and broker; production's broker against that emulator, until SIGTERM. As the pods' user, where
this runs as root. Ports and paths are mapped to free ones.

live.py FOLDER BROKER_BINARY    FOLDER is a copy made by common.copy
"""

import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

from common import HOME, ROOT, overlays, seconds

USER = 65532
AS_USER = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
ENTRY_POINT = "/usr/local/bin/acs-token-broker"
FIELDS = {"metadata.name": "acs-token-broker-0", "metadata.namespace": "acs-token-broker", "metadata.uid": "0f9d6c1e-7a44-4a53-8d58-3f3b6c0d7e21", "spec.nodeName": "node-0"}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
children = []


def fail(text):
    logs = "\n".join(f"--- {name}\n{log.read_text()[-2000:]}" for name, _, log in children)
    raise SystemExit(f"kubernetes, live part: {text}\n{logs}")


def check(good, text):
    if not good:
        fail(text)


def free_ports(count):
    """Free when asked. Somebody else may take one before its user does; that user then says so, and ends."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def write_volume(folder, files, mode):
    """As kubelet does it: a new folder, and a symbolic link that is put in the place of the old one at once."""
    folder.mkdir(parents=True, exist_ok=True)
    version = folder / f"..{time.monotonic_ns()}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
        if AS_USER:
            os.chown(version / name, 0, USER)
        (version / name).chmod(mode)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")


class Pod:
    """The containers of an overlay's pod, with a root of their own."""

    def __init__(self, objects, work, binary, ports):
        self.objects, self.work, self.binary = objects, work / objects.overlay, binary
        self.ports = ports
        self.work.mkdir()
        self.volumes = {volume["name"]: self.work / "volumes" / volume["name"] for volume in objects.pod["volumes"]}
        for volume in objects.pod["volumes"]:
            folder = self.volumes[volume["name"]]
            folder.mkdir(parents=True)
            files = objects.files(volume)
            if files is None:
                folder.chmod(0o777)
                continue
            source = volume.get("configMap") or volume.get("secret") or {}
            content = {name: self.content(volume, name, text) for name, text in files.items()}
            write_volume(folder, content, source.get("defaultMode", 0o644))

    def content(self, volume, name, text):
        if "secret" in volume:
            return base64.b64decode(text)
        if text is None:  # in a vault
            return b"0123456789abcdef0123456789abcdef"
        return self.mapped(text).encode()

    def mapped(self, text):
        """Mount paths and ports of the pod, as they are here."""
        for container in self.objects.containers:
            for mount in container.get("volumeMounts", []):
                if mount["mountPath"] != "/tmp":
                    text = text.replace(mount["mountPath"], str(self.volumes[mount["name"]]))
        for port, here in self.ports.items():
            text = re.sub(rf"\b(0\.0\.0\.0|127\.0\.0\.1):{port}\b", f"127.0.0.1:{here}", text)
        return text

    def environment(self, container):
        """Nothing but what the container has."""
        known = {}
        for variable in container.get("env", []):
            value = variable.get("value")
            if value is None:
                value = FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            known[variable["name"]] = re.sub(r"\$\(([^)]+)\)", lambda found: known[found[1]], value)
        made = {name: self.mapped(value) for name, value in known.items()}
        for mount in container.get("volumeMounts", []):
            if mount["mountPath"] == "/tmp":
                made["TMPDIR"] = str(self.volumes[mount["name"]])
        labels = self.objects.deployment["spec"]["template"]["metadata"]["labels"]
        if labels.get("azure.workload.identity/use") == "true":
            # What the webhook does.
            token = self.work / "azure-identity-token"
            token.write_text("eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl")
            made["AZURE_FEDERATED_TOKEN_FILE"] = str(token)
        return made

    def run(self, container, arguments):
        """Another command in a container, as `kubectl exec` would."""
        command = [self.binary, *map(self.mapped, arguments)]
        return subprocess.run(command, env=self.environment(container), cwd="/", capture_output=True, text=True, timeout=20, **AS_USER)

    def start(self, container, **more):
        log = self.work / f"{container['name']}.log"
        with log.open("w") as out:
            command = [self.binary, *map(self.mapped, container["args"])]
            child = subprocess.Popen(
                command, env={**self.environment(container), **more}, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **AS_USER
            )
        children.append((f"{self.objects.overlay}: {container['name']}", child, log))
        return child

    def url(self, port):
        return f"http://127.0.0.1:{self.ports[port]}"

    def probe(self, container, name, child):
        """Until it succeeds, as often as kubelet would try."""
        probe = container[name]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        until = time.monotonic() + probe["failureThreshold"] * probe["periodSeconds"]
        while time.monotonic() < until:
            check(child.poll() is None, f"{container['name']} ended with {child.poll()}")
            if "exec" in probe:
                command = probe["exec"]["command"]
                check(command[0] == ENTRY_POINT, f"{name}: {command[0]} is not in the image")
                if self.run(container, command[1:]).returncode == 0:
                    return
            else:
                target = probe["httpGet"]
                if status(f"{self.url(ports[target['port']])}{target['path']}", timeout=probe["timeoutSeconds"]) == 200:
                    return
            time.sleep(0.1)
        fail(f"{container['name']}: {name} did not succeed")


def request(url, method="GET", token=None, timeout=10):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with DIRECT.open(urllib.request.Request(url, method=method, headers=headers), timeout=timeout) as answer:
        return answer.read().decode()


def status(url, method="GET", token=None, timeout=10):
    try:
        request(url, method, token, timeout)
        return 200
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait_for(what, done, limit):
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if done():
            return
        time.sleep(0.2)
    fail(f"{what}: not within {limit} s")


def sign_in(pod, user):
    return json.loads(request(f"{pod.url(8090)}/_emulator/users/{user}/token", "POST"))["access_token"]


def check_configurations(pods):
    for pod in pods:
        checked = pod.run(pod.objects.container("broker"), ["check-config"])
        told = checked.stdout + checked.stderr
        warnings = [line for line in told.splitlines() if "warning" in line and "http://localhost" not in line]
        check(checked.returncode == 0 and not warnings, f"check-config of {pod.objects.overlay} in the pod's place:\n{told}")


def dev(pod):
    emulator, broker = pod.objects.container("emulator"), pod.objects.container("broker")
    first = pod.start(emulator)
    pod.probe(emulator, "startupProbe", first)
    second = pod.start(broker)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        pod.probe(broker, probe, second)
    adele = sign_in(pod, "adele")
    got = json.loads(request(f"{pod.url(8080)}/token", "POST", adele))
    check(got["accessToken"]["token"] and got["identity"]["id"].startswith("8:acs:"), "dev: no token for adele")
    check(status(f"{pod.url(8080)}/token", "POST", sign_in(pod, "megan")) == 403, "dev: megan is not refused")
    return adele, first, second


def assignments_change(pod, token):
    """A changed ConfigMap reaches the running broker."""
    write_volume(pod.volumes["assignments"], {"assignments.toml": b""}, 0o440)
    wait_for("dev: an assignment that was taken away", lambda: status(f"{pod.url(8080)}/token", "POST", token) == 403, 10)


def production(pod, emulator):
    """What production's pod runs, but with the emulator for Azure."""
    broker = pod.objects.container("broker")
    azure = emulator.url(8090)
    tenants = '[{id = "fab00000-0000-4000-8000-000000000002"}]'
    prefix = "ACS_TOKEN_BROKER__"
    shutil.copy(ROOT / "deploy/observability/assignments.toml", pod.work / "assignments.toml")
    child = pod.start(
        broker,
        **{
            f"{prefix}ENTRA__AUTHORITY": azure,
            f"{prefix}ENTRA__TENANTS": tenants,
            f"{prefix}EXCHANGE__ENDPOINT": azure,
            f"{prefix}ASSIGNMENTS__FILE": str(pod.work / "assignments.toml"),
        },
    )
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        pod.probe(broker, probe, child)
    token = sign_in(emulator, "adele")
    check(status(f"{pod.url(8080)}/token", "POST", token) == 200, "production: no token for adele")
    spoken = subprocess.run(["node", ROOT / "tests/kubernetes/h2c.mjs", f"{pod.url(8080)}/token", token], capture_output=True, text=True, timeout=20)
    check(spoken.stdout.strip() == "200", f"production: over HTTP/2: {spoken.stdout}{spoken.stderr}")
    series(pod)
    return child, token


def shared_cache(pod, emulator):
    """The overlay's store, Redis in Valkey's place, and its broker, which finds in it what it had before it was restarted."""
    (port,) = free_ports(1)
    store = pod.objects.find("StatefulSet", "acs-token-broker-valkey")["spec"]["template"]["spec"]
    folders = {}
    for volume in store["volumes"]:
        folders[volume["name"]] = folder = pod.work / "store" / volume["name"]
        files = pod.objects.files(volume) or {}
        content = {name: base64.b64decode(text) if "secret" in volume else text.encode() for name, text in files.items()}
        if volume["name"] == "tls":  # kubectl makes this one, from files of that page
            secrets = pod.work.parent.parent / "kubernetes/overlays/shared-cache/secrets"
            content = {"tls.crt": (secrets / "valkey.pem").read_bytes(), "tls.key": (secrets / "valkey.key").read_bytes()}
        write_volume(folder, content, 0o440)
    folders["tmp"].chmod(0o777)
    (container,) = store["containers"]
    conf = folders["config"] / "valkey.conf"
    text = conf.read_text().replace("tls-port 6379", f"tls-port {port}\nbind 127.0.0.1")
    for mount in (each for each in container["volumeMounts"] if each["mountPath"] != "/tmp"):
        text = text.replace(mount["mountPath"] + "/", f"{folders[mount['name']]}/")
    (pod.work / "valkey.conf").write_text(text)
    log = pod.work / "store.log"
    redis = subprocess.Popen(["redis-server", pod.work / "valkey.conf"], cwd=folders["tmp"], stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT, **AS_USER)
    children.append(("shared-cache: store", redis, log))
    prefix = "ACS_TOKEN_BROKER__"
    shutil.copy(ROOT / "deploy/observability/assignments.toml", pod.work / "assignments.toml")
    more = {
        f"{prefix}ENTRA__AUTHORITY": emulator.url(8090),
        f"{prefix}ENTRA__TENANTS": '[{id = "fab00000-0000-4000-8000-000000000002"}]',
        f"{prefix}EXCHANGE__ENDPOINT": emulator.url(8090),
        f"{prefix}ASSIGNMENTS__FILE": str(pod.work / "assignments.toml"),
        f"{prefix}SERVER__DRAIN_DELAY": "0s",
        f"{prefix}SERVER__DIAGNOSTIC_HEADERS": "true",
        # No name server knows the Service; the certificate must have its name all the same.
        f"{prefix}SHARED_CACHE__URL": f"rediss://127.0.0.1:{port}",
        f"{prefix}SHARED_CACHE__TLS_NAME": "acs-token-broker-valkey",
    }
    broker, token, seen = pod.objects.container("broker"), sign_in(emulator, "alex"), []
    for _ in range(2):
        child = pod.start(broker, **more)
        pod.probe(broker, "readinessProbe", child)
        wait_for("shared-cache: the store", lambda: "shared_cache" not in request(f"{pod.url(8081)}/readyz"), 10)
        with DIRECT.open(urllib.request.Request(f"{pod.url(8080)}/token", method="POST", headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
            seen.append(answer.headers["x-cache"])
        child.send_signal(signal.SIGTERM)
        ended(child, "shared-cache: broker", time.monotonic(), pod.objects.pod["terminationGracePeriodSeconds"])
    check(seen == ["miss", "hit"], f"shared-cache: before and after a restart of the broker: {seen}")
    redis.terminate()
    redis.wait(10)


def series(pod):
    """What prometheus-adapter asks for is what the broker tells."""
    rule = yaml.safe_load((HOME / "components/autoscaling/prometheus-adapter.yaml").read_text())["rules"]["custom"][0]
    name, labels = re.fullmatch(r"(\w+)\{(.*)\}", rule["seriesQuery"]).groups()
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', rule["metricsQuery"]))
    told = request(f"{pod.url(8081)}/metrics")
    given = {"job", "namespace", "pod"}  # by Prometheus Operator
    check(set(re.findall(r'(\w+)!?="', labels)) <= given, f"prometheus-adapter.yaml selects by labels that nobody gives: {labels}")
    own = {label: value for label, value in wanted.items() if label not in given}
    lines = [line for line in told.splitlines() if line.startswith(name + "{")]
    check(own and any(all(f'{label}="{value}"' in line for label, value in own.items()) for line in lines), f"/metrics has no {name} with {own}")


def drain(pod, child, token):
    """SIGTERM: not ready at once, served on for the drain delay, gone within the grace period."""
    delay = seconds(pod.environment(pod.objects.container("broker"))["ACS_TOKEN_BROKER__SERVER__DRAIN_DELAY"])
    grace = pod.objects.pod["terminationGracePeriodSeconds"]
    check(status(f"{pod.url(8081)}/readyz") == 200, "production: not ready before SIGTERM")
    child.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    wait_for("production: 503 from /readyz after SIGTERM", lambda: status(f"{pod.url(8081)}/readyz") == 503, 1)
    while time.monotonic() < begun + delay - 1:
        check(status(f"{pod.url(8080)}/token", "POST", token) == 200, f"production: refused {time.monotonic() - begun:.1f} s after SIGTERM")
        time.sleep(0.5)
    ended(child, "production: broker", begun, grace)
    took = time.monotonic() - begun
    check(took >= delay, f"production: gone after {took:.1f} s, before DRAIN_DELAY")
    return took, grace


def ended(child, name, begun, grace):
    try:
        code = child.wait(timeout=begun + grace - time.monotonic())
    except subprocess.TimeoutExpired:
        fail(f"{name} is still there after {grace} s: kubelet would kill it")
    check(code == 0, f"{name} ended with {code}")


def main():
    home, binary = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    work = home.parent / "pods"
    work.mkdir()
    if AS_USER:
        home.parent.chmod(0o755)
    # Where the pods' user can reach it.
    own = work / "acs-token-broker"
    shutil.copy(binary, own)
    own.chmod(0o755)
    emulated = free_ports(5)
    shared = dict(zip((8090, 18080, 18081), emulated))
    pods = {}
    for objects in overlays(home):
        public, management = emulated[3:] if objects.overlay == "dev" else free_ports(2)
        pods[objects.overlay] = Pod(objects, work, own, {**shared, 8080: public, 8081: management})
    check_configurations(pods.values())
    print(f"check-config has nothing against {', '.join(pods)}")
    try:
        adele, emulator, broker = dev(pods["dev"])
        child, token = production(pods["production"], pods["dev"])
        shared_cache(pods["shared-cache"], pods["dev"])
        print("shared-cache: with the store's configuration, users and certificate, a restarted broker found what it had before")
        assignments_change(pods["dev"], adele)
        grace = pods["dev"].objects.pod["terminationGracePeriodSeconds"]
        broker.send_signal(signal.SIGTERM)
        ended(broker, "dev: broker", time.monotonic(), grace)
        print("dev: emulator and broker started, gave a token, took changed assignments up, and the broker stopped")
        took, grace = drain(pods["production"], child, token)
        print(f"production: started against the emulator, gave tokens over HTTP/1.1 and HTTP/2, and was gone {took:.0f} s after SIGTERM, of {grace}")
        # Last, as kubelet does with sidecars.
        emulator.send_signal(signal.SIGTERM)
        ended(emulator, "dev: emulator", time.monotonic(), pods["dev"].objects.pod["terminationGracePeriodSeconds"])
    finally:
        for _, each, _ in children:
            if each.poll() is None:
                each.kill()
                each.wait()


main()
