"""Users who are asked for at every replica, past the load balancer, so that it is known who answered whom."""

import asyncio
import collections
import json
import time

from client import Connection
from world import NAMES


class Asking:
    """Connections to each replica. `outcomes` counts what was answered, `wrong` lists what was not right."""

    def __init__(self, stack, names=NAMES):
        self.stack, self.names = stack, names
        self.outcomes, self.wrong = collections.Counter(), []
        # The longest answer of each replica, in seconds, since it was looked at last.
        self.longest = collections.Counter()

    async def at(self, name, person):
        """One request at one replica; the ACS token that came back, or what else did."""
        connection = Connection(self.stack.ports[name], person.token)
        sent = time.monotonic()
        outcome = await connection.post()
        self.longest[name] = max(self.longest[name], time.monotonic() - sent)
        connection.close()
        if outcome == 200:
            answer = json.loads(connection.body)
            if wrong := person.wrong(person.token, answer):
                self.wrong.append(wrong)
                outcome = wrong
        self.outcomes[outcome] += 1
        return answer["accessToken"]["token"] if outcome == 200 else outcome

    async def everywhere(self, people, at_once=8):
        """Each of them at all replicas at the same time, several of them beside each other."""
        rest = iter(people)

        async def lane():
            for person in rest:
                await asyncio.gather(*(self.at(name, person) for name in self.names))

        await asyncio.gather(*(lane() for _ in range(at_once)))

    def lost(self):
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != 200}


def exchanged(people):
    """How many exchanges were made for each: each gives another token."""
    return [len(person.got[person.token]) for person in people]
