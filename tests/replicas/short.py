"""The short form: one store, whose server is killed, two brokers that are, and keys that are rotated; see ../replicas.sh.

It is for machines that are busy with other checks: nothing in it is about time. Every step waits for what it needs."""

import asyncio

from asking import Asking, exchanged
from people import Load, Person
from store import Single, sealing_key, write_keys
from stack import wait
from world import NAMES

COHORT, RATE = 10, 25
READ = '"the keys of the shared cache are read"'


class Short:
    def __init__(self, stack, report):
        self.stack, self.report = stack, report
        self.people, self.expected = [], 0

    def begin(self):
        self.old, self.new = sealing_key("old"), sealing_key("new")
        write_keys(self.stack, self.old)
        self.store = Single(self.stack)
        self.store.begin()
        # Far longer than any machine takes: what is slow is not to look like what is away.
        settings = self.store.settings(timeout="10s", connect_timeout="10s")
        self.stack.begin(f'drain_delay = "2s"\n[cache]\nmin_gain = "2s"\n{settings}', limits="replicas = 3\n")
        self.stack.sharing(*NAMES)
        self.asking = Asking(self.stack)

    def newcomers(self):
        people = [Person(len(self.people) + number) for number in range(COHORT)]
        for person in people:
            person.sign_in(self.stack.control, 3600)
        self.people += people
        return people

    async def step(self, what, people, new, unheard=0):
        """Asks for `people` at all replicas: `new` exchanges are made for that, and none for anybody else."""
        await self.asking.everywhere(people)
        self.expected += new
        made = sum(exchanged(self.people))
        print(
            f"{what:<44} {self.asking.outcomes.total():>8} {sum(self.asking.lost().values()):>5} {len(self.asking.wrong):>6} {made:>10}  "
            f"{self.expected} expected",
            flush=True,
        )
        # A machine on which even the store's answers are late: each of these may have cost an exchange.
        late = self.stack.unheard(*NAMES) - unheard
        if late:
            print(f"{late} operations at the store came to nothing: the machine is too busy to judge each exchange")
        self.report.require(self.expected <= made <= self.expected + late, f"{what}: {made} exchanges, not {self.expected}")
        self.expected = made

    def rotate(self, *keys):
        read = {name: self.stack.log(f"{name}.log").count(READ) for name in NAMES}
        write_keys(self.stack, *keys)
        for name in NAMES:
            wait(lambda name=name: self.stack.log(f"{name}.log").count(READ) > read[name], lambda: "keys that are not read", 60)

    def replace(self, name):
        self.stack.kill(self.stack.brokers[name])
        self.stack.start(name)
        self.stack.ready(name)
        self.stack.up(name)
        self.stack.sharing(name)

    async def run(self):
        print(f"{'short form':<44} {'requests':>8} {'lost':>5} {'wrong':>6} {'exchanges':>10}", flush=True)
        first = self.newcomers()
        await self.step("three replicas asked at once for each user", first, COHORT)
        with Load(self.stack.ports["haproxy"], first, RATE, connections=6) as load:
            await asyncio.to_thread(self.rotate, self.old, self.new)
            await asyncio.to_thread(self.replace, "a")
            await self.step("a killed, and started with an empty memory", first, 0)
            await asyncio.to_thread(self.rotate, self.new, self.old)
            second = self.newcomers()
            await self.step("another key seals", second, COHORT)
            await asyncio.to_thread(self.replace, "b")
            await self.step("b killed, and reads what both have sealed", first + second, 0)
            await self.without_the_store()
        await load.ended()
        print(f"{'through haproxy meanwhile':<44} {load.outcomes.total():>8} {sum(load.lost().values()):>5} {len(load.wrong):>6}", flush=True)
        self.report.require(not load.lost() and not self.asking.lost(), f"lost: {load.lost()} {self.asking.lost()}")
        self.report.require(not load.wrong and not self.asking.wrong, f"wrong answers: {(load.wrong + self.asking.wrong)[:3]}")
        self.report.require(load.outcomes.total() > 0, "haproxy was asked nothing")
        made = self.stack.exchanges()
        self.report.require(made == self.expected, f"ACS made {made} exchanges, of which {self.expected} were seen")

    async def without_the_store(self):
        """Its server is killed, and comes back empty: meanwhile each replica exchanges for itself."""
        self.store.fail()
        third = self.newcomers()
        await self.asking.everywhere(third)
        alone = exchanged(third)
        self.report.require(max(alone) <= len(NAMES), f"without the store {max(alone)} exchanges for one user")
        self.expected += sum(alone)
        await asyncio.to_thread(self.store.mend)
        await asyncio.to_thread(self.stack.sharing, *NAMES)
        unheard = self.stack.unheard(*NAMES)
        print(f"{'the store killed':<44} {self.asking.outcomes.total():>8} {'':>12} {self.expected:>10}  {sum(alone)} for {COHORT} users", flush=True)
        await self.step("the store back, and empty", self.newcomers(), COHORT, unheard)


def run(stack, report):
    world = Short(stack, report)
    world.begin()
    asyncio.run(world.run())
