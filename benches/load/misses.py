"""What has to be exchanged: the broker's own time, and many callers who want the same."""

import asyncio
import re
from urllib.parse import urlsplit

import services as parts


def sums(management, name, label):
    """Sum in seconds and count of a histogram's series that have a label."""
    _, _, content = parts.ask(parts.connect(management), "/metrics", method="GET")
    found = {"sum": 0.0, "count": 0.0}
    for line in content.decode().splitlines():
        series = re.match(rf"{name}_(sum|count)\{{(.*)\}} (\S+)$", line)
        if series and label in series[2]:
            found[series[1]] += float(series[3])
    return found["sum"], found["count"]


def miss(results, emulator_binary, binary, folder, otlp, users=2_000):
    """The broker's own time for a request that is exchanged, over TLS and HTTP/2 to the emulator, one at a time: the
    duration of the requests less that of the calls to ACS."""
    with parts.emulator(emulator_binary, "--tls") as emulator:
        authority = re.search(r"(\S*/ca\.pem)", emulator.said)[1]
        tokens = parts.sign_in_many(emulator.origin, users, 1, authority)
        trust = f'[upstream]\nca_file = "{authority}"'
        with parts.broker("misses", binary, folder, emulator.origin, otlp, settings=trust) as broker:
            connection = parts.connect(broker.origin)
            # The first pays for the connection.
            assert parts.ask(connection, "/token", tokens[0])[0] == 200
            own, called = ("http_server_request_duration_seconds", 'http_route="/token"'), (
                "http_client_request_duration_seconds",
                'acs_broker_upstream="acs"',
            )
            before = [sums(broker.management, *series) for series in (own, called)]
            spent = broker.cpu()
            for token in tokens[1:]:
                assert parts.ask(connection, "/token", token)[0] == 200
            spent = broker.cpu() - spent
            after = [sums(broker.management, *series) for series in (own, called)]
    (whole, requests), (calls, made) = ((new[0] - old[0], new[1] - old[1]) for new, old in zip(after, before))
    assert requests == made == users - 1, (requests, made)
    results.facts["own time of a miss, ms"] = (whole - calls) / requests * 1e3
    results.facts["CPU of a miss, us"] = spent / requests * 1e6


async def ask(origin, token, ready, go):
    address = urlsplit(origin)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    ready()
    await go.wait()
    writer.write(f"POST /token HTTP/1.1\r\nHost: broker\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return line.split()[1] if line else b"no answer"


async def all_at_once(origin, tokens):
    go, open_connections, everybody = asyncio.Event(), 0, asyncio.Event()

    def ready():
        nonlocal open_connections
        open_connections += 1
        if open_connections == len(tokens):
            everybody.set()

    places = asyncio.gather(*(ask(origin, token, ready, go) for token in tokens))
    await everybody.wait()
    go.set()
    return await places


def storm(results, emulator_binary, binary, folder, otlp, users=1_000, most=10):
    """Ten callers for each of a thousand users, or as many as open files allow, while ACS takes two seconds for each: as many
    exchanges as users."""
    callers = min(most, (parts.open_files() - 2_000) // (4 * users))
    # Each connection sets memory aside for a quarter of a request (docs/configuration-reference.md), and all are to be served at once.
    places = 4 * users * callers
    parts.allow_files(places + 2_000)
    server = f"max_connections = {places}\nmax_connections_per_address = {places}\nmax_in_flight = {users * callers}\nrequest_timeout = \"5m\""
    with parts.emulator(emulator_binary) as emulator:
        tokens = parts.sign_in_many(emulator.origin, users, 1)
        delay = '{"exchange": {"latency_ms": 2000}}'
        status, _, content = parts.ask(parts.connect(emulator.origin), "/_emulator/faults", body=delay, method="PUT")
        assert status == 200, content
        with parts.broker("storm", binary, folder, emulator.origin, otlp, server=server) as broker:
            statuses = asyncio.run(all_at_once(broker.origin, tokens * callers))
            assert set(statuses) == {b"200"}, {status: statuses.count(status) for status in set(statuses)}
            _, made = sums(broker.management, "http_client_request_duration_seconds", 'acs_broker_upstream="acs"')
    results.facts["callers of the storm"] = users * callers
    results.facts["exchanges for the storm"] = int(made)
