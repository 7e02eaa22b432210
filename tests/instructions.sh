#!/usr/bin/env bash
# Counts the instructions of a request of each kind (benches/in_process/requests.rs) and fails if one takes over three per cent
# more than benches/instructions.json says. Instructions, unlike times, are the same on a busy machine. The build is that of
# the tests: what is wanted is the change, and nothing more has to be compiled. Installs Debian's valgrind if it is missing.
#
# tests/instructions.sh              counts and compares
# tests/instructions.sh --renew      counts, and writes benches/instructions.json
# tests/instructions.sh --release    counts in an optimized build, and prints
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.ci/install valgrind
python3 -B -m unittest discover --quiet --start-directory tests/instructions
exec python3 -B tests/instructions/main.py "$@"
