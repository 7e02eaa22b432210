# For scripts in the checkout's folder that set `address`: starts the emulator there, for as long as the script runs. `work` is then
# a folder of the script's own with its CA (ca.pem), and EMULATOR its https address.
# shellcheck shell=sh disable=SC2154
work=$(mktemp -d)
emulator=
trap 'test -z "$emulator" || kill "$emulator"; rm -rf "$work"' EXIT
cargo build --quiet -p acs-token-broker-azure-emulator --example serve
: > "$work/serve.log"
target/debug/examples/serve "$work" "$address" > "$work/serve.log" &
emulator=$!
until EMULATOR=$(sed -n 's/^https  *//p' "$work/serve.log") && test -n "$EMULATOR"; do
  kill -0 "$emulator"
  sleep 0.2
done
export EMULATOR
