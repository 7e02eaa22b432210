"""Puts brokers behind nginx and haproxy and counts the requests that are lost; see proxies.sh."""

import asyncio
import collections
import contextlib
import re
import signal
import statistics
import sys
import time

import client
from stack import Stack

SHORT = "--short" in sys.argv[2:]
# One way, as between two availability zones that are far from each other.
DELAY = 0.05
# Requests a second through each proxy under steady load.
RATE = 200


class Report:
    """The table that is printed, and whether what was promised held."""

    def __init__(self):
        self.failed = []
        print(f"{'what':<34} {'through':<30} {'sent':>6} {'lost':>5}  notes", flush=True)

    def row(self, what, through, outcomes, *, promised=True, good=200, notes=""):
        lost = collections.Counter({outcome: count for outcome, count in outcomes.items() if outcome != good})
        if lost:
            notes = f"{notes}{', ' if notes else ''}" + ", ".join(f"{count} of {outcome}" for outcome, count in lost.most_common())
        self.show(what, through, outcomes.total(), lost.total(), notes, held=not (promised and lost))
        return lost.total()

    def show(self, what, through, sent, lost, notes, held=True):
        print(f"{what:<34} {through:<30} {sent:>6} {lost:>5}  {notes}{'' if held else '  <-- NOT AS PROMISED'}", flush=True)
        if not held:
            self.failed.append(f"{what}, {through}")

    def require(self, held, what):
        if not held:
            print(f"NOT AS PROMISED: {what}", flush=True)
            self.failed.append(what)


async def steady(stack, token, report):
    """Every answer is 200, and the proxy's pool is used: far fewer connections than requests."""
    seconds = 3 if SHORT else 15
    fronts = [
        ("nginx_steady", "nginx, HTTP/1.1", "steady_nginx", 32),
        ("haproxy_steady_h1", "haproxy, HTTP/1.1", "steady_haproxy", 32),
        ("haproxy_steady_h2", "haproxy, HTTP/2", "steady_haproxy", 32),
    ]
    for front, through, broker, most in fronts:
        before = stack.metric(broker, "acs_broker_connections_open")
        until, durations = asyncio.Event(), []
        load = asyncio.create_task(client.steady(stack.ports[front], token, RATE, until, durations))
        end, open_at_once = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            await asyncio.sleep(0.25)
            now = await asyncio.to_thread(stack.metric, broker, "acs_broker_connections_open")
            open_at_once = max(open_at_once, now - before)
        until.set()
        outcomes = await load
        notes = f"{outcomes.total() / seconds:.0f} a second, median {statistics.median(durations) * 1000:.1f} ms; at most {open_at_once:.0f} connections"
        made = [row for row in stack.haproxy() if row["pxname"] == front.removeprefix("haproxy_") and row["svname"] == "broker"]
        if made:
            notes += f", {made[0]['connect']} opened in all"
        report.row("steady load", through, outcomes, notes=notes)
        report.require(open_at_once <= most, f"{through}: {open_at_once} connections")


async def idle(stack, token, report):
    """Requests just before and after the ends of idle times, over a network that takes its time."""
    # The proxy's time is 2 s, the broker's 4 s.
    around = [1.9, 2.05, 3.9] if SHORT else [1.9, 1.95, 2.0, 2.05, 2.5, 3.9, 4.0, 4.1]
    # The broker's time is 2 s. The proxy learns of it a delay later, and what it sends until then arrives too late.
    near = [1.85, 1.95, 1.97] if SHORT else [1.8, 1.85, 1.9, 1.92, 1.94, 1.96, 1.98, 2.0, 2.05, 2.2]
    fronts = [
        ("the proxy lets go first", "nginx", "nginx_patient", around, True),
        ("the proxy lets go first", "haproxy", "haproxy_patient", around, True),
        ("the broker lets go first", "nginx, non_idempotent", "nginx_hasty", near, True),
        ("the broker lets go first", "nginx, POST sent once", "nginx_hasty_once", near, False),
        ("the broker lets go first", "haproxy, retry-on empty-resp.", "haproxy_hasty", near, True),
        ("the broker lets go first", "haproxy as it comes", "haproxy_hasty_once", near, False),
    ]
    async with contextlib.AsyncExitStack() as relays:
        for port, target in [
            ("relay_patient_nginx", "patient"),
            ("relay_patient_haproxy", "patient"),
            ("relay_hasty_nginx", "hasty"),
            ("relay_hasty_haproxy", "hasty"),
        ]:
            await relays.enter_async_context(client.relay(stack.ports[port], stack.ports[target], DELAY))
        counted = await asyncio.gather(*(client.waves(stack.ports[front], token, gaps) for _, _, front, gaps, _ in fronts))
    for (what, through, _, _, promised), outcomes in zip(fronts, counted):
        report.row(what, through, outcomes, promised=promised)


async def idle_h2(stack, token):
    """The same over HTTP/2, where the broker's time is a minute and its GOAWAY says what was not served."""
    # Each on a connection of its own would be one on which nothing happens; so all share haproxy's.
    async with client.relay(stack.ports["relay_idle_h2"], stack.ports["steady_haproxy"], DELAY):
        return await client.waves(stack.ports["haproxy_idle_h2"], token, [59.95])


async def restart(stack, token, report):
    """Each of two replicas is stopped and started again, under load."""
    fronts = [
        ("restart, drain_delay 3s", "nginx, non_idempotent", "nginx_pair", True),
        ("restart, drain_delay 3s", "haproxy, checked, HTTP/1.1", "haproxy_pair_h1", True),
        ("restart, drain_delay 3s", "haproxy, checked, HTTP/2", "haproxy_pair_h2", True),
    ]
    if not SHORT:
        fronts += [
            ("restart, drain_delay 3s", "nginx, POST sent once", "nginx_pair_once", False),
            ("restart, no drain_delay", "nginx, non_idempotent", "nginx_abrupt", False),
            ("restart, no drain_delay", "nginx, POST sent once", "nginx_abrupt_once", False),
            ("restart, no drain_delay", "haproxy, checked, HTTP/1.1", "haproxy_abrupt_h1", False),
            ("restart, no drain_delay", "haproxy, checked, HTTP/2", "haproxy_abrupt_h2", False),
        ]
    rate = 100 if SHORT else 60
    pairs = [("first", "second")] if SHORT else [("first", "second"), ("abrupt_first", "abrupt_second")]
    await asyncio.to_thread(stack.haproxy_up, "pair" if SHORT else "")
    until = asyncio.Event()
    durations = [[] for _ in fronts]
    loads = [
        asyncio.create_task(client.steady(stack.ports[front], token, rate, until, took)) for (_, _, front, _), took in zip(fronts, durations)
    ]
    restarts = 0

    async def cycle(pair):
        nonlocal restarts
        for _ in range(1 if SHORT else 2):
            for name in pair:
                served = await asyncio.to_thread(stack.metric, name, "http_server_request_duration_seconds_count")
                report.require(served > 0, f"{name} served nothing before it was stopped")
                ended = await asyncio.to_thread(stack.restart, name)
                report.require(ended == 0, f"{name} ended with {ended}")
                restarts += 1
                # As a rolling update waits; and until nginx tries it again.
                await asyncio.to_thread(stack.haproxy_up, "pair" if name in pairs[0] else "abrupt")
                await asyncio.sleep(1.2)

    await asyncio.sleep(1)
    await asyncio.gather(*(cycle(pair) for pair in pairs))
    until.set()
    for (what, through, _, promised), load, took in zip(fronts, loads, durations):
        outcomes = await load
        notes = f"{restarts // len(pairs)} restarts, longest {max(took) * 1000:.0f} ms"
        report.row(what, through, outcomes, promised=promised, notes=notes)


async def addresses(stack, token, report):
    """The proxy is one address. Beyond 8 connections it is refused, unless it is trusted."""
    clients = 24
    for proxy in ("nginx", "haproxy"):
        for broker, what in [("limited", "24 at once, 8 for an address"), ("trusted", "24 at once, 8, proxy trusted")]:
            outcomes = await client.crowd(stack.ports[f"{proxy}_{broker}"], token, clients)
            closed = 'acs_broker_connections_closed_total{acs_broker_reason="address"}'
            refused = sum(
                float(line.rsplit(" ", 1)[1]) for line in stack.management(broker, "/metrics")[1].splitlines() if line.startswith(closed)
            )
            lost = report.row(what, proxy, outcomes, promised=broker == "trusted", notes=f"{refused:.0f} connections refused so far")
            if broker == "limited":
                report.require(lost > 0 and outcomes[200] > 0 and refused > 0, f"{proxy}: no connection was beyond the limit")
            else:
                report.require(refused == 0, f"{proxy}: a trusted proxy's connection was refused")


async def early(stack, token, report):
    """A body of 2 MiB is refused before it has been read; the refusal reaches the client."""
    times = 10 if SHORT else 40
    fronts = [
        ("nginx_steady", "nginx, body buffered"),
        ("nginx_unbuffered", "nginx, body as it comes"),
        ("haproxy_steady_h1", "haproxy, HTTP/1.1"),
        ("haproxy_steady_h2", "haproxy, HTTP/2"),
    ]
    for front, through in fronts:
        outcomes = collections.Counter()
        for _ in range(times):
            outcomes[await asyncio.to_thread(client.large, stack.ports[front], token, 2 << 20)] += 1
        report.row("2 MiB, answered 413", through, outcomes, good=413)


async def shared(stack, token, report):
    """Requests of many on one HTTP/2 connection: those who leave take nobody with them."""

    def left():
        """Requests that were reset: before their body had come, or while they were worked on."""
        lines = stack.management("trusted", "/metrics")[1].splitlines()
        of_these = re.compile(r'http_server_request_duration_seconds_count{error_type="(ClientClosed|InvalidRequest)".* (\d+)')
        return sum(int(found[2]) for found in map(of_these.match, lines) if found)

    for cancelled in (25, 90):
        before = left()
        outcomes = await client.beside_cancelled(stack.ports["haproxy_shared"], token, 3, cancelled)
        gone = left() - before
        made = [row for row in stack.haproxy() if row["pxname"] == "shared" and row["svname"] == "broker"][0]
        notes = f"{gone} seen to leave, {made['connect']} connections in all"
        report.row(f"3 beside {cancelled} that are cancelled", "haproxy, HTTP/2", outcomes, notes=notes)
        report.require(gone == cancelled, f"haproxy passed on {gone} of {cancelled} cancelled requests")
        report.require(int(made["connect"]) == 1, f"{made['connect']} connections: one was ended")


async def run(stack, token, report):
    slow = None if SHORT else asyncio.create_task(idle_h2(stack, token))
    await steady(stack, token, report)
    await idle(stack, token, report)
    await restart(stack, token, report)
    await addresses(stack, token, report)
    await early(stack, token, report)
    await shared(stack, token, report)
    if slow is not None:
        report.row("the broker lets go first (60 s)", "haproxy, HTTP/2", await slow)


def main():
    # So that a SIGTERM ends by way of what cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    with Stack(sys.argv[1]) as stack:
        token = stack.emulator()
        brokers = {
            "steady_nginx": "",
            "steady_haproxy": "",
            "patient": 'keep_alive_timeout = "4s"',
            "hasty": 'keep_alive_timeout = "2s"',
            "first": 'drain_delay = "3s"',
            "second": 'drain_delay = "3s"',
            "limited": "max_connections_per_address = 8",
            "trusted": 'max_connections_per_address = 8\ntrusted_proxies = ["127.0.0.1"]',
        }
        if not SHORT:
            brokers |= {"abrupt_first": "", "abrupt_second": ""}
        for name, settings in brokers.items():
            stack.broker(name, settings)
        for name in brokers:
            stack.ready(name)
        stack.proxies()
        report = Report()
        asyncio.run(run(stack, token, report))
        for what in stack.fallen():
            report.require(False, what)
        print(f"{time.monotonic() - begun:.0f} s")
        if report.failed:
            print("\nnginx:", stack.log("nginx.log")[-3000:], "haproxy:", stack.log("haproxy.log")[-3000:], sep="\n")
            sys.exit("not as promised: " + "; ".join(report.failed))


main()
