#!/usr/bin/env bash
# Fuzzes what reads text from outside: each target of fuzz/ for SECONDS, or for seconds of its own, one after the other, and prints how
# many inputs it took. An input that breaks a promise is left in target/fuzz/artifacts, and the script fails. What was learnt stays in
# target/fuzz/corpus.
#
# FUZZ_OPTIONS are more options of libFuzzer, as `-max_len=200`.
#
# tests/fuzz.sh SECONDS [TARGET[=SECONDS]...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fuzz_version=0.13.2
seconds=${1:?tests/fuzz.sh SECONDS [TARGET[=SECONDS]...]}
shift
targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
    for file in fuzz/targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

if ! cargo fuzz --version >/dev/null 2>&1 && ! cargo install --locked "cargo-fuzz@$fuzz_version"; then
    echo "cargo-fuzz cannot be had here: NOTHING WAS FUZZED"
    exit 0
fi
# Without a sanitizer, which only unsafe code needs, the toolchain of the project will do, and each input costs half.
folder=${CARGO_TARGET_DIR:-target}/fuzz
one=()
if [[ ${#targets[@]} == 1 ]]; then one=("${targets[0]%%=*}"); fi
cargo fuzz build --sanitizer none --target-dir "$folder" "${one[@]}"
host=$(rustc -vV | sed -n 's/^host: //p')

total=0 failed=()
for choice in "${targets[@]}"; do
    target=${choice%%=*} own=$seconds
    if [[ $choice == *=* ]]; then own=${choice#*=}; fi
    corpus=$folder/corpus/$target artifacts=$folder/artifacts/$target log=$folder/$target.log
    mkdir -p "$corpus" "$artifacts"
    options=(-max_total_time="$own" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$artifacts/")
    if [[ -f fuzz/dictionaries/$target.txt ]]; then options+=(-dict="fuzz/dictionaries/$target.txt"); fi
    if [[ -n ${FUZZ_OPTIONS:-} ]]; then read -ra more <<<"$FUZZ_OPTIONS"; options+=("${more[@]}"); fi
    began=$SECONDS
    if ! "$folder/$host/release/$target" "${options[@]}" "$corpus" "fuzz/seeds/$target" >"$log" 2>&1; then
        failed+=("$target")
        tail -n 60 "$log"
    fi
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    total=$((total + ${inputs:-0}))
    printf '%-14s %12d inputs in %5d s\n' "$target" "${inputs:-0}" $((SECONDS - began))
done
printf '%-14s %12d inputs\n' "all" "$total"
if [[ ${#failed[@]} != 0 ]]; then
    echo "FAILED: ${failed[*]}; the inputs are in $folder/artifacts"
    exit 1
fi
