"""Three replicas with one store, of which brokers and servers are killed; see ../replicas.sh."""

import asyncio
import dataclasses
import datetime
import json
import time

from people import GAIN, Load, Person
from store import STORES, sealing_key, write_keys
from world import NAMES

USERS, RATE = 20, 60
# Seconds that an Entra token lives, and with how many left its user signs in again, as sign-in libraries do.
LIFE, LEFT = 30, 12
# An answer has a new token's exchange within so many seconds, and an outage is over for the brokers so long after its end.
SETTLES = 6
CACHE = f'[cache]\nexpiry_margin = "3s"\nmin_remaining = "{LEFT + 3}s"\nrefresh_ahead = "0s"\nmin_gain = "{GAIN}s"\nrenewal_backoff = "1s"\n'


@dataclasses.dataclass
class Life:
    """An Entra token while it is its user's."""

    person: Person
    token: str
    began: float
    ended: float = float("inf")


class Wallets:
    """Sees to it that each user has a token that is good for a while."""

    def __init__(self, stack, people):
        self.stack, self.people, self.lives = stack, people, []
        self.over = False

    def sign_in(self, person, lifetime=LIFE):
        person.sign_in(self.stack.control, lifetime)
        self.lives.append(Life(person, person.token, time.monotonic()))

    def begin(self):
        # Not all at one time.
        for number, person in enumerate(self.people):
            self.sign_in(person, LIFE + number % 10)

    async def keep(self):
        while not self.over:
            for person in self.people:
                if person.end - time.time() < LEFT:
                    before = next(life for life in reversed(self.lives) if life.person is person)
                    await asyncio.to_thread(self.sign_in, person)
                    before.ended = time.monotonic()
            await asyncio.sleep(0.2)


class Run:
    """One form of the store."""

    def __init__(self, stack, kind, report):
        self.stack, self.kind, self.report = stack, kind, report
        self.outages = []

    def require(self, held, what):
        self.report.require(held, f"{self.kind}: {what}")

    def begin(self):
        self.old, self.new = sealing_key("old"), sealing_key("new")
        write_keys(self.stack, self.old)
        self.store = STORES[self.kind](self.stack)
        self.store.begin()
        self.stack.begin(f'drain_delay = "2s"\n{CACHE}{self.store.settings()}', limits="replicas = 4\n")
        self.people = [Person(number) for number in range(USERS)]
        self.wallets = Wallets(self.stack, self.people)
        self.wallets.begin()

    async def disturb(self):
        """Brokers are killed, keys rotated, a server of the store killed."""
        await asyncio.sleep(LIFE)
        for name in NAMES:
            began = time.monotonic()
            self.stack.kill(self.stack.brokers[name])
            await asyncio.to_thread(self.stack.start, name)
            await asyncio.to_thread(self.stack.ready, name)
            await asyncio.to_thread(self.stack.up, name)
            self.killed.append((began, time.monotonic()))
            await asyncio.sleep(2)
        # Each step waits until every replica has read the last one.
        for keys in ([self.old, self.new], [self.new, self.old]):
            write_keys(self.stack, *keys)
            await asyncio.sleep(12)
        await asyncio.sleep(LIFE - LEFT)
        write_keys(self.stack, self.new)
        await asyncio.sleep(12)
        began = time.monotonic()
        self.store.fail()
        await asyncio.sleep(3)
        await asyncio.to_thread(self.store.mend)
        self.outages.append((began, time.monotonic()))
        await asyncio.sleep(2 * LIFE)

    async def listen(self):
        """Notes when operations at the store came to nothing: a busy machine may be too slow for one, which is in no log."""
        last = {}
        while not self.wallets.over:
            for name in NAMES:
                unheard = await asyncio.to_thread(self.stack.unheard, name)
                since, before = last.get(name, (0, 0))
                # Less than before: another process.
                if unheard > before and since:
                    self.outages.append((since, time.monotonic()))
                last[name] = (time.monotonic(), unheard)
            await asyncio.sleep(1)

    async def load(self):
        self.killed = []
        with Load(self.stack.ports["haproxy"], self.people, RATE) as load:
            keeping, listening = asyncio.create_task(self.wallets.keep()), asyncio.create_task(self.listen())
            await self.disturb()
            self.wallets.over = True
            await keeping
            await listening
        await load.ended()
        self.judge(load)

    def away(self):
        """When a broker had the store for away, by its log."""
        offset = time.monotonic() - time.time()
        for name in NAMES:
            since = None
            for line in self.stack.log(f"{name}.log").splitlines():
                if '"the shared cache is ' not in line:
                    continue
                at = datetime.datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() + offset
                if '"the shared cache is away' in line:
                    since = since or at
                elif since and '"the shared cache is reachable' in line:
                    yield since, at
                    since = None
            if since:
                yield since, float("inf")

    def judge(self, load):
        self.outages += self.away()
        asked = [life for life in self.wallets.lives if life.person.got[life.token]]

        def touches(life, spans):
            return any(life.began < end + SETTLES and begin < life.ended + SETTLES for begin, end in spans)

        calm = [life for life in asked if not touches(life, self.outages)]
        exchanged = {life.token: len(life.person.got[life.token]) for life in asked}
        # A broker that is killed between ACS's answer and the store loses what it was told: once for each user at most.
        more = [life for life in calm if exchanged[life.token] > 1]
        unkilled = [life for life in more if not touches(life, self.killed)]
        most = max((exchanged[life.token] for life in asked), default=0)
        print(
            f"{self.kind:<9} {load.outcomes.total():>8} {sum(load.lost().values()):>5} {len(load.wrong):>6} {len(asked):>7} {len(calm):>6} "
            f"{len(more):>6} {most:>5} {self.stack.exchanges():>10}  longest {load.longest * 1000:.0f} ms {load.lost() or ''}",
            flush=True,
        )
        self.require(not load.wrong, f"wrong answers: {load.wrong[:3]}")
        self.require(not load.lost(), f"lost: {load.lost()}")
        self.require(not unkilled, f"{len(unkilled)} tokens were exchanged more than once though nothing had failed")
        self.require(len(more) <= len(self.killed), f"{len(more)} tokens were exchanged more than once, and {len(self.killed)} brokers killed")
        self.require(most <= len(NAMES) + 1, f"{most} exchanges of one token")
        lengths = sorted((end - begin for begin, end in self.outages), reverse=True)
        print(f"{'':<9} {len(lengths)} outages seen, of {', '.join(f'{length:.1f}' for length in lengths[:12])} s", flush=True)
        self.require(len(calm) > USERS, f"only {len(calm)} tokens saw no outage")
        for what in self.stack.fallen():
            self.require(False, what)


def run(stack, kind, report):
    print(f"{kind}: {USERS} users, {RATE} requests a second, three replicas; Entra tokens of {LIFE} s")
    print(f"{'store':<9} {'requests':>8} {'lost':>5} {'wrong':>6} {'tokens':>7} {'calm':>6} {'more':>6} {'most':>5} {'exchanges':>10}")
    world = Run(stack, kind, report)
    world.begin()
    asyncio.run(world.load())
