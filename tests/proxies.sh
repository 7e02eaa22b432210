#!/usr/bin/env bash
# Puts the broker behind nginx and haproxy, over HTTP/1.1 and HTTP/2, and counts the requests that are lost: under steady
# load, after idle times, while brokers are restarted, with its limit per address, and with bodies that it refuses early.
# Fails if one is lost that docs/tls-and-proxies.md says is not. Everything is on loopback and on free ports. Installs Debian's
# nginx and haproxy if they are missing. The brokers are those of a build with all features, which has the emulator.
#
# BROKER=target/debug/acs-token-broker tests/proxies.sh [--short]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $broker ]]; then
    echo "there is no $broker; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
PATH=$PATH:/usr/sbin

install() (
    sudo=
    if [[ $(id -u) -ne 0 ]]; then sudo=sudo; fi
    # Nothing is to be started as a service: a policy that says so, unless there is one.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin "$policy"
        trap '$sudo rm -f "$policy"' EXIT
    fi
    $sudo apt-get -qq update
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
)
packages=()
for name in nginx haproxy; do
    command -v "$name" >/dev/null || packages+=("$name")
done
if [[ ${#packages[@]} -gt 0 ]]; then install "${packages[@]}"; fi
# Ends what it has started, however it ends itself.
exec python3 -B tests/proxies/main.py "$broker" "$@"
