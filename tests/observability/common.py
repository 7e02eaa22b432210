"""Where things are, and all PromQL that is kept in the repository."""

import json
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / "deploy" / "observability"
RULES = HOME / "prometheus" / "rules.yaml"
ALERTS = HOME / "prometheus" / "alerts.yaml"
RUNBOOK = HOME / "runbook.md"


def load(path):
    return yaml.safe_load(path.read_text())


def dashboards():
    return {path.name: json.loads(path.read_text()) for path in sorted((HOME / "grafana" / "dashboards").glob("*.json"))}


def rules(path):
    return [rule for group in load(path)["groups"] for rule in group["rules"]]


def is_prometheus(datasource):
    return datasource["type"] == "prometheus"


def expressions():
    """(where, PromQL, labels that the legend shows) of dashboards, recording rules and the runbook."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                if is_prometheus(target["datasource"]):
                    shown = re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"])
                    yield f"{name}: {panel['title']}", target["expr"], shown
        for annotation in dashboard["annotations"]["list"]:
            yield f"{name}: annotation {annotation['name']}", annotation["expr"], []
    for rule in rules(RULES):
        yield f"rules.yaml: {rule['record']}", rule["expr"], []
    for number, block in enumerate(re.findall(r"```promql\n(.*?)```", RUNBOOK.read_text(), re.S), 1):
        for line in block.strip().splitlines():
            yield f"runbook.md: query {number}", line, []


def selectors(expr):
    """The selectors with braces in a PromQL expression: (metric, [(label, operator, value)])."""
    for metric, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expr):
        yield metric, re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"', matchers)
