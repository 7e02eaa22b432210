"""Moves the clock of a broker's machine about while it serves; see ../clock.sh."""

import http.client
import json
import re
import signal
import sys
import time
from pathlib import Path

from people import Person, claims
from world import Replicas

sys.path.append(str(Path(__file__).resolve().parent.parent / "proxies"))
from stack import wait  # noqa: E402

LIBRARY = sys.argv[2]
HOUR = 3600
# Where the clock is put, one after the other, and what a user with a good token is answered then.
JUMPS = [
    ("at first", 0, "200"),
    ("10 s ahead: what is allowed", 10, "200"),
    ("2 hours ahead: as after a sleep", 2 * HOUR, "401 InvalidToken Expired"),
    ("right again, 2 hours back", 0, "200"),
    ("10 s behind: what is allowed", -10, "200"),
    ("a day behind", -24 * HOUR, "401 InvalidToken NotYetValid"),
    ("right again, a day on", 0, "200"),
    ("a year ahead", 365 * 24 * HOUR, "401 InvalidToken Expired"),
    ("right again, a year back", 0, "200"),
]


class Machine(Replicas):
    """A broker whose wall clock is where a file says, as libfaketime reads it. The monotonic clock goes on, as the kernel's does."""

    def begin(self):
        self.emulator()
        self.moved = self.work / "clock"
        self.put(0)
        self.broker("a", '[cache]\nmin_gain = "2s"')
        self.ready("a")

    def put(self, seconds):
        self.moved.with_suffix(".new").write_text(f"{seconds:+d}\n")
        self.moved.with_suffix(".new").rename(self.moved)

    def spawn(self, arguments, log):
        if arguments[1] == "serve":
            variables = [f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={self.moved}", "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"]
            arguments = ["env", *variables, *arguments]
        return super().spawn(arguments, log)

    def clock(self):
        """By how much the broker's clock is ahead, as its log says."""
        last = re.findall(r'"timestamp":"([^"]+)"', self.log("a.log"))[-1]
        return time.mktime(time.strptime(last[:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.gmtime())

    def resident(self):
        status = Path(f"/proc/{self.brokers['a'].pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def counts(self):
        counts = self.control("GET", "/_emulator/journal")["counts"]
        return counts.get("exchange", 0), counts.get("keys", 0)

    def post(self, token):
        """The outcome, and the ACS token if there is one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["a"], timeout=20)
        connection.request("POST", "/token", headers={"Authorization": f"Bearer {token}", "Content-Length": "0"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        if answer.status == 200:
            return "200", body["accessToken"]["token"]
        inner = body["error"].get("innererror", {}).get("code", "")
        return f"{answer.status} {body['error']['code']} {inner}".strip(), None


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = []
    with Machine(sys.argv[1]) as machine:
        machine.begin()
        print(f"{'clock':<36} {'known user':<30} {'new user':<30} {'exchanges':>9} {'keys':>5} {'slowest':>8} {'memory':>8}")
        known = Person(0)
        known.sign_in(machine.control, HOUR)
        for number, (what, seconds, expected) in enumerate(JUMPS, 1):
            exchanges, keys = machine.counts()
            machine.put(seconds)
            new = Person(number)
            new.sign_in(machine.control, HOUR)
            slowest, seen = 0.0, []
            for person in (known, new, known, new):
                began = time.monotonic()
                outcome, issued = machine.post(person.token)
                slowest = max(slowest, time.monotonic() - began)
                seen.append(outcome)
                if outcome != expected:
                    failed.append(f"{what}: {outcome}, not {expected}")
                if issued and claims(issued)["exp"] < time.time() + 1:
                    failed.append(f"{what}: a token that has ended")
            now_exchanges, now_keys = machine.counts()
            made, asked, memory = now_exchanges - exchanges, now_keys - keys, machine.resident()
            print(f"{what:<36} {seen[0]:<30} {seen[1]:<30} {made:>9} {asked:>5} {slowest:>6.2f} s {memory:>4.0f} MiB", flush=True)
            # Its log is written by a thread of its own.
            wait(lambda seconds=seconds: abs(machine.clock() - seconds) < 5, lambda: f"the broker's clock is {machine.clock():+.0f} s")
            # One for the new user; after a jump the cache may have let go of what had ended by the clock.
            if made > 2 or asked > 4:
                failed.append(f"{what}: {made} exchanges, {asked} fetches of keys")
            if slowest > 5 or memory > 200:
                failed.append(f"{what}: {slowest:.1f} s, {memory:.0f} MiB")
        wait(lambda: machine.management("a", "/readyz")[0] == 200, lambda: machine.management("a", "/readyz")[1])
        failed += machine.fallen()
        if failed:
            print(*[line for line in machine.log("a.log").splitlines() if '"level":"INFO"' not in line][-20:], sep="\n")
    if failed:
        sys.exit("not as promised: " + "; ".join(failed))


main()
