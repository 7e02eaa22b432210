"""wrk and h2load, and what they say."""

import re
import statistics
import subprocess
import tempfile
from dataclasses import dataclass

# wrk reads its script once for each thread, so it is a file: from a pipe it would read it once, and send GETs.
ONE = """wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer %(token)s"
%(more)s"""
MANY = """local requests, at = {}, %(first)d
init = function()
    for token in io.lines("%(file)s") do
        requests[#requests + 1] = wrk.format("POST", "/token", {["Authorization"] = "Bearer " .. token})
    end
end
request = function()
    at = at %% #requests + 1
    return requests[at]
end"""
REPORT = """
done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format("\\n@%%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.timeout, errors.status,
        latency:percentile(50), latency:percentile(99)))
end
""".replace("%%", "%")


@dataclass
class Run:
    """One run: CPU in microseconds for each request, requests a second, latencies in milliseconds."""

    cpu: float
    rate: float
    p50: float
    p99: float
    requests: int


def wrk(service, script, seconds, connections=32, expect=200):
    """Drives a service as fast as it goes; all answers must be what is expected."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + REPORT)
        file.flush()
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "20s", "--latency"]
        before = service.cpu()
        said = subprocess.run([*command, "--script", file.name, f"{service.origin}/token"], capture_output=True, text=True)
        spent = service.cpu() - before
    found = re.search(r"^@(\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", said.stdout, re.MULTILINE)
    if said.returncode != 0 or not found:
        raise SystemExit(said.stdout + said.stderr)
    requests, duration, broken, refused, p50, p99 = map(int, found.groups())
    if not requests:
        raise SystemExit(f"{service.name}: no answer in {seconds} s\n{said.stdout}")
    # wrk counts what is not 2xx or 3xx.
    if broken or refused != (0 if expect == 200 else requests):
        raise SystemExit(f"{service.name}: not all answers are {expect}\n{said.stdout}")
    return Run(spent / requests * 1e6, requests / duration * 1e6, p50 / 1e3, p99 / 1e3, requests)


def one(token, close=False):
    return ONE % {"token": token, "more": 'wrk.headers["Connection"] = "close"' if close else ""}


def many(file, first=0):
    return MANY % {"file": file, "first": first}


def h2load(service, token, seconds, clients=32, rate=None, http1=False, streams=1):
    """The same by h2load, at a rate if one is given, over HTTP/2 if not said otherwise."""
    with tempfile.NamedTemporaryFile("r") as log, tempfile.NamedTemporaryFile("w") as body:
        # What makes it a POST; h2load takes no empty one.
        body.write("{}")
        body.flush()
        command = ["h2load", f"--duration={seconds}", f"--clients={clients}", "--threads=1", f"--log-file={log.name}"]
        command += [f"--max-concurrent-streams={streams}", f"--data={body.name}", f"--header=authorization: Bearer {token}"]
        command += ["--header=content-type: application/json"]
        command += ["--h1"] if http1 else []
        # h2load's rate is that of each client.
        command += [f"--rps={max(1, round(rate / clients))}"] if rate else []
        before = service.cpu()
        said = subprocess.run([*command, f"{service.origin}/token"], capture_output=True, text=True)
        spent = service.cpu() - before
        rows = [line.split() for line in log]
    # What is under way at the end is cut off, which some versions note as -1.
    started, rows = len(rows), [row for row in rows if row[1] != "-1"]
    statuses = {status for _, status, _ in rows}
    if said.returncode != 0 or statuses != {"200"} or started - len(rows) > clients * streams:
        raise SystemExit(f"{service.name}: answers {statuses}\n{said.stdout}{said.stderr}")
    times = [int(time) / 1e3 for _, _, time in rows]
    cuts = statistics.quantiles(times, n=100)
    return Run(spent / len(rows) * 1e6, len(rows) / seconds, cuts[49], cuts[98], len(rows))
