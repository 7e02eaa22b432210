#!/usr/bin/env bash
# The clock of a broker's machine jumps: hours ahead as after a sleep, a day back, a year ahead, and is put right again. Fails if a token is
# served past its end, a good one is refused while the clock is right, or if a jump makes the broker ask Entra or ACS more than before,
# slow or big. libfaketime moves the clock of the process; Entra, ACS and the users stay where they are. Installs Debian's package if it
# is missing. Everything is on loopback; some ten seconds.
#
# BROKER=target/debug/acs-token-broker tests/clock.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(.ci/broker)
PATH=$PATH:/usr/sbin
.ci/install faketime
library=$(dpkg -L libfaketime | grep '/libfaketimeMT\.so')
# Ends what it has started, however it ends itself.
exec python3 -B tests/replicas/clock.py "$broker" "$library"
