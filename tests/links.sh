#!/usr/bin/env bash
# Checks the links of the documents with lychee: that the files and headings they lead to are there, and those in the alerts'
# runbook_url; and that the project's files which the documents quote, in commands for example, are there. Nothing is asked of
# the network: addresses elsewhere are not looked up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
programs=$(.ci/venv)
mapfile -t documents < <(git ls-files --cached --others --exclude-standard '*.md')
documents+=(deploy/observability/prometheus/alerts.yaml)
report=$(mktemp)
trap 'rm -f "$report"' EXIT
# The alerts name the project's place on a server; here it is this folder.
"$programs/lychee" --offline --no-progress --include-fragments --include-verbatim=false --format json --root-dir "$PWD" \
    --remap "https://github.com/contoso/acs-token-broker/blob/main/ file://$PWD/" "${documents[@]}" >"$report" || true
"$programs/python" - "$report" <<'PYTHON'
import json, sys

report = json.load(open(sys.argv[1]))
# Text, not a link: how an address is written.
wrong = [f"{file}:{each['span']['line']}: {each['url']}: {each['status']['text']}" for file, found in report["error_map"].items() for each in found
         if "://host:port'" not in each["status"]["text"]]
good = sum(map(len, report.get("success_map", {}).values())) or report["successful"]
if wrong:
    raise SystemExit("\n".join(wrong))
if good < 100:
    raise SystemExit(f"only {good} links were found")
print(f"{good} links lead somewhere")
PYTHON

# CHANGELOG.md is of the past.
missing=0
for document in "${documents[@]}"; do
    if [[ $document == CHANGELOG.md ]]; then continue; fi
    while IFS=: read -r line path; do
        path=${path#[\ \`(=]}
        if [[ ! -e $path && ! -e ${document%/*}/$path ]]; then
            echo "$document:$line: there is no $path" >&2
            missing=1
        fi
    done < <(grep -noE '(^|[ `(=])(tests|deploy|docs|crates|src|\.ci|\.github)/[A-Za-z0-9_./-]*[A-Za-z0-9_]' "$document")
done
exit "$missing"
