#!/usr/bin/env bash
# The release build that is shipped: guided by a profile. It builds the broker so that it counts which ways it takes, drives it
# (benches/load/train.py), and builds it again with those counts: what is often done is laid out to be fast, and what is never
# done is out of its way. A request costs a quarter less so (docs/performance.md).
#
# deploy/guided-build.sh OUTPUT [options of cargo build for what is shipped, such as --no-default-features]
#
# TARGET is what it is built for, if not this machine's own. It runs here, so it must be of this machine's kind. Wants Python
# 3, wrk and h2load (Debian: wrk, nghttp2-client).
set -euo pipefail
output=$(realpath --canonicalize-missing "${1:?deploy/guided-build.sh OUTPUT [OPTION...]}")
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in h2load python3 wrk; do
    command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 1; }
done
host=$(rustc -vV | sed -n 's/^host: //p')
target=${TARGET:-$host}
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[[ -x $profdata ]] || rustup component add llvm-tools

folder=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/guided")
counts=$folder/counts
rm -rf "$counts"
build() { cargo build --release --locked --package acs-token-broker --bin acs-token-broker --target "$target" "$@"; }

# With the emulator, which plays Entra and ACS.
RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-generate=$counts" build --target-dir "$folder/counting"
python3 -B benches/load/train.py "$folder/counting/$target/release/acs-token-broker"
"$profdata" merge --output "$folder/profile" "$counts"/*.profraw
# Cargo does not look into it, but at its name.
profile=$folder/$(sha256sum "$folder/profile" | cut --characters 1-16).profdata
mv "$folder/profile" "$profile"
RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-use=$profile" build --target-dir "$folder/guided" "$@"
mkdir -p "$(dirname "$output")"
cp "$folder/guided/$target/release/acs-token-broker" "$output"
