"""What an upstream that fails can make a broker take in memory; see memory.sh.

Many users without a token at once, each of whom needs an exchange, and an ACS that answers none of them as it should.
"""

import asyncio
import gzip
import json
import pathlib
import re
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "proxies"))
from client import Connection  # noqa: E402
from stack import Stack, stop  # noqa: E402

LIMIT = 200  # MiB
# Each exchange under way may hold its body, up to `upstream.max_response_bytes` (1 MiB), and as much again that its connection has read.
HELD = 2  # MiB
LENGTH = sys.argv[2] if len(sys.argv) > 2 else "short"
USERS = 200 if LENGTH == "short" else 1000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
# How many bodies were taken whole.
held = 0
BOMB = gzip.compress(b" " * (64 << 20))


async def endless(writer):
    writer.write(HEAD + b"content-length: 1000000000\r\n\r\n{")
    for _ in range(1000):
        writer.write(b" " * 65536)
        await writer.drain()


async def bomb(writer):
    writer.write(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB) + BOMB)
    await writer.drain()


async def headers(writer):
    writer.write(HEAD)
    for number in range(100_000):
        writer.write(b"x-field-%d: %s\r\n" % (number, b"0" * 1000))
        await writer.drain()


async def almost(writer):
    """Nearly as much as is taken, and then nothing more until the other side has had enough."""
    writer.transport.set_write_buffer_limits(0)
    writer.write(HEAD + b"content-length: 1048000\r\n\r\n{" + b" " * 1_000_000)
    await writer.drain()
    global held
    held += 1
    await asyncio.sleep(30)


async def silence(_):
    await asyncio.sleep(30)


SHAPES = {"a body without end": endless, "a gzip bomb": bomb, "a flood of headers": headers, "a body that stops": almost, "silence": silence}


class Failing(Stack):
    """A broker whose ACS is not the emulator."""

    def start(self, name):
        file = self.work / f"{name}.toml"
        text = file.read_text()
        file.write_text(text.replace(f'[exchange]\nendpoint = "http://{self.upstream}"', f'[exchange]\nendpoint = "http://127.0.0.1:{self.acs}"'))
        super().start(name)

    def memory(self, name, what):
        """In MiB."""
        status = pathlib.Path(f"/proc/{self.brokers[name].pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024


async def serve(shape):
    """An ACS of that shape; its port."""

    async def answer(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            await SHAPES[shape](writer)
        except (OSError, EOFError, asyncio.CancelledError):
            # The broker has had enough, or the run is over.
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def attack(stack, shape, tokens):
    server, stack.acs = await serve(shape)
    # Each user asks from the same address. One attempt is enough to see what it takes, and circuits would end it.
    name = re.sub(r"\W", "_", shape)
    await asyncio.to_thread(stack.broker, name, 'max_connections_per_address = "off"\n[upstream]\nbreaker = "off"')
    await asyncio.to_thread(stack.ready, name)
    before = stack.memory(name, "VmRSS")
    began = time.monotonic()
    answers = await asyncio.gather(*(Connection(stack.ports[name], token).post() for token in tokens))
    took = time.monotonic() - began
    peak, after = stack.memory(name, "VmHWM"), stack.memory(name, "VmRSS")
    stop(stack.brokers[name])
    server.close()
    if shape == "a body that stops" and held < USERS / 2:
        print(f"{shape}: only {held} of {USERS} were taken: the machine is too busy to tell")
    wrong = [answer for answer in answers if answer not in (429, 502, 503, 504)]
    limit = LIMIT + HELD * USERS if shape == "a body that stops" else LIMIT
    bad = peak > limit or bool(wrong)
    counts = ", ".join(f"{answers.count(status)} of {status}" for status in sorted(set(answers), key=str))
    print(f"{shape:30} {before:7.0f} {peak:7.0f} {after:7.0f} {took:8.1f} s  {counts}{'  FAILED' if bad else ''}", flush=True)
    return bad


def tokens_of(stack, number):
    def token(index):
        body = json.dumps({"lifetime": 3600, "claims": {"oid": f"3e300000-0000-4000-8000-{index:012x}"}})
        return stack.control("POST", "/_emulator/users/diego/token", body)["access_token"]

    return [token(index) for index in range(number)]


async def main():
    failed = False
    with Failing(sys.argv[1]) as stack:
        stack.emulator()
        tokens = tokens_of(stack, USERS)
        print(f"\n{f'ACS, {USERS} users, in MiB':30} {'before':>7} {'peak':>7} {'after':>7} {'':>10}  answers")
        for shape in SHAPES:
            failed |= await attack(stack, shape, tokens)
    print(f"limit {LIMIT} MiB, {HELD} more for each body that stops: {'passed over' if failed else 'kept'}")
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
