"""What the store adds to an answer's time; see ../replicas.sh. Two brokers with a store and one without are asked in turn for
the same, one request at a time, so that whatever else the machine does falls on all of them."""

import gc
import platform
import re
import socket
import time
from pathlib import Path

from people import Person
from store import Single, sealing_key, write_keys

HITS, USERS = 3000, 500
# A machine that does something else as well only adds to what is measured: the least of so many rounds counts.
ROUNDS = 5


class Client:
    """A connection that is kept, and takes a request at a time."""

    def __init__(self, port):
        self.port = port
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, token):
        """Seconds until the answer is there."""
        request = f"POST /token HTTP/1.1\r\nHost: broker.test\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n".encode()
        began = time.perf_counter()
        self.socket.sendall(request)
        answer = self.socket.recv(65536)
        while not self._is_whole(answer):
            more = self.socket.recv(65536)
            if not more:
                raise EOFError
            answer += more
        took = time.perf_counter() - began
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer[:300])
        return took

    @staticmethod
    def _is_whole(answer):
        head, end, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        return bool(end) and length and len(body) >= int(length[1])


class Measured:
    """What was measured of one kind of request, in milliseconds."""

    def __init__(self):
        self.without, self.with_store = [], []

    def row(self, what):
        def points(taken):
            size = len(taken) // ROUNDS
            rounds = [sorted(taken[start : start + size]) for start in range(0, size * ROUNDS, size)]
            return [min(1000 * each[size * part // 100] for each in rounds) for part in (50, 99)]

        without, with_store = points(self.without), points(self.with_store)
        added = [one - other for one, other in zip(with_store, without)]
        cells = [f"{value:.2f}" for pair in zip(without, with_store, added) for value in pair]
        return f"| {what} | {len(self.with_store)} | {' | '.join(cells)} |"


class Latency:
    def __init__(self, stack):
        self.stack = stack
        self.clients = {name: Client(stack.ports[name]) for name in ("a", "b", "without")}
        self.number = 0

    def person(self):
        self.number += 1
        person = Person(self.number)
        person.sign_in(self.stack.control, 3600)
        return person

    def in_turn(self, measured, number, name, token, other_token=None):
        """One request each, the one with the store first every other time."""
        turns = [(measured.with_store, name, token), (measured.without, "without", other_token or token)]
        for taken, broker, bearer in turns if number % 2 else reversed(turns):
            taken.append(self.clients[broker].ask(bearer))

    def operations(self, *names):
        return self.stack.unheard(*names, outcomes=("hit", "miss", "stored", "timeout", "error", "skipped", "rejected"))

    def known_token(self):
        measured, person = Measured(), self.person()
        for name in ("a", "without"):
            self.clients[name].ask(person.token)
        before = self.operations("a")
        for number in range(HITS):
            self.in_turn(measured, number, "a", person.token)
        return measured, self.operations("a") - before

    def new_token(self):
        """In memory too, by another token of the user, which has to be verified."""
        measured, person = Measured(), self.person()
        for name in ("a", "without"):
            self.clients[name].ask(person.token)
        before = self.operations("a")
        for number in range(USERS):
            person.sign_in(self.stack.control, 3600)
            self.in_turn(measured, number, "a", person.token)
        return measured, self.operations("a") - before

    def in_store(self, hits):
        """What a has exchanged is asked for at b; beside it what the broker without a store has in memory."""
        measured = Measured()
        # It has been idle for as long as a connection may be.
        self.clients["b"].connect()
        for number in range(USERS):
            person = self.person()
            self.clients["a"].ask(person.token)
            self.clients["without"].ask(person.token)
            token = person.token
            person.sign_in(self.stack.control, 3600)
            self.in_turn(measured, number, "b", token, person.token)
        found = self.stack.unheard("b", outcomes=("hit",))
        return measured, found - hits

    def exchange(self):
        measured = Measured()
        for number in range(USERS):
            person = self.person()
            self.in_turn(measured, number, "a", person.token)
        return measured


def machine():
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    return f"{model[1] if model else platform.machine()}, {text.count('processor	:')} cores, Linux {platform.release().split('-')[0]}"


def run(stack, report):
    write_keys(stack, sealing_key("key"))
    store = Single(stack)
    store.begin()
    stack.emulator()
    for name in ("a", "b"):
        stack.broker(name, store.settings(), limits='replicas = 2\nupstream_exchanges = "100000/30s"\n')
    stack.broker("without", limits='upstream_exchanges = "100000/30s"\n')
    for name in ("a", "b", "without"):
        stack.ready(name)
    stack.sharing("a", "b")
    gc.disable()
    latency = Latency(stack)
    print(f"latency: {machine()}; {stack.program}", flush=True)
    print("| request | of each | without, p50 | with, p50 | added, p50 | without, p99 | with, p99 | added, p99 |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for what, measure in (("in memory, known token", latency.known_token), ("in memory, new token", latency.new_token)):
        measured, asked = measure()
        print(measured.row(what), flush=True)
        # Nil is what is promised, and what is not asked costs nothing.
        report.require(asked == 0, f"latency: {asked} operations at the store for what is in memory")
    measured, found = latency.in_store(stack.unheard("b", outcomes=("hit",)))
    print(measured.row("in the store; beside it one in memory, new token"), flush=True)
    report.require(found == USERS, f"latency: {found} of {USERS} were found in the store")
    measured = latency.exchange()
    print(measured.row("exchanged"), flush=True)
    report.require(stack.unheard("a", "b") == 0, "latency: operations at the store came to nothing")
    made, expected = stack.exchanges(), 2 * (2 * USERS + 2)
    report.require(made == expected, f"latency: {made} exchanges, not {expected}")
    gc.enable()
