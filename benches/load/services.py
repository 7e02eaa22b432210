"""The processes that are measured, and the emulator that they ask."""

import http.client
import json
import os
import pathlib
import re
import resource
import signal
import ssl
import subprocess
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

TENANTS = ["c0a50000-0000-4000-8000-000000000001", "fab00000-0000-4000-8000-000000000002"]
CLIENT = "c0a5a990-0000-4000-8000-000000000003"
API_VERSION = "2025-03-02-preview"
# The emulator's own: a group and a user of Fabrikam, and the whole tenant of Contoso.
ASSIGNED = ["fab00000-0000-4000-8000-00000000ca11", "fab00000-0000-4000-8000-00000000a1ec", TENANTS[0]]
HERE = pathlib.Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")


class Service:
    """A process, once it has written what `ready` matches. What it writes goes into a pipe that is read, as in a container."""

    def __init__(self, name, arguments, ready, **more):
        self.name = name
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([str(argument) for argument in arguments], **options, **more)
        self.pid = self.process.pid
        output, said = self.process.stdout.fileno(), b""
        while not (found := re.search(ready, said.decode(errors="replace"), re.DOTALL)):
            read = os.read(output, 1 << 16)
            if not read:
                raise SystemExit(f"{name} does not start: {said.decode(errors='replace')[-2000:]}")
            said += read
        self.said, self.origin = said.decode(errors="replace"), found[1]
        threading.Thread(target=self._read, args=(output,), daemon=True).start()

    def _read(self, output):
        # In large pieces and seldom, so that reading costs what a log agent's would and takes little of the machine.
        while os.read(output, 1 << 20):
            pass

    def cpu(self):
        """Seconds of CPU that it has used."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident(self):
        """Bytes."""
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.pid}/status").read_text())[1]) * 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit(f"{self.name} did not end within 30 s") from None


def emulator(binary, *more):
    listen = [option for name in ("listen", "management-listen", "emulator-listen") for option in (f"--{name}", "127.0.0.1:0")]
    return Service("emulator", [binary, "dev", *listen, *more], r"emulator\s+(https?://\S+).*Stop with")


def prepared(name, folder, authority, otlp, settings="", server="", management="127.0.0.1:0"):
    """The configuration file and the variables of a broker as it is shipped: metrics, audit and access lines on, one trace in a
    hundred sent to `otlp`."""
    file = folder / f"{name}.toml"
    assignments = (HERE.parents[1] / "deploy/observability/assignments.toml").resolve()
    file.write_text(
        # The load is a few very busy users, and exchanges that ACS would not take.
        '[limits]\nper_user = "off"\nupstream_per_user = "off"\nupstream_exchanges = "off"\n'
        f'[server]\nlisten = "127.0.0.1:0"\n{server}\n[management]\nlisten = "{management}"\n'
        f'[entra]\nauthority = "{authority}"\n'
        + "".join(f'[[entra.tenants]]\nid = "{tenant}"\n' for tenant in TENANTS)
        + f'[exchange]\nendpoint = "{authority}"\n[assignments]\nfile = "{assignments}"\n{settings}\n'
    )
    return file, os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
        "MIMALLOC_ALLOW_THP": "0",
    }


def broker(name, binary, folder, authority, otlp, settings="", server="", environment=None):
    """A broker so prepared, once it has its keys and assignments."""
    file, variables = prepared(name, folder, authority, otlp, settings, server)
    ready = r'(?=.*assignments loaded)(?=(?:.*fetched signing keys){2}).*?"public":"([^"]+)"'
    service = Service(name, [binary, "serve", "--config", file], ready, env=variables | (environment or {}))
    service.management = "http://" + re.search(r'"management":"([^"]+)"', service.said)[1]
    service.origin = ("https://" if "tls" in server else "http://") + service.origin
    return service


def open_files():
    """How many files this process, and each that it starts, may have open at most."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def allow_files(files):
    """Lets this process, and each that it starts, have so many open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        raise SystemExit(f"{files} open files are wanted, {hard} are allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))


def bare(binary, answer):
    return Service("bare", [binary, "serve", answer], r"bare (http://\S+)\n")


def node(authority):
    variables = os.environ | {
        "NODE_ENV": "production",
        "AUTHORITY": authority,
        "ENDPOINT": authority,
        "TENANTS": ",".join(TENANTS),
        "ASSIGNMENTS": ",".join(f"{principal}|{CLIENT}" for principal in ASSIGNED),
        "API_VERSION": API_VERSION,
    }
    return Service("node", ["node", HERE / "node/server.mjs"], r"node (http://\S+)\n", env=variables)


def connect(origin, certificates=None):
    parts = urlsplit(origin)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.netloc, timeout=60, context=ssl.create_default_context(cafile=certificates))
    return http.client.HTTPConnection(parts.netloc, timeout=60)


def ask(connection, path, token=None, body=None, method="POST"):
    """The status, the fields and the content of an answer."""
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def sign_in(connection, **more):
    """An Entra token of a user of Contoso for ACS."""
    status, _, content = ask(connection, "/_emulator/users/isaiah/token", body=json.dumps({"lifetime": 5400, **more}))
    if status != 200:
        raise SystemExit(f"no token: {status} {content[:300]}")
    return json.loads(content)["access_token"]


def sign_in_many(origin, users, per_user, certificates=None, threads=2):
    """Tokens of made-up users of Contoso, those of one user far apart."""
    wanted = [f"10ad0000-0000-4000-8000-{user:012x}" for _ in range(per_user) for user in range(users)]
    tokens = [None] * len(wanted)

    def work(first):
        connection = connect(origin, certificates)
        for index in range(first, len(wanted), threads):
            tokens[index] = sign_in(connection, claims={"oid": wanted[index]})

    with ExitStack() as stack:
        for first in range(threads):
            thread = threading.Thread(target=work, args=(first,))
            thread.start()
            stack.callback(thread.join)
    return tokens
