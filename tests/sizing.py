"""Runs brokers against the emulator and measures them; see sizing.sh."""

import http.client
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

EMULATOR, BROKER = sys.argv[1:3]
SECONDS, USERS, CONNECTIONS = map(int, sys.argv[3:6])
TENANTS = ["c0a50000-0000-4000-8000-000000000001", "fab00000-0000-4000-8000-000000000002"]
APP = "c0a5a991-0000-4000-8000-000000000005"
TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def process(arguments, ready, **more):
    """A process, once it has written what `ready` matches; gives it and the match. What it writes goes into a pipe, as in a
    container, and is thrown away."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(arguments, **options, **more)
    output = started.stdout.fileno()
    try:
        said = b""
        while not (found := re.search(ready, said.decode(errors="replace"), re.DOTALL)):
            read = os.read(output, 1 << 16)
            if not read:
                raise SystemExit(f"{arguments} does not start")
            said += read
        threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(output, 1 << 20), b"")], daemon=True).start()
        yield started.pid, found
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(30)


@contextmanager
def broker(folder, emulator, mode="passthrough", more=""):
    configuration = folder / f"{mode}.toml"
    audience = f'audiences = ["{APP}", "api://{APP}"]\nrequired_scopes = ["access"]' if mode != "passthrough" else ""
    app = f'[exchange.on_behalf_of]\nclient_id = "{APP}"' if mode != "passthrough" else ""
    configuration.write_text(
        # The load is a few busy users, and more than ACS would take.
        '[limits]\nper_user = "off"\nupstream_per_user = "off"\nupstream_exchanges = "off"\n'
        f'[server]\nlisten = "127.0.0.1:0"\nmax_connections = {CONNECTIONS + 100}\nrequest_timeout = "60s"\n'
        f'[management]\nlisten = "127.0.0.1:0"\n[entra]\nauthority = "{emulator}"\n{audience}\n'
        + "".join(f'[[entra.tenants]]\nid = "{tenant}"\n' for tenant in TENANTS)
        + f'[exchange]\nmode = "{mode}"\nendpoint = "{emulator}"\n{app}\n'
        f'[assignments]\nfile = "{pathlib.Path("deploy/observability/assignments.toml").resolve()}"\n'
        f"{more}\n"
    )
    environment = os.environ | {
        "OTEL_SDK_DISABLED": "true",
        "ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET": "Emulated-Secret-Guards-Nothing",
        "MIMALLOC_ALLOW_THP": "0",
    }
    if mode == "passthrough":
        del environment["ACS_TOKEN_BROKER__EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET"]
    arguments = [BROKER, "serve", "--config", str(configuration)]
    # Until assignments and the keys of both tenants are there.
    ready = r'(?=.*assignments loaded)(?=(?:.*fetched signing keys){2}).*?"public":"([^"]+)"'
    with process(arguments, ready, env=environment) as (pid, found):
        yield pid, f"http://{found[1]}"


def post(connection, path, token=None, body=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {content[:300]}")
    return json.loads(content)


def connect(origin):
    return http.client.HTTPConnection(urlsplit(origin).netloc, timeout=60)


def sign_in(connection, audience=None):
    body = json.dumps({"audience": audience} if audience else {})
    return post(connection, "/_emulator/users/alex/token", body=body)["access_token"]


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def load(origin, token, seconds, connections):
    script = f'wrk.method = "POST"\nwrk.headers["Authorization"] = "Bearer {token}"\n'
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:  # read once for each thread
        file.write(script)
        file.flush()
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--script", file.name]
        said = subprocess.run([*command, f"{origin}/token"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise SystemExit(said)
    return int(re.search(r"(\d+) requests in", said)[1])


def per_request(pid, origin, token, connections=8):
    post(connect(origin), "/token", token)  # says what is wrong, if anything
    load(origin, token, 1, connections)
    before = cpu(pid)
    requests = load(origin, token, SECONDS, connections)
    return (cpu(pid) - before) / requests, requests / SECONDS


def main():
    with tempfile.TemporaryDirectory(prefix="acs-token-broker-sizing-") as folder:
        measure(pathlib.Path(folder))


def measure(folder):
    files = 2 * CONNECTIONS + 1000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    listen = [option for name in ("listen", "management-listen", "emulator-listen") for option in (f"--{name}", "127.0.0.1:0")]
    with process([EMULATOR, "dev", *listen], r"emulator\s+(http://\S+).*Stop with") as (_, found):
        emulator = found[1]
        entra = connect(emulator)
        with broker(folder, emulator) as (pid, origin):
            print(f"resident when started: {resident(pid) / 1e6:.1f} MB")
            spent, rate = per_request(pid, origin, sign_in(entra))
            print(f"served by the cache: {spent * 1e6:.1f} us CPU a request ({rate:.0f} a second here, wrk beside it)")
            empty = resident(pid)
            sockets = [socket.create_connection((urlsplit(origin).hostname, urlsplit(origin).port)) for _ in range(CONNECTIONS)]
            for opened in sockets:
                opened.sendall(b"GET /nothing HTTP/1.1\r\nHost: broker\r\n\r\n")
            for opened in sockets:
                opened.recv(4096)
            print(f"an open connection: {(resident(pid) - empty) / CONNECTIONS / 1024:.1f} KiB, of {CONNECTIONS}")
        # A margin that no token's life reaches: nothing is ever served from the cache.
        never = '[cache]\nexpiry_margin = "3h"\nmin_remaining = "0s"\nrefresh_ahead = "0s"'
        with broker(folder, emulator, more=never) as (pid, origin):
            # One at a time, or they would share exchanges.
            spent, rate = per_request(pid, origin, sign_in(entra), 1)
            print(f"exchanged at ACS: {spent * 1e6:.1f} us CPU a request ({rate:.0f} a second here, one at a time)")
        with broker(folder, emulator, "on_behalf_of") as (pid, origin):
            client = connect(origin)
            post(client, "/token", sign_in(entra, "api"))
            empty, before = resident(pid), cpu(pid)
            for _ in range(USERS):
                post(client, "/token", sign_in(entra, "api"))
            print(f"exchanged on behalf of: {(cpu(pid) - before) / USERS * 1e6:.1f} us CPU a request")
            print(f"a cached token: {(resident(pid) - empty) / USERS / 1024:.1f} KiB, of {USERS}")


main()
