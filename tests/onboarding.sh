#!/usr/bin/env bash
# docs/set-up-your-tenants.md as a reader follows it: every command of the page in a shell, in the page's order, with a browser
# where it opens one (headless Chromium: an administrator consents, a user signs in), and what each prints compared with what
# the page shows. Everything is on loopback and on free ports. Installs Debian's chromium if there is none.
#
# BROKER=target/debug/acs-token-broker tests/onboarding.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(.ci/broker)
.ci/install chromium
work=$PWD/target/onboarding
rm -rf "$work"
mkdir -p "$work/bin" "$work/reader"
cp tests/onboarding/* "$work"
(cd "$work" && npm ci --silent --no-audit --no-fund)

# What the page names: the broker, on free ports, and the desktop's way to a browser.
cat >"$work/bin/acs-token-broker" <<SCRIPT
#!/usr/bin/env bash
if [[ \${1:-} == dev ]]; then set -- "\$@" --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0; fi
exec "$broker" "\$@"
SCRIPT
printf '#!/bin/sh\nexec node "%s/browser.mjs" "$@"\n' "$work" >"$work/bin/xdg-open"
chmod +x "$work/bin/"*
PATH=$work/bin:$PATH node "$work/walk.mjs" docs/set-up-your-tenants.md "$work/reader"
