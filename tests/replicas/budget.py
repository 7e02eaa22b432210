"""More users without a token than ACS's quota allows, at three replicas that share the budget; see ../replicas.sh."""

import asyncio
import datetime
import json
import time

from client import Connection
from people import Person
from store import Single, sealing_key, write_keys
from world import NAMES, Replicas

# What ACS takes in any window of so many seconds, and the brokers' common budget.
QUOTA, WINDOW = 25, 3
# After so many seconds a user is given up. None is if the promise holds.
PATIENCE = 300


class Crowd:
    """Users who all come at once, through haproxy, and come again when they are told to."""

    def __init__(self, stack, count):
        self.stack = stack
        self.people = [Person(number) for number in range(count)]
        for person in self.people:
            person.sign_in(stack.control, 3600)
        self.served, self.told, self.strange, self.wrong = 0, [], [], []

    async def come(self):
        await asyncio.gather(*(self.one(person) for person in self.people))

    async def one(self, person):
        connection = Connection(self.stack.ports["haproxy"], person.token)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            outcome = await connection.post()
            if outcome == 200:
                if wrong := person.wrong(person.token, json.loads(connection.body)):
                    self.wrong.append(wrong)
                self.served += 1
                break
            again = int(connection.fields.get("retry-after", 0))
            # 504: a replica foresees the turns of those who wait there, and not of those who wait elsewhere.
            if (outcome == 429 and 1 <= again <= 300) or outcome == 504:
                self.told.append(outcome)
            else:
                self.strange.append(outcome)
            await asyncio.sleep(again or 1)
        connection.close()


class Acs:
    """What ACS has been asked, as its own journal and its own count tell."""

    def __init__(self, stack):
        calls = [call for call in stack.control("GET", "/_emulator/journal")["calls"] if call["endpoint"] == "exchange"]
        self.asked = len(calls)
        self.refused = sum(call["status"] == 429 for call in calls)
        came = sorted(datetime.datetime.fromisoformat(call["time"]).timestamp() for call in calls)
        self.most = max(sum(first <= other < first + WINDOW for other in came) for first in came)


def crowd(stack, users, settings, replicas):
    """Comes, and gives who came and what ACS saw of it."""
    # A machine that is busy is no ACS that fails: exchanges have time, and there is no breaker.
    limits = f'replicas = {replicas}\nupstream_exchanges = "{QUOTA}/{WINDOW}s"\n'
    stack.begin(f'request_timeout = "15s"\n[upstream]\nbreaker = "off"\n{settings}', limits=limits, exchange='timeout = "15s"\n')
    if settings:
        stack.sharing(*NAMES)
    stack.control("PUT", "/_emulator/acs", json.dumps({"quota": f"{QUOTA}/{WINDOW}s"}))
    people = Crowd(stack, users)
    began = time.monotonic()
    asyncio.run(people.come())
    return people, Acs(stack), time.monotonic() - began


def show(what, people, acs, took, notes=""):
    print(
        f"{what:<32} {len(people.people):>6} {people.served:>7} {len(people.told):>10} {acs.asked:>7} {acs.refused:>8} {acs.most:>12} "
        f"{took:>6.0f} s  {notes}",
        flush=True,
    )


def run(stack, report, users=250, control=True):
    print(f"{users} users at once, three replicas; ACS issues {QUOTA} tokens in {WINDOW} s")
    print(f"{'':<32} {'users':>6} {'served':>7} {'told when':>10} {'at ACS':>7} {'429 of':>8} {'most in':>12} {'all in':>8}")
    print(f"{'':<32} {'':>6} {'':>7} {'to return':>10} {'':>7} {'ACS':>8} {'a window':>12}")
    write_keys(stack, sealing_key("key"))
    store = Single(stack)
    store.begin()
    people, acs, took = crowd(stack, users, store.settings(timeout="10s", connect_timeout="10s"), 3)
    by_replica = [stack.granted(name) for name in NAMES]
    show("the budget is shared", people, acs, took, f"{by_replica} by replica")
    late = stack.unheard(*NAMES)
    if late:
        print(f"{late} operations at the store came to nothing: the machine is too busy to judge what ACS was asked")
    report.require(people.served == users, f"budget: {users - people.served} users without a token")
    report.require(not people.wrong, f"budget: wrong answers: {people.wrong[:3]}")
    report.require(not people.strange, f"budget: answers beside 200, 429 with Retry-After and 504: {people.strange[:5]}")
    report.require(late or acs.refused == 0, f"budget: ACS answered {acs.refused} times 429")
    report.require(late or acs.asked == users, f"budget: {acs.asked} exchanges for {users} users")
    report.require(late or acs.most <= QUOTA, f"budget: {acs.most} exchanges within {WINDOW} s")
    if control:
        # So that it is known that there was something to hold back.
        with Replicas(stack.program) as other:
            people, acs, took = crowd(other, users, "", 1)
            show("each replica takes all of it", people, acs, took)
            report.require(acs.refused > 0, "budget: without the store ACS refused nothing, so nothing was tried")
