"""A day of users: who asks for a token when, and what that makes the brokers do, by minute."""

import heapq
import random
from dataclasses import dataclass, field

from broker import Brokers
from figures import HOUR, MINUTE, USERS

LENGTH = 24 * 60  # minutes


@dataclass
class Minutes:
    """What happened in each minute, as numbers of one simulated user each; `at(n)` scales them to `n` users."""

    users: int
    calls: list = field(default_factory=lambda: [0] * LENGTH)
    exchanges: list = field(default_factory=lambda: [0] * LENGTH)
    store: list = field(default_factory=lambda: [0] * LENGTH)
    entries: int = 0  # most at one replica
    stored: int = 0  # most in the store
    tokens: int = 0  # Entra tokens that users got

    def rate(self, what, users, over=1):
        """The most a second in any `over` minutes, with so many users."""
        minutes = getattr(self, what)
        most = max(sum(minutes[start : start + over]) for start in range(LENGTH - over + 1))
        return most * users / self.users / (over * MINUTE)

    def a_day(self, what, users):
        return sum(getattr(self, what)) * users / self.users


@dataclass
class Device:
    user: int
    leaves: float
    token: int = 0
    token_end: float = float("-inf")
    refresh: float = float("inf")
    reload: float = float("inf")


def arrivals(users, count, dice):
    """Each device with the time at which it signs in."""
    for user in range(count):
        came = dice.uniform(7 * HOUR, 17 * HOUR) if dice.random() < users.stragglers else dice.gauss(users.arrival, users.arrival_spread)
        came = max(came, 5 * HOUR)
        leaves = min(came + max(HOUR, dice.gauss(users.stay, users.stay_spread)), LENGTH * MINUTE - 1)
        yield came, Device(user, leaves)
        if dice.random() < users.second_device:
            second = came + dice.uniform(0, 2 * HOUR)
            if second < leaves:
                yield second, Device(user, leaves)


def simulate(settings, count, scale=1.0, users=USERS, restarts=(), seed=1):
    """`count` users, each standing for `scale`; `restarts` are pairs of a time and a replica whose memory is gone then."""
    dice, brokers, seen = random.Random(seed), Brokers(settings, scale, seed + 1), Minutes(count)
    queue = [(time, order, device) for order, (time, device) in enumerate(arrivals(users, count, dice))]
    heapq.heapify(queue)
    order, restarts, swept = len(queue), sorted(restarts), 0.0
    while queue:
        now, _, device = heapq.heappop(queue)
        while restarts and restarts[0][0] <= now:
            brokers.empty(restarts.pop(0)[1])
        if now - swept >= 5 * MINUTE:
            entries, stored = brokers.sweep(now)
            seen.entries, seen.stored, swept = max(seen.entries, entries), max(seen.stored, stored), now
        # A second for the way: the SDK asks when exactly the margin is left.
        if device.token_end - now < users.sign_in_margin + 1:
            seen.tokens += 1
            device.token, device.token_end = seen.tokens, now + dice.uniform(*users.token_life)
        exchanges, operations = brokers.exchanges, brokers.operations
        end = brokers.ask(device.user, device.token, device.token_end, now)
        minute = int(now // MINUTE)
        seen.calls[minute] += 1
        seen.exchanges[minute] += brokers.exchanges - exchanges
        seen.store[minute] += brokers.operations - operations
        # The SDK's timer: ten minutes before the end, else after half of what is left.
        left = end - now
        refresh = end - users.refresh_before if left > users.refresh_before else now + max(left / 2, 1.0)
        reload = now + dice.expovariate(users.reloads) if users.reloads else float("inf")
        time = min(refresh, reload)
        if time < device.leaves:
            order += 1
            heapq.heappush(queue, (time, order, device))
    return seen


def roll_out(settings, at, between=2 * MINUTE):
    """A rolling update: one replica after the other begins anew."""
    return [(at + each * between, each) for each in range(settings.replicas)]


def all_at_once(settings, at):
    """All replicas end and begin together."""
    return roll_out(settings, at, 0.0)
