# shellcheck shell=bash
# Installs Debian's packages where their programs are missing; sourced by tests/rolling.sh and tests/replicas.sh.
PATH=$PATH:/usr/sbin

# have PROGRAM PACKAGE
have() (
    if command -v "$1" >/dev/null; then return; fi
    sudo=
    if [[ $(id -u) -ne 0 ]]; then sudo=sudo; fi
    # Nothing is to be started as a service: a policy that says so, unless there is one.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin "$policy"
        trap '$sudo rm -f "$policy"' EXIT
    fi
    $sudo apt-get -qq update
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install --yes --no-install-recommends "$2" >/dev/null
)
