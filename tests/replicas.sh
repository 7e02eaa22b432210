#!/usr/bin/env bash
# Three brokers that share one Redis, behind haproxy: a single server, Sentinel and Cluster, Debian's own. Under load brokers are killed
# (SIGKILL), the keys that seal what is in the store are rotated, and a server of the store is killed. Fails if a request is lost, one
# answer is not the right one, or ACS is asked more than once for a user in the life of an Entra token, outages of the store and what a
# killed broker takes with it excepted. Everything is on loopback and on free ports. Installs Debian's packages if they are missing.
#
# BROKER=target/debug/acs-token-broker tests/replicas.sh [single] [sentinel] [cluster]
# Some three minutes for each form.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $broker ]]; then
    echo "there is no $broker; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
PATH=$PATH:/usr/sbin
tests/replicas/install.sh haproxy redis-server
# Ends what it has started, however it ends itself.
exec python3 -B tests/replicas/shared.py "$broker" "$@"
