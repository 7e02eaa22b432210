"""Builds benches/in_process, lets valgrind count, and compares; see ../instructions.sh."""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

from judge import inclusive, least, verdicts

BASELINE = pathlib.Path("benches/instructions.json")
# The first ones, which are not counted, have done what is done once; more make the figures no steadier.
REQUESTS = 20
# How often is counted before a count is too much.
COUNTS = 3


def build(release):
    """The bench, with its symbols."""
    command = ["cargo", "build", "--all-features", "--bench", "in_process", "--message-format=json-render-diagnostics"]
    environment = os.environ | ({"CARGO_PROFILE_RELEASE_STRIP": "false"} if release else {})
    said = subprocess.run(command + ["--release"] * release, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    messages = [json.loads(line) for line in said.splitlines()]
    return next(message["executable"] for message in messages if message.get("target", {}).get("name") == "in_process")


def count(binary):
    """Instructions of a request, by kind."""
    with tempfile.TemporaryDirectory(prefix="acs-token-broker-instructions-") as folder:
        key, profile = f"{folder}/key", f"{folder}/profile"
        # Makes the key, which takes long in valgrind.
        subprocess.run([binary, "count", key, "1"], check=True)
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--toggle-collect=*::count::counted::*"]
        said = subprocess.run([*tool, binary, "count", key, str(REQUESTS)], stderr=subprocess.PIPE, text=True)
        if said.returncode != 0:
            raise SystemExit(said.stderr)
        costs = inclusive(pathlib.Path(profile).read_text())
    kinds = {name: re.search(r"::count::counted::(\w+)", name) for name in costs}
    return {found[1]: round(costs[name] / REQUESTS) for name, found in sorted(kinds.items()) if found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--release", action="store_true")
    options = parser.parse_args()
    binary = build(options.release)
    if not options.release:
        # Each bench once.
        subprocess.run([binary], check=True, stdout=subprocess.DEVNULL)
    now = count(binary)
    if options.renew:
        now = least([now, *(count(binary) for _ in range(COUNTS - 1))])
        BASELINE.write_text(json.dumps(now, indent=1) + "\n")
    if options.renew or options.release or platform.machine() != "x86_64":
        print("\n".join(f"{kind:<14} {instructions:>10,} instructions of a request" for kind, instructions in now.items()))
        return
    baseline = json.loads(BASELINE.read_text())
    lines, fails = verdicts(baseline, now)
    for _ in range(COUNTS - 1):
        if fails:
            now = least([now, count(binary)])
            lines, fails = verdicts(baseline, now)
    print("\n".join(lines))
    sys.exit(fails)


main()
