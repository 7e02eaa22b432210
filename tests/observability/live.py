"""Runs brokers beside the emulator under a small load, lets a real Prometheus scrape them with the project's configuration
and rules, and evaluates every PromQL expression of the dashboards, the rules and the runbook. Each must return series.

live.py BROKER_BINARY
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from common import ALERTS, HOME, ROOT, expressions, load, rules, selectors

LOAD_SECONDS = 40
# Selectors of alerts that no load can bring about.
CANNOT_HAPPEN = {
    # A 500 is a bug.
    ("http_server_request_duration_seconds_count", 'http_response_status_code="500"'),
}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
children = []
problems = []


def fail(text):
    raise SystemExit(f"observability, live part: {text}")


def get(url, method="GET", body=None):
    request = urllib.request.Request(url, data=body and json.dumps(body).encode(), method=method)
    with DIRECT.open(request, timeout=10) as answer:
        return answer.read().decode()


def wait_for(what, done, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if done():
                return
        except OSError:
            pass
        for name, child, log in children:
            if child.poll() not in (None, 0):
                fail(f"{name} ended with {child.returncode}:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    logs = "\n".join(f"--- {name}\n{log.read_text()[-1500:]}" for name, _, log in children)
    fail(f"{what} did not come within {seconds} s\n{logs}")


def start(name, work, command, **environment):
    log = work / f"{name}.log"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "ACS_TOKEN_BROKER"))}
    child = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        env={**clean, **environment},
    )
    children.append((name, child, log))
    return child


def free_ports(count):
    """Free when asked. Somebody else may take one before its user does; that user then says so, and ends."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def brokers(work, binary):
    """`dev`, in passthrough mode, and beside it `serve` with the compose stack's configuration, but on behalf of users, with
    groups from Graph, assignments from ACS too and a shared cache: between them they have all metrics."""
    dev, dev_management, emulator, serve, serve_management = free_ports(5)
    azure = f"http://127.0.0.1:{emulator}"
    start("dev", work, [binary, "dev", "--listen", f"127.0.0.1:{dev}", "--management-listen", f"127.0.0.1:{dev_management}",
                        "--emulator-listen", f"127.0.0.1:{emulator}"])
    wait_for("dev", lambda: "Stop with" in (work / "dev.log").read_text())
    app = "c0a5a991-0000-4000-8000-000000000005"
    secret = "Emulated-Secret-Guards-Nothing"
    settings = {
        "SERVER__LISTEN": f"127.0.0.1:{serve}",
        "MANAGEMENT__LISTEN": f"127.0.0.1:{serve_management}",
        "ENTRA__AUTHORITY": azure,
        "ENTRA__AUDIENCES": f"{app},api://{app}",
        "ENTRA__REQUIRED_SCOPES": "access",
        "EXCHANGE__ENDPOINT": azure,
        "EXCHANGE__MODE": "on_behalf_of",
        "EXCHANGE__ON_BEHALF_OF__CLIENT_ID": app,
        "EXCHANGE__ON_BEHALF_OF__CREDENTIAL": "secret",
        "EXCHANGE__ON_BEHALF_OF__CLIENT_SECRET": secret,
        "GRAPH__ENDPOINT": azure,
        "GRAPH__CLIENT_ID": app,
        "GRAPH__CREDENTIAL": "secret",
        "GRAPH__CLIENT_SECRET": secret,
        "GRAPH__CACHE_TTL": "5s",
        "ASSIGNMENTS__SOURCES": "file,acs",
        "ASSIGNMENTS__UNKNOWN_GROUPS": "graph",
        "ASSIGNMENTS__ACS__ACCESS_KEY_FILE": str(access_key(work)),
        "SERVER__MAX_IN_FLIGHT": "64",
        "LIMITS__REPLICAS": "1",
        "SHARED_CACHE__URL": f"redis://127.0.0.1:{store(work)}",
        "SHARED_CACHE__ENCRYPTION_KEYS_FILE": str(ROOT / "deploy/replicas/shared-cache-keys"),
    }
    start("serve", work, [binary, "serve", "--config", HOME / "broker.toml"],
          **{f"ACS_TOKEN_BROKER__{key}": value for key, value in settings.items()})
    management = [f"127.0.0.1:{dev_management}", f"127.0.0.1:{serve_management}"]
    for address in management:
        wait_for(f"/readyz of {address}", lambda: get(f"http://{address}/readyz"))
    return azure, [f"http://127.0.0.1:{dev}", f"http://127.0.0.1:{serve}"], management


def store(work):
    """The port of the replicas' shared cache, with the compose stack's configuration."""
    (port,) = free_ports(1)
    start("redis", work, ["redis-server", ROOT / "deploy/replicas/valkey.conf", "--port", port, "--dir", work])
    wait_for("redis-server", lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close() is None)
    return port


def access_key(work):
    """The emulated resource's, from the folder that `dev` names."""
    dev = (work / "dev.log").read_text()
    return pathlib.Path(re.search(r"^configured\s+(\S+)", dev, re.M)[1]).parent / "access-key"


def scrape_once(management):
    for address in management:
        try:
            text = get(f"http://{address}/metrics")
        except urllib.error.HTTPError as error:
            fail(f"GET http://{address}/metrics is answered {error.code}: this binary has no metrics")
        lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        if lint.returncode != 0:
            problems.append(f"promtool check metrics at {address}:\n{lint.stdout}{lint.stderr}")


def prometheus(work, targets):
    """The project's configuration, made quicker and pointed at what runs here."""
    prometheus_port, alertmanager_port, cluster = free_ports(3)
    for file in ("rules.yaml", "alerts.yaml"):
        content = load(HOME / "prometheus" / file)
        for group in content["groups"]:
            group.pop("interval", None)
        (work / file).write_text(yaml.safe_dump(content, sort_keys=False))
    config = load(HOME / "prometheus/prometheus.yaml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager_port}"]
    config["scrape_configs"] = [each for each in config["scrape_configs"] if each["job_name"] == "acs-token-broker"]
    job = config["scrape_configs"][0]
    # One that is named, and one that the load balancer of the replicas tells of.
    job["static_configs"][0]["targets"] = targets[:1]
    job["http_sd_configs"][0] |= {"url": f"http://127.0.0.1:{load_balancer(work, targets[1:])}/", "refresh_interval": "1s"}
    (work / "prometheus.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    start("alertmanager", work, ["prometheus-alertmanager", f"--config.file={HOME}/alertmanager.yaml", f"--storage.path={work}/alertmanager",
                                 f"--web.listen-address=127.0.0.1:{alertmanager_port}", "--cluster.listen-address="])
    start("prometheus", work, ["prometheus", f"--config.file={work}/prometheus.yaml", f"--storage.tsdb.path={work}/tsdb",
                               f"--web.listen-address=127.0.0.1:{prometheus_port}"])
    urls = f"http://127.0.0.1:{prometheus_port}", f"http://127.0.0.1:{alertmanager_port}"
    for url in urls:
        wait_for(f"{url}/-/ready", lambda: get(f"{url}/-/ready"))
    return urls


def load_balancer(work, targets):
    """The port at which the compose stack's load balancer tells of these targets."""
    public, port = free_ports(2)
    text = (ROOT / "deploy/replicas/haproxy.cfg").read_text()
    text = text.replace("0.0.0.0:8070", f"127.0.0.1:{public}").replace("0.0.0.0:8075", f"127.0.0.1:{port}")
    (work / "haproxy.cfg").write_text(re.sub(r'\["broker:.*?\]', json.dumps(targets), text))
    start("haproxy", work, ["haproxy", "-db", "-f", work / "haproxy.cfg"])
    wait_for("haproxy", lambda: json.loads(get(f"http://127.0.0.1:{port}/"))[0]["targets"] == targets)
    return port


class Queries:
    def __init__(self, url):
        self.url = url

    def __call__(self, expr):
        try:
            answer = get(f"{self.url}/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
        except urllib.error.HTTPError as error:
            fail(f"{expr}: {error.read().decode()}")
        return json.loads(answer)["data"]["result"]


def in_grafanas_place(expr):
    for name, value in (("$__rate_interval", "1m"), ("$__range", "1m"), ("$job", "acs-token-broker"), ("$instance", ".*"), ("$resource", ".*")):
        expr = expr.replace(name, value)
    return expr


def dashboards_and_rules(query):
    seen = 0
    for where, expr, shown in expressions():
        result = query(in_grafanas_place(expr))
        # 0 by 0 would be a panel without a line.
        if not [each for each in result if each["value"][1] != "NaN"]:
            problems.append(f"{where}: no series\n    {expr}")
        for label in shown:
            if not any(label in each["metric"] for each in result):
                problems.append(f"{where}: the legend shows {label}, which no series has\n    {expr}")
        seen += 1
    for rule in rules(HOME / "prometheus" / "rules.yaml"):
        if not query(rule["record"]):
            problems.append(f"rules.yaml: {rule['record']} was not recorded")
    return seen


def alerts(query):
    """Alerts are silent as a rule; but what they select must be there, or they would be silent for ever."""
    seen = 0
    for rule in rules(ALERTS):
        for metric, matchers in selectors(rule["expr"]):
            selector = ",".join(f'{label}{operator}"{value}"' for label, operator, value in matchers)
            known = any(metric == name and condition in selector for name, condition in CANNOT_HAPPEN)
            if not known and not query(f"last_over_time({metric}{{{selector}}}[2m])"):
                problems.append(f"{rule['alert']}: nothing is selected by {metric}{{{selector}}}")
            seen += 1
    for health in json.loads(get(f"{query.url}/api/v1/rules"))["data"]["groups"]:
        for rule in health["rules"]:
            if rule["health"] != "ok":
                problems.append(f"{rule['name']}: {rule['health']}, {rule.get('lastError')}")
    return seen


def fired(query, alertmanager):
    """The one alert that the load brings about without a wait goes all the way to Alertmanager."""
    wanted = "AcsBrokerCredentialRefused"

    def arrived():
        return wanted in {each["labels"]["alertname"] for each in json.loads(get(f"{alertmanager}/api/v2/alerts"))}

    try:
        wait_for(wanted, arrived, 15)
    except SystemExit:
        firing = sorted({each["metric"]["alertname"] for each in query("ALERTS")})
        problems.append(f"{wanted} did not reach Alertmanager; Prometheus has {firing}")


def main():
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        try:
            azure, listeners, management = brokers(work, binary)
            scrape_once(management)
            url, alertmanager = prometheus(work, management)
            query = Queries(url)
            wait_for("a scrape of both", lambda: len(query('up{job="acs-token-broker"} == 1')) == 2)
            time.sleep(2)  # so that what is counted from now on is an increase

            generator = [sys.executable, HOME / "load.py", "--emulator", azure, "--duration", LOAD_SECONDS, "--seed", 1]
            first = start("load-dev", work, [*generator, "--broker", listeners[0], "--rate", 15, "--trouble-every", LOAD_SECONDS / 10])
            second = start("load-serve", work, [*generator, "--broker", listeners[1], "--rate", 10, "--trouble-every", 0, "--audience", "api"])
            # Towards the end the broker's secret is one that Entra does not know.
            time.sleep(LOAD_SECONDS * 0.75)
            app = f"{azure}/_emulator/apps/c0a5a991-0000-4000-8000-000000000005/secrets"
            get(app, "PUT", {"secrets": [{"value": "Another-Secret", "expiresOn": None}]})
            for load_generator in (first, second):
                if load_generator.wait(LOAD_SECONDS + 30) != 0:
                    fail("the load ended with an error")
            time.sleep(2)  # one more scrape, and rules upon it

            seen = dashboards_and_rules(query)
            selected = alerts(query)
            fired(query, alertmanager)
            for name, _, log in children:
                if name.startswith("load"):
                    print(name, log.read_text().strip())
            print(f"{seen} expressions of dashboards, rules and runbook evaluated, {selected} selectors of alerts looked up")
        finally:
            for _, child, _ in reversed(children):
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)
            for _, child, _ in children:
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    child.kill()
    if problems:
        fail(f"{len(problems)} problems\n" + "\n".join(problems))
    print("every expression returns series")


if __name__ == "__main__":
    main()
