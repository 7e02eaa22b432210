#!/usr/bin/env bash
# Checks the unit of deploy/systemd: that systemd takes each of its lines, and that what it shuts out stays shut out.
# Installs Debian's systemd for systemd-analyze if it is missing; no systemd has to run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unit=acs-token-broker.service
# Points out of 100 that systemd-analyze may give: what the unit had when this was written. Lower is less exposed.
most=15
.ci/install systemd-analyze=systemd

# A machine with the files that the unit names, and no other unit that could have problems of its own.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -D -m 0644 "deploy/systemd/$unit" "$root/etc/systemd/system/$unit"
for program in usr/local/bin/acs-token-broker bin/kill; do install -D -m 0755 /bin/true "$root/$program"; done
for target in multi-user network-online sysinit basic shutdown; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$root/etc/systemd/system/$target.target"
done
echo 'acs-token-broker:x:65532:65532::/:/bin/false' >"$root/etc/passwd"
echo 'acs-token-broker:x:65532:' >"$root/etc/group"

# Whether it fails for a mere warning depends on its version, so what it says counts.
said=$(systemd-analyze verify --man=no --recursive-errors=no --root="$root" "$unit" 2>&1) || { echo "$said"; exit 1; }
if grep -v -e '^$' <<<"$said"; then
    echo "systemd has something to say about $unit"
    exit 1
fi
systemd-analyze security --offline=true --root="$root" --threshold="$most" --no-pager "$unit" >"$root/security" || {
    cat "$root/security"
    exit 1
}
tail -n 1 "$root/security"
