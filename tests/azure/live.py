"""Runs the broker beside the emulator with the variables that app.bicep gives it, one way of use after the other, and fetches
tokens. Only addresses and ids differ from what Azure would have.

live.py BROKER_BINARY
"""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from ways import clean, variables

# The emulator's own; they never change.
API, IDENTITY, FABRIKAM = "c0a5a991-0000-4000-8000-000000000005", "c0a51de0-0000-4000-8000-000000000006", "fab00000-0000-4000-8000-000000000002"
# Tokens for ACS list no groups; those for the broker's own API do, unless Graph is to be asked. Adele is assigned by a group, Alex alone.
TEAMS = {"audience": "teams", "scopes": ["Teams.ManageCalls"]}
WAYS = {
    "passthrough": {},
    "passthrough, assignments at ACS": {},
    "passthrough, shared cache": {},  # which is away: nothing listens there
    "on behalf of the user": {"audience": "api", "groups": "listed"},
    "on behalf of the user, with Graph": {"audience": "api", "groups": "none"},
    "identity": {"audience": "api", "groups": "listed"},
    "identity, with the access key": {"audience": "api", "groups": "listed"},
    "Teams users": TEAMS,
    "Teams users, with the access key": TEAMS,
    "Teams users, with Graph": TEAMS,
}
ASSIGNED = {"Teams users": "alex", "Teams users, with the access key": "alex"}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def post(url, body=b"", token=None):
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        with DIRECT.open(urllib.request.Request(url, data=body, method="POST", headers=headers), timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@contextlib.contextmanager
def started(folder, command, environment, pattern):
    """A process while it is used: what the pattern finds in its words once it runs."""
    log = folder / f"{command[1]}.log"
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT, env={**clean(), **environment})
    try:
        until, found = time.monotonic() + 20, None
        while not found and time.monotonic() < until and child.poll() is None:
            time.sleep(0.05)
            found = re.search(pattern, log.read_text(), re.M | re.S)
        if not found:
            raise SystemExit(f"azure, live part: {command[1]} did not start:\n{log.read_text()[-3000:]}")
        yield found
    finally:
        child.terminate()
        child.wait(30)


def content(file, demo):
    """What a secret file holds: those that `dev` has are its, for the emulator checks them."""
    made = {"user-hash-key": "a hash key of 16 characters or more", "shared-cache-keys": "2026-12 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
    return made.get(file) or (demo / file).read_text()


def one(binary, folder, azure, demo, name):
    given, files = variables(name, folder, brokerClientId=API, identityClientId=IDENTITY, endpoint=azure, drainDelaySeconds="0", sharedCacheUrl="rediss://127.0.0.1:1",
                             **{"maxReplicas + minReplicas": "8", "join(tenantTables, ', ')": f'{{id = "{FABRIKAM}"}}'})
    for file in files:
        (folder / file).write_text(content(file, demo))
    given |= {f"ACS_TOKEN_BROKER__{key}": value for key, value in (
        ("ENTRA__AUTHORITY", azure), ("GRAPH__ENDPOINT", azure), ("SERVER__LISTEN", "127.0.0.1:0"), ("MANAGEMENT__LISTEN", "127.0.0.1:0"))}
    # As Container Apps sets them.
    given |= {"IDENTITY_ENDPOINT": f"{azure}/_emulator/msi/token", "IDENTITY_HEADER": "emulated-identity-header"}
    with started(folder, [binary, "serve"], given, r'"message":"listening","public":"([^"]+)"') as found:
        for user, wanted in ((ASSIGNED.get(name, "adele"), 200), ("megan", 403)):
            until, status = time.monotonic() + 10, 503
            while status == 503 and time.monotonic() < until:  # keys and assignments are fetched after the start
                time.sleep(0.05)
                _, signed_in = post(f"{azure}/_emulator/users/{user}/token", json.dumps(WAYS[name]).encode())
                status, answer = post(f"http://{found[1]}/token", token=signed_in["access_token"])
            if status != wanted or (status == 200 and not answer["accessToken"]["token"]):
                raise SystemExit(f"azure, live part: {name}: {user} gets {status} {answer}\n{(folder / 'serve.log').read_text()[-3000:]}")


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as work:
        listen = [word for option in ("--listen", "--management-listen", "--emulator-listen") for word in (option, "127.0.0.1:0")]
        with started(pathlib.Path(work), [binary, "dev", *listen], {}, r"^emulator\s+(\S+).*^configured\s+(\S+).*Stop with") as found:
            for name in WAYS:
                one(binary, pathlib.Path(tempfile.mkdtemp(dir=work)), found[1], pathlib.Path(found[2]).parent, name)
    print(f"with the variables of app.bicep the broker gives tokens in {len(WAYS)} ways of use")


main()
