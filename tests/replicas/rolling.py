"""Replaces three replicas one by one under load; see ../rolling.sh."""

import asyncio
import signal
import sys
import time

from people import Load, Person
from report import Report
from world import NAMES, Replicas

SHORT = "--short" in sys.argv[2:]
USERS, RATE, ROUNDS = (20, 80, 1) if SHORT else (100, 120, 3)
# How long haproxy may take to see that a replica is not ready: two checks in vain, and the end of those under way.
SETTINGS = 'drain_delay = "2s"\n[cache]\nmin_gain = "2s"'


async def served_by_each(stack, load):
    """Waits until each replica has exchanged for each user, so that what comes then is the cache's."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        granted = [await asyncio.to_thread(stack.granted, name) for name in NAMES]
        if all(count == len(load.people) for count in granted):
            return granted
        await asyncio.sleep(0.2)
    return granted


async def roll(stack, people, report):
    print(f"{len(people)} users, {RATE} requests a second through haproxy, three replicas", flush=True)
    print(f"{'':<26} {'requests':>8} {'lost':>6} {'wrong':>6} {'exchanges':>10}  notes", flush=True)
    with Load(stack.ports["haproxy"], people, RATE) as load:
        granted = await served_by_each(stack, load)
        before = stack.exchanges()
        show("before", load, before, f"{granted} by replica")
        report.require(granted == [len(people)] * 3, f"before: {granted} exchanges, not one for each user and replica")
        replaced = 0
        for _ in range(ROUNDS):
            for name in NAMES:
                sent = load.outcomes.total()
                made = await asyncio.to_thread(stack.granted, name)
                report.require(made <= len(people), f"{name} made {made} exchanges for {len(people)} users")
                began = time.monotonic()
                ended = await asyncio.to_thread(stack.restart, name)
                took = time.monotonic() - began
                report.require(ended == 0, f"{name} ended with {ended}")
                await asyncio.to_thread(stack.up, name)
                replaced += 1
                await served_by_each(stack, load)
                show(f"{name} replaced", load, stack.exchanges(), f"{took:.1f} s, {load.outcomes.total() - sent} requests meanwhile")
    await load.ended()
    after = stack.exchanges()
    expected = before + replaced * len(people)
    show("after", load, after, f"{replaced} replaced, longest answer {load.longest * 1000:.0f} ms")
    # A replica's memory is its own: the new one asks once for each user, and nobody else does.
    report.require(after == expected, f"{after} exchanges, not {expected}: one for each user and process")
    report.require(not load.lost(), f"lost: {load.lost()}")
    report.require(load.outcomes.total() > 0 and not load.wrong, f"wrong answers: {load.wrong[:3]}")
    for name in NAMES:
        report.require(int(stack.server(name)["stot"]) > 0, f"{name} served nothing")


def show(what, load, exchanges, notes):
    lost = sum(load.lost().values())
    print(f"{what:<26} {load.outcomes.total():>8} {lost:>6} {len(load.wrong):>6} {exchanges:>10}  {notes}", flush=True)


def main():
    # So that a SIGTERM ends by way of what cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    report = Report()
    with Replicas(sys.argv[1]) as stack:
        stack.begin(SETTINGS)
        people = [Person(number) for number in range(USERS)]
        for person in people:
            person.sign_in(stack.control, 3600)
        asyncio.run(roll(stack, people, report))
        for what in stack.fallen():
            report.require(False, what)
        print(f"{time.monotonic() - begun:.0f} s")
        if report.failed:
            print("haproxy:", stack.log("haproxy.log")[-2000:], "a:", stack.log("a.log")[-2000:], sep="\n")
            sys.exit("not as promised: " + "; ".join(report.failed))


main()
