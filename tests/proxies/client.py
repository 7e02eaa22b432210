"""Clients of the proxies, which count what comes back, and a relay that is as slow as a network."""

import asyncio
import collections
import contextlib
import select
import socket
import time

# What a client waits for an answer; longer than any time limit of the broker and the proxies.
PATIENCE = 25


class Connection:
    """A client's connection to a proxy; opened anew after the proxy has closed it."""

    def __init__(self, port, token):
        self.port = port
        self.head = f"POST /token HTTP/1.1\r\nHost: broker.test\r\nAuthorization: Bearer {token}\r\n"
        self.reader = self.writer = None
        # Of the last answer. Names of fields are in small letters.
        self.fields, self.body = {}, b""

    async def post(self, body=b"", hold=0.0):
        """The status that the broker answers, or what went wrong. The body is sent `hold` seconds after the head."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._post(body, hold)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            return type(error).__name__

    async def _post(self, body, hold):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        kind = "Content-Type: application/json\r\n" if body else ""
        self.writer.write(f"{self.head}{kind}Content-Length: {len(body)}\r\n\r\n".encode())
        if hold:
            await asyncio.sleep(hold)
        self.writer.write(body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        fields = self.fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        self.body = await self.reader.readexactly(int(fields["content-length"]) if "content-length" in fields else 0)
        if fields.get("connection") == "close" or "content-length" not in fields:
            self.close()
        status = int(head.split(" ", 2)[1])
        # Every answer of the broker has it.
        return status if "x-ms-request-id" in fields else f"the proxy's {status}"

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def steady(port, token, rate, until, durations, clients=10):
    """Sends `rate` requests a second over `clients` connections until the event `until`; counts what comes back, and
    appends the seconds that each took to `durations`."""
    outcomes = collections.Counter()
    begun = time.monotonic()

    async def client(number):
        connection = Connection(port, token)
        due = begun + number / rate
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), max(0.001, due - time.monotonic()))
                break
            sent = time.monotonic()
            outcomes[await connection.post()] += 1
            durations.append(time.monotonic() - sent)
            # What could not be sent in time is left out: a burst is no steady load.
            due = max(due + clients / rate, time.monotonic())
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return outcomes


async def waves(port, token, gaps, clients=8):
    """All clients send at once, which opens as many connections to a broker that is some way off; then again after each
    of `gaps`, in seconds since the answers."""
    outcomes = collections.Counter()
    connections = [Connection(port, token) for _ in range(clients)]
    for gap in [0, *gaps]:
        await asyncio.sleep(gap)
        outcomes.update(await asyncio.gather(*(connection.post() for connection in connections)))
    for connection in connections:
        connection.close()
    return outcomes


async def crowd(port, token, clients):
    """As many requests at the same time, each of which lasts as long as its body is on the way."""
    connections = [Connection(port, token) for _ in range(clients)]
    outcomes = collections.Counter(await asyncio.gather(*(connection.post(b"{}", 1.0) for connection in connections)))
    for connection in connections:
        connection.close()
    return outcomes


async def beside_cancelled(port, token, others, cancelled):
    """What `others` clients get whose requests are under way while as many as `cancelled` begin some and leave, all at once."""
    connections = [Connection(port, token) for _ in range(others)]
    posts = [asyncio.create_task(connection.post(b"{}", 1.0)) for connection in connections]
    await asyncio.sleep(0.3)
    leaving = [Connection(port, token) for _ in range(cancelled)]
    opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in leaving))
    for connection, (_, writer) in zip(leaving, opened):
        writer.write(f"{connection.head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n".encode())
    await asyncio.sleep(0.2)
    for _, writer in opened:
        writer.transport.abort()
    outcomes = collections.Counter(await asyncio.gather(*posts))
    for connection in connections:
        connection.close()
    return outcomes


def large(port, token, size):
    """The status that a client gets which reads while it still sends a body of `size` bytes."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as opened:
        head = f"POST /token HTTP/1.1\r\nHost: broker.test\r\nAuthorization: Bearer {token}\r\n"
        unsent = memoryview(f"{head}Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode() + b" " * size)
        opened.setblocking(False)
        answer, end = b"", time.monotonic() + PATIENCE
        while b"\r\n\r\n" not in answer:
            readable, writable, _ = select.select([opened], [opened] if unsent else [], [], max(0, end - time.monotonic()))
            if not readable and not writable:
                return "TimeoutError"
            if readable:
                try:
                    read = opened.recv(65536)
                except OSError as error:
                    return type(error).__name__
                if not read:
                    return "EOFError"
                answer += read
            elif writable:
                try:
                    unsent = unsent[opened.send(unsent[:65536]) :]
                except OSError:
                    # The answer may be there all the same.
                    unsent = unsent[:0]
        return int(answer.split(b" ", 2)[1])


@contextlib.asynccontextmanager
async def relay(port, target, delay):
    """Passes on what comes to `port`, each way `delay` seconds late, the ends included."""

    async def pump(reader, writer):
        queue = asyncio.Queue()

        async def deliver():
            while True:
                due, what = await queue.get()
                await asyncio.sleep(max(0, due - time.monotonic()))
                if what is None:
                    writer.transport.abort()
                elif what:
                    writer.write(what)
                else:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                if what is None:
                    return

        delivery = asyncio.create_task(deliver())
        read = b"begin"
        while read:
            try:
                read = await reader.read(65536)
            except OSError:
                read = None
            queue.put_nowait((time.monotonic() + delay, read))
        await delivery

    async def serve(reader, writer):
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        # Cancelled at the end of the run.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))
        writer.close()
        other_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
