#!/usr/bin/env bash
# Drives the broker, a bare axum service and a Node.js service in turn, against one emulator, and prints what each costs and
# the ratios. By hand, on a quiet machine: README.md says what is measured and how. Wants wrk and h2load (Debian:
# apt-get install wrk nghttp2-client), Node.js with npm and Python 3.
#
# benches/load/run.sh [--seconds 5] [--rounds 5] [--only hot,…] [--broker NAME=BINARY]… [--json FILE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for tool in wrk h2load node npm python3; do
    command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 1; }
done
target=${CARGO_TARGET_DIR:-target}
# `dev`, the emulator, and `serve`, the broker, are one binary here; the image's leaves the emulator out.
cargo build --quiet --release --bin acs-token-broker
cargo build --quiet --release --manifest-path benches/load/bare/Cargo.toml --target-dir "$target/load"
npm ci --silent --no-audit --no-fund --prefix benches/load/node
exec python3 benches/load/run.py --target "$target" "$@"
