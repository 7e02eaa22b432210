"""Writes prometheusrules.yaml, the rules and alerts of deploy/observability as Prometheus Operator takes them.

prometheusrules.py            writes it
prometheusrules.py --check    fails if it is not what would be written
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE.parents[2] / "observability" / "prometheus"
FILE = HERE / "prometheusrules.yaml"
HEAD = """\
# Written by prometheusrules.py from deploy/observability/prometheus. Change it there, and write this anew.
"""
RULE = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: acs-token-broker-{name}
  labels:
    app.kubernetes.io/name: acs-token-broker
    release: from-values
spec:
"""


def rule(name):
    # As text: comments and the layout of expressions stay.
    lines = (SOURCES / f"{name}.yaml").read_text().splitlines()
    return RULE.format(name=name) + "".join(f"  {line}\n" if line else "\n" for line in lines)


def main():
    content = HEAD + "---\n".join(rule(name) for name in ("rules", "alerts"))
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != content:
            raise SystemExit(f"{FILE.name} is not what prometheusrules.py writes")
    elif sys.argv[1:]:
        raise SystemExit(__doc__)
    else:
        FILE.write_text(content)


main()
