#!/usr/bin/env bash
# Keeps gendered pronouns out of the source and the documents: a caller, a user, an operator is "they".
#
# tests/wording.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pronouns='he|him|his|himself|she|her|hers|herself'
# With the folders that are there, and without what others wrote.
found=$(git grep --untracked -IniwE "$pronouns" -- src crates docs deploy '*.md' config.example.toml openapi.yaml assignments.schema.json) || {
    code=$?
    if [[ $code -gt 1 ]]; then exit "$code"; fi
    echo "no gendered pronouns"
    exit 0
}
echo "$found"
printf '%d lines have a gendered pronoun (%s); write "they", "the caller", "the user"\n' "$(wc -l <<<"$found")" "${pronouns//|/, }" >&2
exit 1
