"""The broker's caches: of each replica, and the one that they share. Nothing waits here; what ACS can take is quota.py's."""

import random
from collections import OrderedDict
from dataclasses import dataclass


@dataclass
class Entry:
    """An ACS token in a cache."""

    end: float
    exchanged: float
    ahead: float  # refresh_ahead with this entry's random part


def decide(entry, token_end, now, settings):
    """The rule of src/cache/decision.rs, in its order. A token that the entry was exchanged for ends with it."""
    if entry is None or entry.end - now < settings.expiry_margin:
        return "expired"
    if token_end < entry.end - settings.min_gain:
        return "own"
    if settings.max_age is not None and now - entry.exchanged >= settings.max_age:
        return "revalidate"
    remaining, gains = entry.end - now, token_end - entry.end >= settings.min_gain
    if gains and remaining < settings.min_remaining:
        return "renew first"
    if gains and remaining < entry.ahead:
        return "serve and renew"
    return "serve"


class Brokers:
    """Replicas of the broker. `scale` is how many users each simulated one stands for: caches hold that many fewer."""

    def __init__(self, settings, scale=1.0, seed=1):
        self.settings, self.random = settings, random.Random(seed)
        self.capacity = max(1, int(settings.max_entries / scale))
        self.memory = [OrderedDict() for _ in range(settings.replicas)]
        self.store = {} if settings.shared_cache else None
        self.exchanges, self.operations = 0, 0  # at ACS, in the store

    def empty(self, replica):
        """The replica is replaced: what it had in memory is gone."""
        self.memory[replica].clear()

    def ask(self, user, token, token_end, now):
        """A call with an Entra token; gives the end of the ACS token that is answered."""
        replica = self.random.randrange(self.settings.replicas)
        if self.random.random() < self.settings.sticky:
            replica = user % self.settings.replicas
        memory = self.memory[replica]
        entry = self._get(memory, user)
        decision = decide(entry, token_end, now, self.settings)
        if decision not in ("serve", "own") and self.store is not None:
            entry, decision = self._from_store(memory, user, entry, token_end, now, decision)
        if decision == "serve":
            return entry.end
        if decision == "own":
            return self._own(memory, (user, token), token_end, now)
        return self._exchange(memory, user, entry, token_end, now, decision)

    def _exchange(self, memory, user, entry, token_end, now, decision):
        """For all of the user's devices. An entry is replaced by one that ends later; a revalidation makes it younger."""
        self.exchanges += 1
        new = Entry(max(token_end, entry.end) if decision == "revalidate" else token_end, now, self._ahead())
        self._put(memory, user, new)
        if self.store is not None:
            self.operations += 6  # place in the budget, lease, a second look, value, release, the place's end
            self.store[user] = new
        return entry.end if decision == "serve and renew" else new.end

    def _own(self, memory, name, token_end, now):
        """For a token that ends before the user's entry: remembered for this token, in this replica only."""
        entry = self._get(memory, name)
        age = self.settings.max_age
        if entry is None or entry.end - now < self.settings.expiry_margin or (age is not None and now - entry.exchanged >= age):
            self.exchanges += 1
            self.operations += 0 if self.store is None else 2  # place in the budget, and its end
            entry = Entry(token_end, now, 0.0)
            self._put(memory, name, entry)
        return entry.end

    def _from_store(self, memory, user, entry, token_end, now, decision):
        """Memory, store, exchange: a value from the store is subject to the same rule."""
        self.operations += 1
        stored = self.store.get(user)
        if stored is None or (entry is not None and stored.exchanged <= entry.exchanged):
            return entry, decision
        found = decide(stored, token_end, now, self.settings)
        if found == "expired":
            return entry, decision
        self._put(memory, user, stored)
        return stored, found

    def _ahead(self):
        return self.settings.refresh_ahead + self.random.random() * self.settings.refresh_jitter

    @staticmethod
    def _get(memory, name):
        entry = memory.get(name)
        if entry is not None:
            memory.move_to_end(name)
        return entry

    def _put(self, memory, name, entry):
        memory[name] = entry
        memory.move_to_end(name)
        if len(memory) > self.capacity:
            memory.popitem(last=False)

    def sweep(self, now):
        """Drops what has ended; gives the entries of the fullest replica and those of the store."""
        for cache in [*self.memory, *([] if self.store is None else [self.store])]:
            for name in [name for name, entry in cache.items() if entry.end < now]:
                del cache[name]
        return max(map(len, self.memory)), len(self.store or ())
