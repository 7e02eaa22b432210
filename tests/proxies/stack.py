"""The emulator, the brokers and the proxies of a run: their ports, configurations and processes."""

import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TENANTS = ["c0a50000-0000-4000-8000-000000000001", "fab00000-0000-4000-8000-000000000002"]
ASSIGNMENTS = HERE.parent.parent / "deploy/observability/assignments.toml"


class Ports:
    """Names of ports, each of which was free when it was first named. They lie below those that the system gives to
    connections, which would take one away before its server starts."""

    def __init__(self):
        first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        self.free = random.sample(range(10000, first), first - 10000)
        self.numbers = {}

    def __getitem__(self, name):
        while name not in self.numbers:
            number = self.free.pop()
            with socket.socket() as tried, contextlib.suppress(OSError):
                tried.bind(("127.0.0.1", number))
                self.numbers[name] = number
        return self.numbers[name]


class Stack:
    """Everything that runs. A context manager: at its end nothing is left, neither processes nor files."""

    def __init__(self, broker):
        # What each broker's configuration begins with, before its first section.
        self.top = ""
        self.program = str(pathlib.Path(broker).resolve())
        self.ports = Ports()
        self.brokers = {}
        self.processes = []
        self.ends = contextlib.ExitStack()

    def __enter__(self):
        self.work = pathlib.Path(self.ends.enter_context(tempfile.TemporaryDirectory(prefix="acs-token-broker-proxies-")))
        return self

    def __exit__(self, *_):
        self.ends.close()

    def spawn(self, arguments, log):
        """A process, what it writes in the file `log`; it ends with this one, however that ends."""

        def end_with_parent():
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ACS_TOKEN_BROKER__", "OTEL_"))}
        environment["OTEL_SDK_DISABLED"] = "true"
        with open(self.work / log, "ab") as output:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, preexec_fn=end_with_parent
            )
        self.ends.callback(stop, process, kill=True)
        self.processes.append((log, process))
        return process

    def emulator(self):
        listen = [option for name in ("", "management-", "emulator-") for option in (f"--{name}listen", "127.0.0.1:0")]
        self.spawn([self.program, "dev", *listen], "emulator.log")
        said = wait(lambda: re.search(r"^emulator\s+http://(\S+).*^Stop with", self.log("emulator.log"), re.M | re.S), lambda: "the emulator: " + self.log("emulator.log"))
        self.upstream = said[1]
        connection = http.client.HTTPConnection(self.upstream, timeout=10)
        connection.request("POST", "/_emulator/users/alex/token", "{}")
        return json.load(connection.getresponse())["access_token"]

    def control(self, method, path, body=""):
        """A control of the emulator's; what it answers."""
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status not in (200, 204):
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]}")
        return json.loads(content) if content else None

    def broker(self, name, settings="", limits="", exchange=""):
        """Starts a broker by that name, on ports of the name. Its log is an evidence of its own. `limits` and `exchange` are
        lines of these sections."""
        configuration = self.work / f"{name}.toml"
        tenants = "".join(f'[[entra.tenants]]\nid = "{tenant}"\n' for tenant in TENANTS)
        configuration.write_text(
            # The load is one busy user.
            f'{self.top}[limits]\nper_user = "off"\nupstream_per_user = "off"\n'
            f'{limits}[server]\nlisten = "127.0.0.1:{self.ports[name]}"\n{settings}\n'
            f'[management]\nlisten = "127.0.0.1:{self.ports[f"{name}_management"]}"\n'
            f'[entra]\nauthority = "http://{self.upstream}"\n{tenants}'
            f'[exchange]\nendpoint = "http://{self.upstream}"\n{exchange}[assignments]\nfile = "{ASSIGNMENTS}"\n'
        )
        self.start(name)

    def start(self, name):
        configuration = self.work / f"{name}.toml"
        self.brokers[name] = self.spawn([self.program, "serve", "--config", str(configuration)], f"{name}.log")

    def ready(self, name):
        wait(lambda: self.management(name, "/readyz")[0] == 200, lambda: f"the broker {name}: {self.log(f'{name}.log')[-2000:]}")

    def restart(self, name):
        """As a rolling update does: SIGTERM, and a new one in its place. How the old one ended."""
        ended = stop(self.brokers[name])
        self.start(name)
        self.ready(name)
        return ended

    def fallen(self):
        """Which processes have ended though nobody stopped them: everything else would follow from that."""
        return [f"{log}: ended with {process.poll()}" for log, process in self.processes if process.poll() not in (None, 0)]

    def management(self, name, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[f"{name}_management"], timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return None, ""
        finally:
            connection.close()

    def metric(self, name, metric):
        """The sum of what the broker counts under a metric; `metric` may have labels."""
        text = self.management(name, "/metrics")[1]
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(re.escape(metric) + r"[ {]", line))

    def configure(self, file):
        """Fills in ports and paths."""

        def value(match):
            return str(self.work) if match[1] == "work" else str(self.ports[match[1]])

        (self.work / file).write_text(re.sub(r"@(\w+)@", value, (HERE / file).read_text()))
        return self.work / file

    def proxies(self):
        nginx = self.configure("nginx.conf")
        if os.geteuid() == 0:
            nginx.write_text(f"user root;\n{nginx.read_text()}")
        self.spawn(["nginx", "-p", str(self.work), "-e", str(self.work / "nginx.log"), "-c", str(nginx)], "nginx.log")
        for file in ("haproxy.cfg", "haproxy-patient.cfg"):
            self.spawn(["haproxy", "-db", "-f", str(self.configure(file))], "haproxy.log")
        for port in (self.ports[name] for name in ("nginx_steady", "haproxy_steady_h1", "haproxy_patient")):
            wait(lambda port=port: accepts(port), lambda: "a proxy: " + self.log("nginx.log") + self.log("haproxy.log"))

    def haproxy_up(self, prefix):
        """Waits until every server that is asked has said that it is ready, of the backends with that prefix."""

        def up():
            states = [row["status"] for row in self.haproxy() if row["svname"] in ("first", "second") and row["pxname"].startswith(prefix)]
            return states and all(state == "UP" for state in states)

        wait(up, lambda: f"haproxy's servers: {self.haproxy()}")

    def haproxy(self):
        """What haproxy counts, a row for each frontend, backend and server."""
        with socket.socket(socket.AF_UNIX) as opened:
            opened.connect(str(self.work / "haproxy.sock"))
            opened.sendall(b"show stat\n")
            text = b"".join(iter(lambda: opened.recv(65536), b"")).decode()
        names, *rows = (line.split(",") for line in text.lstrip("# ").splitlines() if line)
        return [dict(zip(names, row)) for row in rows]

    def log(self, name):
        return (self.work / name).read_text(errors="replace")


def stop(process, kill=False):
    """Ends a process as a platform does; gives its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        # A second signal ends a broker at once.
        for limit in (3 if kill else 40, 2):
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
        process.kill()
    return process.wait()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait(condition, what, limit=30):
    end = time.monotonic() + limit
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not there after {limit} s: {what()}")
        time.sleep(0.05)
    return found
