"""Attacks brokers from several addresses, and measures their memory; see memory.sh."""

import os
import pathlib
import random
import re
import resource
import selectors
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from shapes import SHAPES, SHORT

LIMIT = 200  # MiB
BROKER = sys.argv[1]
LENGTH = sys.argv[2] if len(sys.argv) > 2 else "short"
WANTED = sys.argv[3:] or (SHORT if LENGTH == "short" else [shape.name for shape in SHAPES])
# Connections that are kept open, and for how many seconds. More than the default allows, from six addresses.
CONNECTIONS, SECONDS = (4500, 4) if LENGTH == "short" else (4500, 12)
ADDRESSES = [f"127.0.0.{n}" for n in range(1, 7)]
MOST_CONNECTS = 40_000


def certificate(folder):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-subj", "/CN=localhost", "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)


class Broker:
    """A broker with default settings, for which Entra and ACS are not there."""

    def __init__(self, folder, tls):
        configuration = folder / f"broker-{tls}.toml"
        more = f'[server.tls]\ncertificate_file = "{folder}/certificate.pem"\nprivate_key_file = "{folder}/key.pem"\n'
        configuration.write_text(
            f'[server]\nlisten = "127.0.0.1:0"\n{more if tls else ""}[management]\nlisten = "127.0.0.1:0"\n'
            '[entra]\nauthority = "http://127.0.0.1:9"\n'
            '[[entra.tenants]]\nid = "c0a50000-0000-4000-8000-000000000001"\n'
            '[exchange]\nendpoint = "http://127.0.0.1:9"\n'
            f'[assignments]\nfile = "{pathlib.Path("deploy/observability/assignments.toml").resolve()}"\n'
        )
        arguments = [BROKER, "serve", "--config", str(configuration)]
        environment = os.environ | {"OTEL_SDK_DISABLED": "true"}
        output = folder / f"output-{tls}"
        with output.open("wb") as file:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)
        wanted = r'"management":"127.0.0.1:(\d+)".*?"public":"127.0.0.1:(\d+)"|"public":"127.0.0.1:(\d+)".*?"management":"127.0.0.1:(\d+)"'
        for _ in range(600):
            if found := re.search(wanted, output.read_text(errors="replace")):
                break
            time.sleep(0.05)
        else:
            raise SystemExit(f"the broker does not start: {output.read_text(errors='replace')}")
        groups = found.groups()
        self.management, self.public = map(int, groups[:2] if groups[0] else groups[:1:-1])

    def memory(self, what):
        """In MiB; of the process, if it lives."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+)", status)
        if self.process.poll() is not None or not found:
            raise SystemExit("the broker has ended")
        return int(found[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Connection:
    """One connection of an attack."""

    def __init__(self, port, shape, number):
        self.shape = shape
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.bind((ADDRESSES[number % len(ADDRESSES)], 0))
        self.socket.connect_ex(("127.0.0.1", port))
        self.tls = None
        self.unsent = b"" if shape.tls and shape.handshake else shape.raw or shape.sent
        self.sent = 0
        self.dripped = 0
        if shape.tls and shape.handshake:
            context = CONTEXTS[shape.alpn]
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self.incoming, self.outgoing)
            self.shake()

    def shake(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.unsent += self.outgoing.read()
            return
        self.unsent += self.outgoing.read()
        sent = self.shape.sent
        for at in range(0, len(sent), 16000):
            self.tls.write(sent[at : at + 16000])
        self.unsent += self.outgoing.read() + self.shape.raw
        self.tls = None

    def ready(self, events):
        """Goes on; False if the connection has ended."""
        try:
            if events & selectors.EVENT_READ and (self.shape.reads or self.tls):
                read = self.socket.recv(65536)
                if not read:
                    return False
                if self.tls:
                    self.incoming.write(read)
                    self.shake()
            if self.unsent:
                self.sent += self.socket.send(memoryview(self.unsent)[self.sent : self.sent + 65536])
                if self.sent == len(self.unsent):
                    self.unsent, self.sent = b"", 0
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except (OSError, ssl.SSLError):
            return False
        return True

    def drip(self):
        if not self.unsent and self.dripped < len(self.shape.drip):
            self.unsent = self.shape.drip[self.dripped : self.dripped + 1]
            self.dripped += 1

    def events(self):
        wanted = selectors.EVENT_READ if self.shape.reads or self.tls else 0
        return wanted | selectors.EVENT_WRITE if self.unsent or not wanted else wanted


CONTEXTS = {}
for alpn in ("http/1.1", "h2"):
    CONTEXTS[alpn] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CONTEXTS[alpn].check_hostname = False
    CONTEXTS[alpn].verify_mode = ssl.CERT_NONE
    CONTEXTS[alpn].set_alpn_protocols([alpn])


def attack(port, management, shape, seconds):
    """Keeps connections open for so long, however often they are closed. Tells how many were at the end, and in all, and how
    long a probe took beside them."""
    selector = selectors.DefaultSelector()
    end = time.monotonic() + seconds
    connects, dripped = 0, time.monotonic()
    open_now = set()

    def close(connection):
        selector.unregister(connection.socket)
        connection.socket.close()
        open_now.discard(connection)

    while time.monotonic() < end:
        for _ in range(min(200, CONNECTIONS - len(open_now), MOST_CONNECTS - connects)):
            connection = Connection(port, shape, connects)
            connects += 1
            open_now.add(connection)
            selector.register(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        for key, events in selector.select(0.05):
            connection = key.data
            if not connection.ready(events):
                close(connection)
            elif connection.unsent or connection.shape.reads or connection.tls:
                selector.modify(connection.socket, connection.events(), connection)
            elif not connection.shape.reads:
                # Neither reads nor sends: it is just held.
                selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
                time.sleep(0)
        if shape.drip and time.monotonic() - dripped > 0.5:
            dripped = time.monotonic()
            for connection in open_now:
                connection.drip()
                selector.modify(connection.socket, connection.events(), connection)
    held = len(open_now)
    answered = probe(management)
    for connection in list(open_now):
        close(connection)
    return held, connects, answered


def probe(port):
    """How long a probe is waited for, in seconds; None if it is not answered. A busy machine takes its time."""
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as stream:
            stream.settimeout(5)
            stream.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if stream.recv(100).startswith(b"HTTP/1.1 200"):
                return time.monotonic() - began
    except OSError:
        pass
    return None


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        certificate(folder)
        print(f"{'attack, in MiB':30} {'before':>7} {'peak':>7} {'after':>7} {'open (of all)':>16} {'probe':>10}")
        for shape in SHAPES:
            if shape.name not in WANTED:
                continue
            broker = Broker(folder, shape.tls)
            try:
                before = broker.memory("VmRSS")
                port = broker.management if shape.management else broker.public
                held, connects, probed = attack(port, broker.management, shape, SECONDS)
                peak, after = broker.memory("VmHWM"), broker.memory("VmRSS")
            finally:
                broker.stop()
            # A busy processor is another matter; who holds places at the probes' own listener must not keep them out.
            bad = peak > LIMIT or (shape.management and probed is None)
            failed |= bad
            probed = "none" if probed is None else f"{probed * 1000:.0f} ms"
            counts = f"{held} ({connects})"
            print(
                f"{shape.name:30} {before:7.0f} {peak:7.0f} {after:7.0f} {counts:>16} {probed:>10}{'  FAILED' if bad else ''}",
                flush=True,
            )
    print(f"limit {LIMIT} MiB: {'passed over' if failed else 'kept'}")
    return failed


if __name__ == "__main__":
    random.seed(0)
    sys.exit(main())
