#!/usr/bin/env bash
# Checks .github: workflows, issue forms and dependabot.yml by GitHub's schemas, the workflows by actionlint (with shellcheck
# for their scripts), and by zizmor for what could be abused; and the release notes that a tag would get. Nothing is run: that
# takes GitHub.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
programs=$(.ci/venv)
go_programs=$(.ci/gotools)
"$programs/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$programs/check-jsonschema" --builtin-schema vendor.dependabot .github/dependabot.yml
"$programs/check-jsonschema" --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
"$programs/check-jsonschema" --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/{bug,feature}.yml
"$go_programs/actionlint" -shellcheck "$programs/shellcheck" -pyflakes=
"$programs/zizmor" --offline --no-progress --quiet .github
# dependabot sees to each folder that names what it takes from a registry.
declare -A ecosystems=([Cargo.lock]=cargo [Dockerfile]=docker [docker-compose.yml]=docker-compose [go.mod]=gomod [package.json]=npm
    [pom.xml]=maven [requirements.txt]=pip)
for name in "${!ecosystems[@]}"; do
    while read -r file; do
        folder=/$(dirname "$file")
        if ! grep -A 1 "package-ecosystem: ${ecosystems[$name]}\$" .github/dependabot.yml | grep -qx "    directory: ${folder%/.}/*"; then
            echo "dependabot.yml has no ${ecosystems[$name]} for $file" >&2
            exit 1
        fi
    done < <(git ls-files "$name" "*/$name")
done
echo "the workflows are good"

# A copy in which the version at hand is released.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/.ci"
cp .ci/release-notes "$work/.ci"
cp Cargo.toml "$work"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
printf '# Changelog\n\n## [Unreleased]\n\n- later\n\n## [%s] - 2026-01-01\n\n- this\n\n## [0.0.1] - 2025-01-01\n\n- before\n' \
    "$version" >"$work/CHANGELOG.md"
[[ $("$work/.ci/release-notes" "v$version") == "- this" ]]
for wrong in "$version" v0.0.1 v9.9.9 "v$version-rc.1" latest; do
    if "$work/.ci/release-notes" "$wrong" >/dev/null 2>&1; then
        echo "release notes for the tag $wrong, which is wrong" >&2
        exit 1
    fi
done
echo "the release notes are good"

# A repository with a commit on main, and one beside it.
git init --quiet --initial-branch main "$work/repository"
at=$PWD/.ci/release-commit
(
    cd "$work/repository"
    commit() { git -c user.name=test -c user.email=test@example.com commit --quiet --allow-empty --message "$1"; }
    commit merged
    git switch --quiet --create beside
    commit beside
    git switch --quiet main
    commit later
    "$at" main~1 main
    "$at" main main
    for wrong in "beside main" "main origin/main"; do
        read -r commit branch <<<"$wrong"
        if "$at" "$commit" "$branch" 2>/dev/null; then
            echo "$commit is released, which is not on $branch" >&2
            exit 1
        fi
    done
)
# Whatever writes packages or signs waits for a reviewer, and nothing is published before the commit was looked at.
"$programs/python" - <<'PYTHON'
import yaml

jobs = yaml.safe_load(open(".github/workflows/release.yml"))["jobs"]
for name, job in jobs.items():
    writes = [permission for permission, level in job["permissions"].items() if level == "write"]
    if writes and job.get("environment") != "release":
        raise SystemExit(f"release.yml: {name} may write {', '.join(writes)} outside the environment")
steps = [step.get("run", "") for step in jobs["version"]["steps"]]
if not any(step.startswith(".ci/release-commit") for step in steps) or "version" not in jobs["image"]["needs"]:
    raise SystemExit("release.yml: the commit is not looked at before the image is made")
PYTHON
# The image publishes the port for callers alone (`docker run -P`).
if [[ $(grep '^EXPOSE' Dockerfile) != "EXPOSE 8080" ]]; then
    echo "Dockerfile: EXPOSE names more than the public port" >&2
    exit 1
fi
echo "releases are guarded"
