#!/usr/bin/env bash
# Makes the pictures of the terminal in docs/images again: `doctor` and `setup plan` run in a real terminal (tmux), what stands in
# it is taken with its colours and photographed (headless Chromium). By hand, after their output has changed; look at them.
# Takes the standard ports of `dev`, so that the addresses are those that a reader sees. Installs Debian's packages.
#
# BROKER=target/debug/acs-token-broker tests/pictures.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(realpath "${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}")
.ci/install tmux chromium
work=$PWD/target/pictures
rm -rf "$work"
mkdir -p "$work/bin"
cp tests/onboarding/picture.mjs tests/onboarding/package*.json "$work"
(cd "$work" && npm ci --silent --no-audit --no-fund)
ln -s "$broker" "$work/bin/acs-token-broker"

dev=
finish() {
    local code=$?
    tmux -S "$work/tmux" kill-server 2>/dev/null || true
    if [[ -n $dev ]]; then
        kill "$dev" 2>/dev/null || true
        wait "$dev" || true
    fi
    if [[ $code != 0 ]]; then tail -n 20 "$work"/*.txt >&2 || true; fi
}
trap finish EXIT
"$broker" dev --undo acs-clients-principal,permissions,consent,group-assignment,acs-assignment >"$work/dev.txt" 2>&1 </dev/null &
dev=$!
for _ in {1..100}; do
    if grep -q '^Stop with' "$work/dev.txt"; then break; fi
    kill -0 "$dev"
    sleep 0.1
done
emulator=$(awk '$1 == "emulator" { print $2 }' "$work/dev.txt")
configuration=$(awk '$1 == "configured" { print $2 }' "$work/dev.txt")
curl -sf -X POST "$emulator/_emulator/users/isaiah/token" -d '{"audience": "graph"}' |
    sed 's/.*"access_token":"\([^"]*\)".*/\1/' >"$work/contoso-token"

# Waits until the shell asks for a command.
prompt() {
    for _ in {1..100}; do
        if [[ $(tmux -S "$work/tmux" capture-pane -p | sed '/^$/d' | tail -n 1) == '$' ]]; then return; fi
        sleep 0.1
    done
    return 1
}

# A picture of what a command leaves in a terminal.
picture() {
    local name=$1 lines=$2 command=$3
    tmux -S "$work/tmux" -f /dev/null new-session -d -x 172 -y "$lines" -c "$work" \
        env ACS_TOKEN_BROKER_CONFIG="$configuration" PATH="$work/bin:$PATH" PS1='$ ' bash --noprofile --norc
    prompt
    tmux -S "$work/tmux" send-keys -l "$command"
    tmux -S "$work/tmux" send-keys Enter
    sleep 0.2
    prompt
    tmux -S "$work/tmux" capture-pane -e -p >"$work/$name.ansi"
    tmux -S "$work/tmux" kill-server
    node "$work/picture.mjs" "$work/$name.ansi" "docs/images/$name.png"
}

picture doctor-fails 120 "acs-token-broker doctor"
picture setup-plan 70 "acs-token-broker setup plan --tenant c0a50000-0000-4000-8000-000000000001 --graph-token-file contoso-token"
for step in acs-clients-principal permissions consent group-assignment acs-assignment; do
    curl -sf -o /dev/null -X PUT "$emulator/_emulator/steps/$step"
done
picture doctor-passes 62 "acs-token-broker doctor"
