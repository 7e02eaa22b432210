#!/usr/bin/env bash
# Installs Debian's packages whose programs, of the same names, are missing.
#
# tests/replicas/install.sh PROGRAM...
set -euo pipefail
packages=()
for name in "$@"; do
    command -v "$name" >/dev/null || packages+=("$name")
done
if [[ ${#packages[@]} == 0 ]]; then exit; fi
sudo=
if [[ $(id -u) -ne 0 ]]; then sudo=sudo; fi
# Nothing is to be started as a service: a policy that says so, unless there is one.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin "$policy"
    trap '$sudo rm -f "$policy"' EXIT
fi
$sudo apt-get -qq update
DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install --yes --no-install-recommends "${packages[@]}" >/dev/null
