"""Holds the files of deploy/observability together: what refers to what exists, and has the form that Grafana and the
collector want."""

import itertools
import json
import re
import subprocess
import sys

import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from common import ALERTS, HOME, ROOT, RUNBOOK, dashboards, is_prometheus, load, rules

problems = []
# Grafana knows these; the types of its SDK do not.
NOT_IN_SDK = {"titleFormat", "tableType"}


def check(good, problem):
    if not good:
        problems.append(problem)


def lost(ours, read, where):
    """Members that Grafana's types do not have, or have with another type."""
    if isinstance(ours, dict) and isinstance(read, dict):
        for key, value in ours.items():
            if key not in read:
                if key not in NOT_IN_SDK:
                    yield f"{where}.{key}"
            else:
                yield from lost(value, read[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(read, list) and len(ours) == len(read):
        for number, (one, other) in enumerate(zip(ours, read)):
            yield from lost(one, other, f"{where}[{number}]")
    elif ours != read:
        yield where


def yaml_files():
    for path in itertools.chain(HOME.rglob("*.yaml"), [ROOT / "docker-compose.yml"]):
        try:
            yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            check(False, f"{path.relative_to(ROOT)}: {error}")


def grafana():
    plugins.register_default_plugins()
    fresh = subprocess.run([sys.executable, HOME / "grafana" / "dashboards.py", "--check"], capture_output=True, text=True)
    check(fresh.returncode == 0, fresh.stdout + fresh.stderr)

    sources = load(HOME / "grafana/provisioning/datasources/datasources.yaml")["datasources"]
    uids = {source["uid"]: source["type"] for source in sources}
    check(len(uids) == len(sources), "datasources share a uid")
    for reference in re.findall(r"(?:datasourceUid|alertmanagerUid): (\S+)", (HOME / "grafana/provisioning/datasources/datasources.yaml").read_text()):
        check(reference in uids, f"datasources.yaml: {reference} is no uid")

    all_dashboards = dashboards()
    check(len(all_dashboards) == 4, "four dashboards are wanted")
    check(len({each["uid"] for each in all_dashboards.values()}) == len(all_dashboards), "dashboards share a uid")
    for name, each in all_dashboards.items():
        read = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(each)))))
        for member in lost(each, read, name):
            check(False, f"{member}: unknown to Grafana")

        variables = {variable["name"]: variable for variable in each["templating"]["list"]}
        for kind in ("prometheus", "loki", "tempo"):
            default = [v["current"]["value"] for v in variables.values() if v["type"] == "datasource" and v["query"] == kind]
            check(len(default) == 1 and uids.get(default[0]) == kind, f"{name}: no variable for a {kind} that is provisioned")
        check({"job", "instance", "resource"} <= set(variables), f"{name}: a variable is missing")
        used = set(re.findall(r"\$\{?(\w+)", json.dumps([each["panels"], each["annotations"], each["templating"]])))
        unknown = {v for v in used if not v.startswith("__")} - set(variables)
        check(not unknown, f"{name}: unknown variables {unknown}")
        check({"type": "dashboards", "tags": each["tags"]}.items() <= each["links"][0].items(), f"{name}: no links to the others")

        panels = each["panels"]
        check(len({panel["id"] for panel in panels}) == len(panels), f"{name}: panels share an id")
        titles = [panel["title"] for panel in panels]
        check(len(set(titles)) == len(titles), f"{name}: panels share a title")
        taken = set()
        for panel in panels:
            where = f"{name}: {panel['title']}"
            place = panel["gridPos"]
            cells = set(itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
            check(not cells & taken and place["x"] + place["w"] <= 24, f"{where}: overlaps")
            taken |= cells
            if panel["type"] == "row":
                continue
            check(panel["description"], f"{where}: no description")
            check(panel["targets"] or panel["type"] == "alertlist", f"{where}: shows nothing")
            check(len({t["refId"] for t in panel["targets"]}) == len(panel["targets"]), f"{where}: targets share a refId")
            for target in panel["targets"]:
                check((target.get("expr") or target.get("query", "")).strip(), f"{where}: empty query")
                check(target["datasource"]["uid"].strip("${}") in variables, f"{where}: its data source is no variable")
                if is_prometheus(target["datasource"]):
                    check('job="$job"' in target["expr"], f"{where}: mixes jobs")
            if panel["type"] in ("timeseries", "stat"):
                check(panel["fieldConfig"]["defaults"].get("unit"), f"{where}: no unit")


def runbook():
    text = RUNBOOK.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    alerts = rules(ALERTS)
    for alert in alerts:
        name, notes = alert["alert"], alert["annotations"]
        check(alert["labels"]["severity"] in ("page", "ticket"), f"{name}: severity")
        check(notes.get("summary") and notes.get("description"), f"{name}: no summary or description")
        page, _, anchor = notes.get("runbook_url", "").partition("#")
        check(page.endswith("/deploy/observability/runbook.md"), f"{name}: runbook_url")
        check(anchor == name.lower() and anchor in anchors, f"{name}: the runbook has no #{anchor}")
    entries = {heading for heading in headings if heading.startswith("AcsBroker")}
    check(entries == {alert["alert"] for alert in alerts}, f"runbook.md: entries without an alert: {entries - {a['alert'] for a in alerts}}")
    for entry in re.split(r"^### ", text, flags=re.M)[1:]:
        for part in ("**Means.**", "**Look.**", "**Do.**"):
            check(part in entry, f"runbook.md: {entry.splitlines()[0]} has no {part}")
    for link in re.findall(r"\]\(#([^)]+)\)", text):
        check(link in anchors, f"runbook.md: there is no #{link}")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        check((HOME / link).exists(), f"runbook.md: there is no {link}")

    # What stands in italics is what one sees in Grafana.
    seen = {"Status / Targets", "New version"}
    for each in dashboards().values():
        seen |= {each["title"], each["title"].split(" / ")[1]} | {panel["title"] for panel in each["panels"]}
    for title in re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text):
        check(title in seen, f"runbook.md: no panel is called {title}")

    tests = "".join(path.read_text() for path in (HOME / "prometheus/tests").glob("*.yaml"))
    for alert in alerts:
        check(f'"{alert["alert"]}"' in tests, f"{alert['alert']}: no test in which it fires")


def collector():
    config = load(HOME / "collector.yaml")
    used = {kind: set() for kind in ("receivers", "processors", "exporters")}
    for pipeline in config["service"]["pipelines"].values():
        check(pipeline["processors"][0] == "memory_limiter" and pipeline["processors"][-1] == "batch", "collector.yaml: order of processors")
        for kind in used:
            used[kind] |= set(pipeline[kind])
    check(set(config["service"]["pipelines"]) == {"traces", "metrics", "logs"}, "collector.yaml: a signal is missing")
    for kind, names in used.items():
        check(names == set(config[kind]), f"collector.yaml: {kind} defined {sorted(config[kind])}, used {sorted(names)}")
    check(set(config["service"]["extensions"]) == set(config["extensions"]), "collector.yaml: extensions")


def compose():
    services = load(ROOT / "docker-compose.yml")["services"]
    hosts = set(services) | {alias for s in services.values() for alias in s.get("networks", {}).get("default", {}).get("aliases", [])}
    for name, service in services.items():
        image = service.get("image", "")
        check(re.search(r":v?\d+\.\d+", image) or image.endswith(":dev"), f"docker-compose.yml: {name} is not pinned")
        for volume in service.get("volumes", []):
            here = volume.split(":")[0]
            if here.startswith("."):
                check((ROOT / here).exists(), f"docker-compose.yml: there is no {here}")
        for port in service.get("ports", []):
            check(port.startswith("127.0.0.1:"), f"docker-compose.yml: {name} publishes {port} beyond loopback")
    # Prometheus is told of the management listeners of the profile `replicas`, and can reach them.
    listeners = [service["environment"]["ACS_TOKEN_BROKER__MANAGEMENT__LISTEN"] for name, service in services.items() if re.fullmatch(r"broker-\d", name)]
    told = re.findall(r'"broker:(\d+)"', (ROOT / "deploy/replicas/haproxy.cfg").read_text())
    check(sorted(listeners) == sorted(f"0.0.0.0:{port}" for port in told), f"haproxy.cfg tells Prometheus of {told}, and there are {listeners}")
    plain = {name for name, service in services.items() if "profiles" not in service}
    check(plain == {"emulator", "broker", "emulator-door"}, f"docker-compose.yml: without a profile {plain}")
    # Whom the configurations speak to is there.
    for path in [HOME / "collector.yaml", HOME / "prometheus/prometheus.yaml", HOME / "grafana/provisioning/datasources/datasources.yaml"]:
        for host in re.findall(r"\b([a-z]+):(?:\d{4})\b", path.read_text()):
            check(host in hosts, f"{path.name}: there is no service {host}")


for part in (yaml_files, grafana, runbook, collector, compose):
    part()
print("\n".join(problems) if problems else "the files hold together")
sys.exit(bool(problems))
