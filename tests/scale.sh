#!/usr/bin/env bash
# The laws of the simulation in benches/scale, and whether docs/scale.md says what it comes to. Some thirty seconds, without a broker.
#
# tests/scale.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../benches/scale"
export PYTHONDONTWRITEBYTECODE=1
python3 -m unittest --quiet
python3 run.py --check
