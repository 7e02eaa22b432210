#!/usr/bin/env bash
# Checks deploy/observability and docker-compose.yml: the files by the tools that read them (promtool, amtool,
# docker-compose, Grafana's own types), the alerts by their tests, and every PromQL expression against brokers under load.
# Installs Debian's Prometheus, Alertmanager and docker-compose if they are missing.
#
# BROKER=target/debug/acs-token-broker tests/observability.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
broker=$(.ci/broker)

PATH=$PATH:/usr/sbin
.ci/install promtool=prometheus amtool=prometheus-alertmanager docker-compose redis-server haproxy
python=$(.ci/venv)/python

cd deploy/observability
# Points to files beside it, so it is checked where they are.
promtool check config prometheus/prometheus.yaml
promtool test rules prometheus/tests/*.yaml
amtool check-config alertmanager.yaml
cd "$root"
# Docker's own validator; the version that Debian has knows all that the file uses.
docker-compose --file docker-compose.yml --profile observability --profile replicas config --quiet
echo "docker-compose.yml is valid"
"$broker" check-config --config deploy/observability/broker.toml
"$python" tests/observability/static.py
"$python" tests/observability/live.py "$broker"
