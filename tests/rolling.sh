#!/usr/bin/env bash
# A rolling update under load: three replicas behind haproxy are replaced one by one (SIGTERM, drain, a new process in its place) while
# users ask for tokens all the time. Fails if one request is lost, one answer is not the right one, or ACS is asked more than once for a
# user by one process. Everything is on loopback and on free ports. Installs Debian's haproxy if it is missing.
#
# BROKER=target/debug/acs-token-broker tests/rolling.sh [--short]
# In full each replica is replaced three times, some three minutes; --short once, half a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(.ci/broker)
PATH=$PATH:/usr/sbin
.ci/install haproxy
# Ends what it has started, however it ends itself.
exec python3 -B tests/replicas/rolling.py "$broker" "$@"
