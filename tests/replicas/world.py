"""Three replicas behind haproxy, with an emulated Azure side: what tests/rolling.sh and tests/replicas.sh run."""

import json
import re
import socket
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "proxies"))
from stack import Stack, wait  # noqa: E402

NAMES = ("a", "b", "c")


class Replicas(Stack):
    """Everything that runs. A context manager: at its end nothing is left, neither processes nor files."""

    def begin(self, settings="", limits="", exchange=""):
        """The emulator, three brokers with `settings`, and haproxy, once each of the brokers takes part. `settings` may be by name."""
        self.emulator()
        for name in NAMES:
            self.broker(name, settings[name] if isinstance(settings, dict) else settings, limits, exchange)
        for name in NAMES:
            self.ready(name)
        (self.work / "haproxy.cfg").write_text(self.filled((HERE / "haproxy.cfg").read_text()))
        self.spawn(["haproxy", "-db", "-f", str(self.work / "haproxy.cfg")], "haproxy.log")
        self.all_up()

    def sharing(self, *names):
        """Waits until these replicas use the store."""

        def uses(name):
            status, body = self.management(name, "/readyz")
            return status == 200 and "shared_cache" not in json.loads(body)["degraded"]

        for name in names:
            wait(lambda name=name: uses(name), lambda name=name: f"{name}: {self.log(f'{name}.log')[-2000:]}", 60)

    def unheard(self, *names, outcomes=("timeout", "error", "skipped")):
        """How many operations at the store have come to nothing at these replicas since each was started."""
        text = "".join(self.management(name, "/metrics")[1] for name in names)
        counted = re.findall(r'acs_broker_shared_cache_operations_total\{[^}]*acs_broker_outcome="(\w+)"[^}]*\} (\d+)', text)
        return sum(int(count) for outcome, count in counted if outcome in outcomes)

    def kill(self, process):
        """As a machine that fails: without a word."""
        process.kill()
        process.wait()
        self.processes = [(log, other) for log, other in self.processes if other is not process]

    def filled(self, text):
        """With ports and paths."""
        return re.sub(r"@(\w+)@", lambda found: str(self.work if found[1] == "work" else self.ports[found[1]]), text)

    def exchanges(self):
        """How many exchanges ACS has been asked for."""
        return self.control("GET", "/_emulator/journal")["counts"].get("exchange", 0)

    def granted(self, name):
        """How many exchanges a broker has made since its start."""
        text = self.management(name, "/metrics")[1]
        counted = r'acs_broker_exchange_duration_seconds_count\{[^}]*acs_broker_outcome="granted"[^}]*\} (\d+)'
        return sum(int(found) for found in re.findall(counted, text))

    def server(self, name):
        """What haproxy knows of a replica."""
        with socket.socket(socket.AF_UNIX) as opened:
            opened.connect(str(self.work / "haproxy.sock"))
            opened.sendall(b"show stat\n")
            text = b"".join(iter(lambda: opened.recv(65536), b"")).decode()
        names, *rows = (line.split(",") for line in text.lstrip("# ").splitlines() if line)
        found = [dict(zip(names, row)) for row in rows if row[:2] == ["replicas", name]]
        return found[0] if found else {"status": "none"}

    def up(self, name):
        wait(lambda: self.server(name)["status"] == "UP", lambda: f"haproxy's server {name}: {self.server(name)}")

    def all_up(self):
        wait(lambda: (self.work / "haproxy.sock").exists(), lambda: self.log("haproxy.log"))
        for name in NAMES:
            self.up(name)
