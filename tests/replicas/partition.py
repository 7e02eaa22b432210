"""One replica is cut off from the store and healed again, in each way in which networks do that; see ../replicas.sh.

The store has a network namespace of its own, and a cable (a veth pair) to each replica. The run itself is in a namespace too, so
nothing of it shows on the machine, and nothing is left."""

import asyncio
import os
import subprocess
import sys
import time

from asking import Asking, exchanged
from people import Load, Person
from stack import wait
from store import PASSWORD, Single, sealing_key, write_keys
from world import NAMES

RATE, CUT, EVERY = 45, 12, 0.3
# What an operation may take, in seconds, and a request to ACS.
TIMEOUT, EXCHANGE = 0.5, 5
INSIDE = "ACS_REPLICAS_NAMESPACE"


def ip(*words, inside=None):
    command = ["ip", *words] if inside is None else ["nsenter", "--target", str(inside), "--net", "ip", *words]
    subprocess.run(command, check=True)


class Islands(Single):
    """One server in a namespace of its own, at another address for each replica."""

    def begin(self):
        port = self.stack.ports["redis"]
        lines = [f"port {port}", "bind 0.0.0.0", f"requirepass {PASSWORD}", f"dir {self.stack.work}", 'save ""', "appendonly no"]
        configuration = self.stack.work / "redis.conf"
        configuration.write_text("\n".join(lines) + "\n")
        server = self.stack.spawn(["unshare", "--net", "redis-server", str(configuration)], "redis.log")
        # A namespace of its own before anything is put there.
        wait(lambda: namespace(server.pid) != namespace("self"), lambda: self.stack.log("redis.log"))
        self.inside = server.pid
        for number, name in enumerate(NAMES):
            ip("link", "add", self.cable(name), "type", "veth", "peer", "name", self.cable(name), "netns", str(self.inside))
            ip("address", "add", f"10.77.{number}.1/30", "dev", self.cable(name))
            ip("link", "set", self.cable(name), "up")
            ip("address", "add", f"10.77.{number}.2/30", "dev", self.cable(name), inside=self.inside)
            ip("link", "set", self.cable(name), "up", inside=self.inside)

    @staticmethod
    def cable(name):
        return f"to-{name}"

    def settings_of(self, name):
        where = f'url = "redis://10.77.{NAMES.index(name)}.2:{self.stack.ports["redis"]}"\n'
        return self.settings(timeout=f"{TIMEOUT * 1000:.0f}ms").replace(self.where(), where)

    def unplugged(self):
        """Bytes vanish both ways, and nobody says so: the far end of the cable is out."""
        ip("link", "set", self.cable("a"), "down", inside=self.inside)
        return lambda: ip("link", "set", self.cable("a"), "up", inside=self.inside)

    def unanswered(self):
        """Bytes arrive at the store, whose own vanish on the way back."""
        route = ("blackhole", "10.77.0.1/32")
        ip("route", "add", *route, inside=self.inside)
        return lambda: ip("route", "del", *route, inside=self.inside)

    def unheard(self):
        """Bytes vanish on the way to the store, which could answer."""
        route = ("blackhole", "10.77.0.2/32")
        ip("route", "add", *route)
        return lambda: ip("route", "del", *route)

    def refused(self):
        """Bytes vanish, and connections are refused at once."""
        route = ("unreachable", "10.77.0.2/32")
        ip("route", "add", *route)
        return lambda: ip("route", "del", *route)


def namespace(process):
    return os.readlink(f"/proc/{process}/ns/net")


class Partition:
    def __init__(self, stack, report):
        self.stack, self.report, self.people = stack, report, []

    def begin(self):
        write_keys(self.stack, sealing_key("key"))
        self.store = Islands(self.stack)
        self.store.begin()
        # Its addresses are not loopback's.
        self.stack.top = "allow_insecure_upstreams = true\n"
        settings = {name: f'[cache]\nmin_gain = "2s"\n{self.store.settings_of(name)}' for name in NAMES}
        self.stack.begin(settings, limits='replicas = 3\nupstream_exchanges = "3000/30s"\n', exchange=f'timeout = "{EXCHANGE}s"\n')
        self.stack.sharing(*NAMES)
        self.asking = Asking(self.stack)

    def newcomer(self):
        person = Person(len(self.people))
        person.sign_in(self.stack.control, 3600)
        self.people.append(person)
        return person

    async def arrive(self, until):
        """A user every now and then, at all replicas at once."""
        came, asked = [], []
        while not until():
            person = await asyncio.to_thread(self.newcomer)
            came.append(person)
            asked.append(asyncio.create_task(self.asking.everywhere([person])))
            await asyncio.sleep(EVERY)
        await asyncio.gather(*asked)
        return came

    async def whole(self, what, load):
        """Everybody sees the store: one exchange for each user."""
        unheard = self.stack.unheard(*NAMES)
        end = time.monotonic() + 4
        people = await self.arrive(lambda: time.monotonic() > end)
        late = self.stack.unheard(*NAMES) - unheard
        more = sum(exchanged(people)) - len(people)
        self.show(what, people, load, f"{late} operations late" if late else "")
        self.report.require(more <= late, f"partition, {what}: {more} exchanges too many")

    async def cut(self, way, load):
        """One replica does not: it exchanges for itself, the two others once together."""
        before, sent = self.lost_time(), self.asking.outcomes.total()
        others = self.stack.unheard("b", "c")
        self.asking.longest.clear()
        heal = getattr(self.store, way)()
        began = time.monotonic()
        seen = []

        async def watch():
            # What has been lost by when, and whether the replica stays ready.
            while time.monotonic() < began + CUT:
                status, body = await asyncio.to_thread(self.stack.management, "a", "/readyz")
                seen.append((time.monotonic() - began, self.lost_time() - before, status, "shared_cache" in body))
                await asyncio.sleep(0.5)

        watching = asyncio.create_task(watch())
        people = await self.arrive(lambda: time.monotonic() > began + CUT)
        await watching
        heal()
        healed = time.monotonic()
        await asyncio.to_thread(self.stack.sharing, *NAMES)
        back = time.monotonic() - healed
        others = self.stack.unheard("b", "c") - others
        timeouts = seen[-1][1]
        settled = next(at for at, lost, *_ in seen if lost == timeouts)
        longest = {name: self.asking.longest[name] for name in NAMES}
        self.show(
            way,
            people,
            load,
            f"{timeouts} operations timed out, the last within {settled:.1f} s; a user's longest wait {longest['a']:.1f} s at a, "
            f"{max(longest['b'], longest['c']):.1f} s at the others; shared again {back:.1f} s after",
        )
        most = max(exchanged(people))
        self.report.require(most <= 2 or others, f"partition, {way}: {most} exchanges for one user")
        self.report.require(all(status == 200 for _, _, status, _ in seen), f"partition, {way}: the replica was not ready")
        self.report.require(seen[-1][3], f"partition, {way}: the replica did not notice")
        # Whoever was waiting when it happened loses the limit once; nobody does after that.
        self.report.require(settled < 4, f"partition, {way}: an operation timed out {settled:.1f} s after the cut")
        limit = TIMEOUT + EXCHANGE + 3
        self.report.require(max(longest.values()) < limit, f"partition, {way}: {max(longest.values()):.1f} s for an answer")
        self.report.require(self.asking.outcomes.total() > sent, f"partition, {way}: nothing was asked")

    def lost_time(self):
        return self.stack.unheard("a", outcomes=("timeout",))

    def show(self, what, people, load, notes):
        lost = sum(load.lost().values()) + sum(self.asking.lost().values())
        total, wrong = load.outcomes.total() + self.asking.outcomes.total(), len(load.wrong) + len(self.asking.wrong)
        made = exchanged(people)
        print(f"{what:<12} {total:>8} {lost:>5} {wrong:>6} {len(people):>6} {sum(made):>10} {max(made):>5}  {notes}", flush=True)

    async def run(self):
        print(f"{'partition':<12} {'requests':>8} {'lost':>5} {'wrong':>6} {'users':>6} {'exchanges':>10} {'most':>5}", flush=True)
        known = [self.newcomer() for _ in range(10)]
        await self.asking.everywhere(known)
        with Load(self.stack.ports["haproxy"], known, RATE) as load:
            await self.whole("whole", load)
            for way in ("unplugged", "unanswered", "unheard", "refused"):
                await self.cut(way, load)
                await self.whole("healed", load)
        await load.ended()
        self.report.require(not load.lost() and not self.asking.lost(), f"partition: lost {load.lost()} {self.asking.lost()}")
        self.report.require(not load.wrong and not self.asking.wrong, f"partition: wrong answers {(load.wrong + self.asking.wrong)[:3]}")


def run(stack, report):
    if INSIDE not in os.environ:
        # Once more, in a namespace of its own; as any user, who is root there.
        become_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        again = [sys.executable, "-B", sys.argv[0], stack.program, "partition"]
        ended = subprocess.run(["unshare", *become_root, "--net", *again], env=os.environ | {INSIDE: "1"})
        report.require(ended.returncode == 0, "partition: see above")
        return
    ip("link", "set", "lo", "up")
    world = Partition(stack, report)
    world.begin()
    asyncio.run(world.run())
