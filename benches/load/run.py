"""Runs the cases; see run.sh and README.md."""

import argparse
import base64
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import services as parts
from drivers import h2load, many, one, wrk
from footprint import footprint
from misses import miss, storm
from table import Results, figures, ratios

CASES = ["hot", "half load", "new token", "bad signature", "garbage", "transports", "miss", "storm", "footprint"]
# More tokens than any of the services remembers (32 MiB of them in the broker), in turn: each is new when it comes.
TOKENS_PER_USER, USERS = 300, 200
# Signature checks that are measured together.
CHECKS = 20_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=pathlib.Path, default=pathlib.Path("target"))
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(CASES), help="cases: " + ", ".join(CASES))
    parser.add_argument("--broker", action="append", metavar="NAME=BINARY", help="several are compared in turn")
    parser.add_argument("--emulator", type=pathlib.Path, help="the binary whose `dev` is the emulator; that of the target")
    parser.add_argument("--tokens", type=int, default=TOKENS_PER_USER, help=f"of each of {USERS} users, for new token")
    parser.add_argument("--users", type=int, default=100_000, help="whose tokens are cached, for footprint")
    parser.add_argument("--connections", type=int, default=4_000, help="that stay open, for footprint")
    parser.add_argument("--peers", default="bare,node", help="what they are compared with")
    parser.add_argument("--json", type=pathlib.Path, help="where to write all runs")
    return parser.parse_args()


def in_turn(results, case, rounds, services, measure):
    """A B C, B C A, …: what goes before leaves its traces in the processor's caches."""
    for service in services:
        measure(service, 1)
    for number in range(rounds):
        first = number % len(services)
        for service in services[first:] + services[:first]:
            results.add(case, service.name, measure(service, None))


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="acs-token-broker-load-") as folder, ExitStack() as stack:
        bench = Bench(options, pathlib.Path(folder), stack)
        bench.run()
        print("\n".join(figures(bench.results)))
        print()
        for broker, what, figure, goal in ratios(bench.results, bench.brokers):
            print(f"{broker:<12} {what:<52} {figure:<24} {goal}")
        if options.json:
            options.json.write_text(json.dumps(bench.results.as_json(), indent=1))


class Bench:
    def __init__(self, options, folder, stack):
        self.options, self.folder, self.stack = options, folder, stack
        self.results = Results()
        self.cases = options.only.split(",")
        release = options.target / "release/acs-token-broker"
        self.emulator_binary = options.emulator or release
        self.binaries = dict(pair.split("=", 1) for pair in options.broker or [f"broker={release}"])
        self.brokers = list(self.binaries)

    def run(self):
        emulator = self.stack.enter_context(parts.emulator(self.emulator_binary))
        entra = parts.connect(emulator.origin)
        token = parts.sign_in(entra)
        bare = self.options.target / "load/release/acs-token-broker-bare"
        sink = self.folder / "sink"
        sink.write_text("")
        otlp = self.stack.enter_context(parts.bare(bare, sink)).origin
        services = [
            self.stack.enter_context(parts.broker(name, binary, self.folder, emulator.origin, otlp))
            for name, binary in self.binaries.items()
        ]
        # The bare service answers with as many bytes as the broker does.
        status, _, answer = parts.ask(parts.connect(services[0].origin), "/token", token)
        assert status == 200, answer
        (self.folder / "answer").write_bytes(answer)
        peers = self.options.peers.split(",")
        checked = list(services)
        if "node" in peers:
            checked.append(self.stack.enter_context(parts.node(emulator.origin)))
        plain = list(checked)
        if "bare" in peers:
            plain.insert(0, self.stack.enter_context(parts.bare(bare, self.folder / "answer")))
        for service in checked:
            self.probe(service, token, answer)
        self.measure_check(bare, entra, token)
        self.tables(emulator, token, services, checked, plain)
        for case, work in (("miss", miss), ("storm", storm)):
            if case in self.cases:
                self.say(case)
                work(self.results, self.emulator_binary, self.binaries[self.brokers[-1]], self.folder, otlp)
        if "footprint" in self.cases:
            self.say("footprint")
            sizes = (self.options.users, self.options.connections)
            footprint(self.results, self.emulator_binary, self.binaries[self.brokers[-1]], self.folder, otlp, *sizes)

    def tables(self, emulator, token, services, checked, plain):
        seconds = self.options.seconds
        bad = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")

        def simple(script, expect=200):
            return lambda service, short: wrk(service, script, short or seconds, expect=expect)

        if "hot" in self.cases:
            self.case("hot", plain, simple(one(token)))
        if "half load" in self.cases:
            bare = next((service for service in plain if service.name == "bare"), None)
            # Half of what the slowest of the two can do, so that both are asked for the same.
            most = min(wrk(service, one(token), 2).rate for service in ([bare] if bare else []) + services)
            pair = ([bare] if bare else []) + services
            self.case("half load", pair, lambda service, short: h2load(service, token, short or seconds, rate=most / 2, http1=True))
        if "new token" in self.cases:
            self.new_tokens(emulator, checked)
        if "bad signature" in self.cases:
            self.case("bad signature", checked, simple(one(bad), 401))
        if "garbage" in self.cases:
            self.case("garbage", checked, simple(one("garbage"), 401))
        if "transports" in self.cases:
            pair = [service for service in plain if service.name != "node"]
            self.case("a connection each", pair, simple(one(token, close=True)))
            self.case("HTTP/2", pair, lambda service, short: h2load(service, token, short or seconds, streams=10, clients=8))

    def new_tokens(self, emulator, checked):
        file = self.folder / "tokens"
        self.say("signing tokens")
        tokens = parts.sign_in_many(emulator.origin, USERS, self.options.tokens)
        file.write_text("\n".join(tokens) + "\n")
        for service in checked:
            connection = parts.connect(service.origin)
            for token in tokens[:USERS]:
                assert parts.ask(connection, "/token", token)[0] == 200
        sent = dict.fromkeys((service.name for service in checked), 0)

        def measure(service, short):
            run = wrk(service, many(file, sent[service.name] % len(tokens)), short or self.options.seconds)
            sent[service.name] += run.requests
            return run

        self.case("new token", checked, measure)

    def case(self, name, services, measure):
        self.say(name)
        in_turn(self.results, name, self.options.rounds, services, measure)

    def probe(self, service, token, wanted):
        """Each service gives the very kind of answer that is measured."""
        connection = parts.connect(service.origin)
        status, _, content = parts.ask(connection, "/token", token)
        assert status == 200 and abs(len(content) - len(wanted)) < 100, (service.name, status, content[:200])
        for wrong, code in ((token[:-8] + "AAAAAAAA", "InvalidToken"), ("garbage", "InvalidToken")):
            status, fields, content = parts.ask(connection, "/token", wrong)
            assert (status, fields["x-ms-error-code"]) == (401, code), (service.name, status, content[:200])

    def measure_check(self, bare, entra, token):
        """What one signature check costs on this machine, in microseconds of CPU: the middle of five runs."""
        _, _, content = parts.ask(entra, f"/{parts.TENANTS[0]}/discovery/v2.0/keys", method="GET")
        keys = json.loads(content)["keys"]
        kid = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["kid"]
        key = next(key for key in keys if key["kid"] == kid)
        file = self.folder / "check"
        file.write_text(f"{token}\n{key['n']}\n{key['e']}\n")

        def spent(checks):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([bare, "check", file, str(checks)], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        # CPU time, as of the services: the start is taken off.
        runs = [(spent(CHECKS) - spent(0)) / CHECKS * 1e6 for _ in range(5)]
        self.results.facts["check"] = statistics.median(runs)
        self.say(f"one RS256 check: {self.results.facts['check']:.1f} us")

    def say(self, what):
        print(f"# {what}", file=sys.stderr, flush=True)


main()
