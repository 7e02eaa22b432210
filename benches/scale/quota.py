"""Exchanges at one ACS resource: a budget in a moving window, a queue before it, and callers who come back when told to."""

import random
from collections import deque
from dataclasses import dataclass

from figures import MINUTE, QUOTA


@dataclass
class Outcome:
    """What callers who need an exchange met with."""

    exchanges: int = 0
    refusals: int = 0  # answers 429; a caller may get several
    refused: int = 0  # callers who got one at least
    longest: int = 0  # seconds from the first try to the token
    unserved: int = 0  # callers without a token at the end
    overrun: bool = False  # so many were on the way that the rest of the day was not looked at
    busiest: int = 0  # most sent in any window


class Window:
    """At most `budget` in any `length` seconds."""

    def __init__(self, budget, length):
        self.budget, self.sent, self.used = budget, deque([0] * length, length), 0

    def free(self):
        return self.budget - self.used

    def send(self, count):
        self.used += count
        self.sent[-1] += count

    def tick(self):
        self.used -= self.sent[0]
        self.sent.append(0)

    def turn(self, ahead):
        """Seconds until whoever has so many before them has their turn. A full window empties as it filled."""
        free, wait = self.free(), 0
        if ahead < free:
            return 0
        for sent in self.sent:
            wait += 1
            free += sent
            if ahead < free:
                return wait
        return len(self.sent)


class Endpoint:
    """One budget with its queue: that of a replica, or that of all with a shared one."""

    def __init__(self, budget, quota, dice, queues=1):
        self.window, self.quota, self.dice = Window(budget, quota.window), quota, dice
        self.limit, self.waiting, self.length = quota.queue * queues, deque(), 0
        self.back, self.returning = {}, 0  # those who were refused, by the second in which they come back and their first one

    def second(self, now, new, outcome):
        """One second: who came first is asked for first; gives nothing, counts in `outcome`."""
        coming = [(since, count, True) for since, count in self.back.pop(now, {}).items()]
        self.returning -= sum(count for _, count, _ in coming)
        if new:
            coming.append((now, new, False))
        if len(coming) > 1:
            self.dice.shuffle(coming)
        for since, count, again in coming:
            self._arrive(now, since, count, again, outcome)
        while self.waiting and self.window.free() > 0:
            since, count = self.waiting.popleft()
            served = min(count, self.window.free())
            self.window.send(served)
            self.length -= served
            outcome.exchanges += served
            outcome.longest = max(outcome.longest, now - since)
            if served < count:
                self.waiting.appendleft((since, count - served))
        outcome.busiest = max(outcome.busiest, self.window.used)
        self.window.tick()

    def _arrive(self, now, since, count, again, outcome):
        """As many join the queue as have their turn in time; the others are told when to come back."""
        low, high = 0, min(count, self.limit - self.length)
        while low < high:  # the most whose last one does not wait too long
            middle = (low + high + 1) // 2
            if self.window.turn(self.length + middle - 1) <= self.quota.patience:
                low = middle
            else:
                high = middle - 1
        if low:
            self.waiting.append((since, low))
            self.length += low
        left = count - low
        if left:
            outcome.refusals += left
            outcome.refused += 0 if again else left
            self.returning += left
            wait = max(1, self.window.turn(self.length))
            # Up to half more, so that they do not all come back together.
            first, last = now + wait, now + wait + wait // 2
            for at in range(first, last + 1):
                part = left // (last - at + 1)
                left -= part
                if part:
                    coming = self.back.setdefault(at, {})
                    coming[since] = coming.get(since, 0) + part


def poisson(mean, dice):
    """A draw; for large means by the normal distribution."""
    if mean > 50:
        return max(0, round(dice.gauss(mean, mean**0.5)))
    left, count = dice.expovariate(1.0) if mean else 1.0, 0
    while left < mean:
        count += 1
        left += dice.expovariate(1.0)
    return count


def shares(settings, quota=QUOTA):
    """The budgets of the replicas: one for all with a shared cache, else a part each, of as many as may run at once."""
    if settings.shared_cache:
        return [quota.requests]
    return [max(1, quota.requests // (settings.replicas + settings.surge))] * settings.replicas


def smooth(minutes, over=5):
    """A moving mean: the few users that are simulated come in lumps in which many would not."""
    half = over // 2
    return [sum(minutes[max(0, at - half) : at + half + 1]) / over for at in range(len(minutes))]


def serve(day, users, settings, quota=QUOTA, seed=1, hours=(6, 20), to_the_first=False):
    """Sends what the day needs to one ACS resource; with `to_the_first` only until somebody is refused."""
    dice, outcome = random.Random(seed), Outcome()
    budgets = shares(settings, quota)
    endpoints = [Endpoint(budget, quota, dice, settings.replicas if settings.shared_cache else 1) for budget in budgets]
    part, needed = users / day.users / len(endpoints) / MINUTE, smooth(day.exchanges)
    for now in range(hours[0] * 3600, hours[1] * 3600):
        mean = needed[now // 60] * part
        for endpoint in endpoints:
            endpoint.second(now, poisson(mean, dice) if mean else 0, outcome)
        if to_the_first and outcome.refused:
            break
        # What is on the way takes ten minutes: one resource is not enough.
        if now % 60 == 0 and sum(each.returning for each in endpoints) > quota.requests * 20:
            outcome.overrun = True
            break
    outcome.unserved = sum(endpoint.length + endpoint.returning for endpoint in endpoints)
    return outcome


def most_users(day, settings, quota=QUOTA):
    """The most users, in thousands, that one resource serves all day without refusing anybody."""
    low, high = 0, 200
    while high - low > 1:
        middle = (low + high) // 2
        if serve(day, middle * 1000, settings, quota, to_the_first=True).refused:
            high = middle
        else:
            low = middle
    return low
