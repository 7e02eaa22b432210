"""Runs the broker beside the emulator with the variables that main.bicep gives it, one way of use after the other, and
fetches tokens. Only addresses differ from what Azure would have, and where the secret files lie.

live.py BROKER_BINARY
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from common import AZURE, SECRETS, body_of, main_template, volume

# The emulator's own; they never change.
API, FRONT_END, IDENTITY = "c0a5a991-0000-4000-8000-000000000005", "c0a5a990-0000-4000-8000-000000000003", "c0a51de0-0000-4000-8000-000000000006"
FABRIKAM = "fab00000-0000-4000-8000-000000000002"
WAYS = {
    "passthrough": ({}, "acs"),
    "passthrough, assignments at ACS": ({"assignmentsSource": "acs"}, "acs"),
    "on behalf of the user": ({"mode": "on_behalf_of"}, "api"),
    "on behalf of the user, with Graph": ({"mode": "on_behalf_of", "unknownGroups": "graph"}, "api without groups"),
    "identity": ({"mode": "identity"}, "api"),
}
# Tokens for ACS tell no groups; those for the broker's own API do, unless Graph is to be asked.
WANTED = {"acs": {}, "api": {"audience": "api", "groups": "listed"}, "api without groups": {"audience": "api", "groups": "none"}}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url, body=b"", token=None):
    request = urllib.request.Request(url, data=body, method="POST", headers={"Content-Type": "application/json"})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with DIRECT.open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def start(work, name, command, environment):
    """The process, and a way to its words."""
    log = work / f"{name}.log"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "ACS_TOKEN_BROKER"))}
    child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT,
                             cwd=work, env={**clean, **environment})
    return child, log


def wait_for(log, child, pattern):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = re.search(pattern, log.read_text(), re.M)
        if found:
            return found
        if child.poll() is not None:
            break
        time.sleep(0.05)
    raise SystemExit(f"azure, live part: {pattern} did not come:\n{log.read_text()[-3000:]}")


def one(binary, work, azure, demo, name, changes, audience):
    folder = work / re.sub(r"\W+", "-", name)
    folder.mkdir()
    AZURE.update(appId=API, clientId=IDENTITY)
    listen = "127.0.0.1:0"
    template = main_template({
        "brokerClientId": API, "tenants": [{"id": FABRIKAM, "name": "Fabrikam"}], "assignments": (demo / "assignments.toml").read_text(),
        "settings": {"ENTRA__AUTHORITY": azure, "GRAPH__ENDPOINT": azure, "EXCHANGE__ENDPOINT": azure, "SERVER__DRAIN_DELAY": "0s",
                     "SERVER__LISTEN": listen, "MANAGEMENT__LISTEN": listen}, **changes})
    app = body_of(template, "Microsoft.App/containerApps")
    for file, text in volume(app, template).items():
        (folder / file).write_text((demo / "access-key").read_text() if file == "access-key" else text)
    variables = {each["name"]: each["value"].replace(SECRETS, str(folder)) for each in app["properties"]["template"]["containers"][0]["env"]}
    # As Container Apps sets them.
    variables |= {"IDENTITY_ENDPOINT": f"{azure}/_emulator/msi/token", "IDENTITY_HEADER": "emulated-identity-header"}
    broker, log = start(folder, "broker", [binary, "serve"], variables)
    try:
        url = "http://" + wait_for(log, broker, r'"message":"listening","public":"([^"]+)"')[1] + "/token"
        wanted = json.dumps(WANTED[audience]).encode()
        until = time.monotonic() + 10
        while True:
            _, signed_in = call(f"{azure}/_emulator/users/adele/token", wanted)
            status, answer = call(url, token=signed_in["access_token"])
            # Keys and assignments are fetched after the start.
            if status != 503 or time.monotonic() > until:
                break
            time.sleep(0.2)
        if status != 200 or not answer["accessToken"]["token"]:
            raise SystemExit(f"azure, live part: {name}: adele gets {status} {answer}\n{log.read_text()[-3000:]}")
        _, signed_in = call(f"{azure}/_emulator/users/megan/token", wanted)
        status, _ = call(url, token=signed_in["access_token"])
        if status != 403:
            raise SystemExit(f"azure, live part: {name}: megan, who is not assigned, gets {status}")
    finally:
        broker.terminate()
        broker.wait(30)


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        listen = "127.0.0.1:0"
        dev, log = start(work, "dev", [binary, "dev", "--listen", listen, "--management-listen", listen, "--emulator-listen", listen], {})
        try:
            wait_for(log, dev, "Stop with")
            azure = re.search(r"^emulator\s+(\S+)", log.read_text(), re.M)[1]
            demo = pathlib.Path(re.search(r"^configured\s+(\S+)", log.read_text(), re.M)[1]).parent
            for name, rest in WAYS.items():
                one(binary, work, azure, demo, name, *rest)
        finally:
            dev.terminate()
            dev.wait(30)
    print(f"with what main.bicep tells it, the broker gives tokens in {len(WAYS)} ways of use")


main()
