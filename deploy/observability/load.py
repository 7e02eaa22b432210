#!/usr/bin/env python3
"""A small, bounded load for a broker beside the emulator: hits, misses and refusals all the time, now and then a fault of
Azure's or a rotation of keys. Standard library only, so that a bare Python image can run it."""

import argparse
import json
import random
import sys
import time
import urllib.error
import urllib.request

# Known users; docs/try-it.md says what each is answered.
USERS = ["adele", "alex", "lidia", "nestor", "diego"]
REFUSED = [
    ("megan", {}),  # ExchangeForbidden
    ("grady", {"groups": "listed"}),  # NotAssigned
    ("adele", {"lifetime": -300}),  # Expired
    ("adele", {"audience": "api://other"}),  # InvalidAudience
    ("app-only", {}),  # NotDelegated
]
# One after another, each for a part of its period: endpoint, fault.
FAULTS = [
    {"exchange": {"latency_ms": 1500, "times": 3}},
    {"exchange": {"status": 503, "times": 6}},
    {"exchange": {"status": 429, "retry_after": 2, "times": 1}},
    {"exchange": {"broken_json": True, "times": 2}},
    {"exchange": {"drop_connection": True, "times": 4}},
    {"keys": {"status": 503, "times": 2}},
    {"graph": {"status": 503, "times": 4}},
]
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method, url, body=None, headers=None):
    """Status and body; no status where nobody answers."""
    data = json.dumps(body).encode() if body is not None else (b"" if method == "POST" else None)
    # Without a content type urllib says it is a form, and a form is another kind of request here.
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with DIRECT.open(request, timeout=15) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        print(f"{method} {url}: {error}", file=sys.stderr)
        return None, b""


class Load:
    def __init__(self, arguments):
        self.brokers = arguments.broker
        self.emulator = arguments.emulator
        # In the modes with an API of the broker's own, tokens are for that.
        self.audience = {"audience": arguments.audience} if arguments.audience else {}
        self.tokens = {}
        self.counts = {}

    def token(self, user, settings):
        status, body = call("POST", f"{self.emulator}/_emulator/users/{user}/token", {**self.audience, **settings})
        return json.loads(body)["access_token"] if status == 200 else None

    def ask(self, broker, token, path="/token"):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        status, _ = call("POST", broker + path, headers=headers)
        self.counts[status] = self.counts.get(status, 0) + 1

    def request(self):
        broker = random.choice(self.brokers)
        dice = random.random()
        if dice < 0.15:
            user, settings = random.choice(REFUSED)
            self.ask(broker, self.token(user, settings))
        elif dice < 0.18:
            self.ask(broker, None)
        elif dice < 0.21:
            self.ask(broker, "not.a.token")
        else:
            user = random.choice(USERS)
            # A new sign-in now and then; one that lives longer than what is cached means an exchange.
            if user not in self.tokens or random.random() < 0.15:
                self.tokens[user] = self.token(user, {"lifetime": random.randrange(3600, 86400)})
            acs = "/access/entra/:exchangeAccessToken?api-version=2025-03-02-preview"
            self.ask(broker, self.tokens[user], random.choice(["/token", "/token", acs]))

    def trouble(self, number):
        """The next fault, or after the last of them a rotation of keys."""
        chosen = number % (len(FAULTS) + 1)
        if chosen < len(FAULTS):
            call("PUT", f"{self.emulator}/_emulator/faults", FAULTS[chosen])
        else:
            call("DELETE", f"{self.emulator}/_emulator/faults")
            call("POST", f"{self.emulator}/_emulator/keys/rotate", {})
        self.tokens.clear()  # all sign in anew, so that the cache does not hide it


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", action="append", required=True, help="origin of a broker; may repeat")
    parser.add_argument("--emulator", required=True, help="origin of the emulator")
    parser.add_argument("--audience", help="whom tokens are for, as the emulator names it; ACS by default")
    parser.add_argument("--rate", type=float, default=4, help="requests in a second, at most")
    parser.add_argument("--trouble-every", type=float, default=60, help="seconds from one fault to the next; 0 for none")
    parser.add_argument("--duration", type=float, help="seconds; without end by default")
    parser.add_argument("--seed", type=int, help="the same choices each time")
    arguments = parser.parse_args()
    random.seed(arguments.seed)

    load = Load(arguments)
    began = time.monotonic()
    troubles = 0
    while arguments.duration is None or time.monotonic() - began < arguments.duration:
        due = time.monotonic() + 1 / arguments.rate
        if arguments.trouble_every and time.monotonic() - began > (troubles + 1) * arguments.trouble_every:
            load.trouble(troubles)
            troubles += 1
        load.request()
        time.sleep(max(0, due - time.monotonic()))
    call("DELETE", f"{arguments.emulator}/_emulator/faults")
    print("answers by status:", dict(sorted(load.counts.items(), key=str)))


if __name__ == "__main__":
    main()
