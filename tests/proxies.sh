#!/usr/bin/env bash
# Puts the broker behind nginx and haproxy, over HTTP/1.1 and HTTP/2, and counts the requests that are lost: under steady
# load, after idle times, while brokers are restarted, with its limit per address, and with bodies that it refuses early.
# Fails if one is lost that docs/tls-and-proxies.md says is not. Everything is on loopback and on free ports. Installs Debian's
# nginx and haproxy if they are missing. The brokers are those of a build with all features, which has the emulator.
#
# BROKER=target/debug/acs-token-broker tests/proxies.sh [--short]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(.ci/broker)
PATH=$PATH:/usr/sbin
.ci/install nginx haproxy
# Ends what it has started, however it ends itself.
exec python3 -B tests/proxies/main.py "$broker" "$@"
