"""Users of the replicas: what they hold, what they ask for, and what they have to get."""

import asyncio
import base64
import collections
import contextlib
import json
import random
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "proxies"))
from client import Connection  # noqa: E402

# A tenant of which ACS lets everybody in.
SOMEBODY = "diego"


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class Person:
    """A user with an Entra token, of whom each answer is told."""

    def __init__(self, number):
        self.oid = f"5e700000-0000-4000-8000-{number:012x}"
        self.token, self.end, self.signs_in = None, 0, None
        # The ACS tokens that each Entra token was answered with.
        self.got = collections.defaultdict(set)

    def sign_in(self, emulator, lifetime):
        body = json.dumps({"lifetime": lifetime, "claims": {"oid": self.oid}})
        self.token = emulator("POST", f"/_emulator/users/{SOMEBODY}/token", body)["access_token"]
        self.end = claims(self.token)["exp"]

    def wrong(self, token, answer):
        """What is wrong with an answer for this user's `token`; None if nothing is."""
        if not answer["identity"]["id"].endswith(f"_{self.oid}"):
            return "another user's identity"
        issued = answer["accessToken"]["token"]
        self.got[token].add(issued)
        ends = claims(issued)["exp"]
        if ends <= time.time():
            return "a token that has ended"
        if ends > claims(token)["exp"] + GAIN:
            return "a token that lives longer than theirs"
        return None


# `cache.min_gain`: so much longer than their Entra token an ACS token may live.
GAIN = 2


class Load:
    """A steady load of all users through a proxy. `outcomes` counts the answers, `wrong` lists those that were not right."""

    def __init__(self, port, people, rate, connections=12):
        self.port, self.people, self.rate, self.connections = port, people, rate, connections
        self.outcomes, self.wrong, self.longest = collections.Counter(), [], 0.0
        self.over = asyncio.Event()
        self.task = None

    def __enter__(self):
        self.task = asyncio.create_task(self._run())
        return self

    def __exit__(self, *_):
        self.over.set()

    async def ended(self):
        self.over.set()
        await self.task

    async def _run(self):
        # At random: in turn, a proxy that does the same would lead each of them to one replica.
        turns = iter(lambda: random.choice(self.people), None)
        await asyncio.gather(*(self._client(number, turns) for number in range(self.connections)))

    async def _client(self, number, turns):
        connection = Connection(self.port, "")
        due = time.monotonic() + number / self.rate
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), max(0.001, due - time.monotonic()))
                break
            await self.ask(connection, next(turns))
            # What could not be sent in time is left out: a burst is no steady load.
            due = max(due + self.connections / self.rate, time.monotonic())
        connection.close()

    async def ask(self, connection, person):
        token, sent = person.token, time.monotonic()
        connection.head = f"POST /token HTTP/1.1\r\nHost: broker.test\r\nAuthorization: Bearer {token}\r\n"
        outcome = await connection.post()
        self.longest = max(self.longest, time.monotonic() - sent)
        if outcome == 200 and (wrong := person.wrong(token, json.loads(connection.body))):
            self.wrong.append(wrong)
            outcome = wrong
        self.outcomes[outcome] += 1

    def lost(self):
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != 200}
