"""What a broker takes beside time: memory, the start, its size."""

import pathlib
import socket
import statistics
import subprocess
import threading
import time
import urllib.request

import services as parts

MEGABYTE = 1_000_000
# What the connections of one measurement leave behind in any case is paid for before.
WARM = 200


def footprint(results, emulator_binary, binary, folder, otlp, users, connections):
    """Adds the figures to the facts of `results`."""
    facts = results.facts
    facts["binary, MB"] = pathlib.Path(binary).stat().st_size / MEGABYTE
    with parts.emulator(emulator_binary) as emulator:
        started = [start(binary, folder, emulator.origin, otlp) for _ in range(5)]
        facts["start, ms"] = statistics.median(started) * 1e3
        facts["idle connection, bytes"] = idle_connection(binary, folder, emulator.origin, otlp, connections)
        with parts.broker("users", binary, folder, emulator.origin, otlp) as broker:
            facts["memory without users, MB"] = broker.resident() / MEGABYTE
            serve_users(emulator.origin, broker.origin, users)
            facts["memory with users, MB"], facts["users"] = broker.resident() / MEGABYTE, users


def start(binary, folder, authority, otlp):
    """Seconds from exec to the first 200 of /readyz."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        management = "{}:{}".format(*free.getsockname())
    file, variables = parts.prepared("start", folder, authority, otlp, management=management)
    began = time.perf_counter()
    process = subprocess.Popen([binary, "serve", "--config", file], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(f"http://{management}/readyz"):
            if process.poll() is not None or time.perf_counter() - began > 60:
                raise SystemExit("the broker does not become ready")
            time.sleep(0.001)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def is_ready(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def idle_connection(binary, folder, authority, otlp, connections):
    """Bytes of memory that each of many connections takes that has had an answer and stays open."""
    parts.allow_files(connections + 1_000)
    most = connections + WARM + 100
    server = f'max_connections = {most}\nmax_connections_per_address = {most}\nkeep_alive_timeout = "30m"'
    token = parts.sign_in(parts.connect(authority))
    with parts.broker("idle", binary, folder, authority, otlp, server=server) as broker:
        for connection in opened(broker.origin, token, WARM):
            connection.close()
        before = settled(broker)
        kept = opened(broker.origin, token, connections)
        after = settled(broker)
        # All of them are still served.
        assert all(parts.ask(connection, "/token", token)[0] == 200 for connection in kept[:: max(1, connections // 100)])
        for connection in kept:
            connection.close()
    return (after - before) / connections


def opened(origin, token, connections):
    kept = [parts.connect(origin) for _ in range(connections)]
    for connection in kept:
        assert parts.ask(connection, "/token", token)[0] == 200
    return kept


def settled(broker):
    """The resident memory once it stands still."""
    last = broker.resident()
    while True:
        time.sleep(1)
        now = broker.resident()
        if abs(now - last) < 100_000:
            return now
        last = now


def serve_users(authority, origin, users, threads=4):
    """One token of each of so many users of Contoso; all get theirs."""
    failed = []

    def work(first):
        entra, broker = parts.connect(authority), parts.connect(origin)
        for user in range(first, users, threads):
            token = parts.sign_in(entra, claims={"oid": f"f0070000-0000-4000-8000-{user:012x}"})
            status, _, content = parts.ask(broker, "/token", token)
            if status != 200:
                failed.append((status, content[:200]))
                return

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed, failed
