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

packages=()
PATH=$PATH:/usr/sbin
need() { command -v "$1" >/dev/null || packages+=("$2"); }
need promtool prometheus
need prometheus prometheus
need amtool prometheus-alertmanager
need docker-compose docker-compose
need redis-server redis-server
need haproxy haproxy
if [[ ${#packages[@]} -gt 0 ]]; then
    sudo=
    if [[ $(id -u) -ne 0 ]]; then sudo=sudo; fi
    # Nothing is to be started as a service: a policy that says so, unless there is one.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin /usr/sbin/policy-rc.d
        trap '$sudo rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    $sudo apt-get -qq update
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install --yes --no-install-recommends "${packages[@]}" >/dev/null
fi
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
