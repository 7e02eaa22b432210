#!/usr/bin/env bash
# Three brokers that share one Redis, Debian's own, behind haproxy. Everything is on loopback, or in a network namespace, and on free
# ports, and ends with this. Fails if a request is lost, one answer is not the right one, or ACS is asked more often than promised.
#
# single, sentinel, cluster: under load brokers are killed (SIGKILL), the keys that seal what is in the store are rotated, and a server
#   of the store is killed. ACS is asked once for a user in the life of an Entra token, outages of the store and what a killed broker
#   takes with it excepted. Some three minutes each.
# budget: more users at once than ACS's quota allows. ACS answers no 429, and without the store it does. One minute.
# partition: one replica is cut off from the store, in four ways, and healed. It asks ACS by itself meanwhile, and loses the limit of an
#   operation once. One and a half minutes; as root, or where any user may have namespaces.
# latency: what the store adds to an answer's time, beside a broker without one. Of use with a release build and on a quiet machine.
#   Half a minute.
#
# BROKER=target/debug/acs-token-broker tests/replicas.sh [--short] [FORM…], by default all of them
# --short is one server, a kill of each kind, a rotation, and the budget: half a minute. Nothing in it is about time, so that it
# holds on a busy machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $broker ]]; then
    echo "there is no $broker; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
PATH=$PATH:/usr/sbin
.ci/install haproxy redis-server
# Ends what it has started, however it ends itself.
exec python3 -B tests/replicas/main.py "$broker" "$@"
