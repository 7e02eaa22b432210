"""The ways of use of deploy/azure, and the variables that modules/app.bicep gives the broker in each.

Groups of settings, their keys and texts are read from the file. A value that it computes is taken from `VALUES`, by the text of its
expression; when a group is given is repeated here beside the condition in the file, and both are compared.
"""

import os
import re

from bicep import HOME, File, properties, text, walk

FABRIKAM, BROKER, IDENTITY = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11", "a9900000-0000-4000-8000-000000000003", "5e1f0000-0000-4000-8000-000000000002"
APP = File(HOME / "modules" / "app.bicep")
WAYS = {
    "passthrough": {},
    "passthrough, a hash key of each replica's own": {"hash": False},
    "passthrough, assignments at ACS": {"source": "acs"},
    "passthrough, shared cache": {"store": "single"},
    "passthrough, shared cache as a cluster": {"store": "cluster"},
    "passthrough, both, with Graph": {"source": "both", "groups": "graph"},
    "on behalf of the user": {"mode": "on_behalf_of"},
    "on behalf of the user, with Graph": {"mode": "on_behalf_of", "groups": "graph"},
    "identity": {"mode": "identity"},
    "identity, with the access key": {"mode": "identity", "key": True},
    "identity, with Graph": {"mode": "identity", "groups": "graph", "source": "both"},
    "Teams users": {"mode": "teams_user"},
    "Teams users, with the access key": {"mode": "teams_user", "key": True},
    "Teams users, with Graph": {"mode": "teams_user", "groups": "graph"},
}
# Variables of app.bicep that make up brokerSettings: the condition under which one is left out, and whether a way has it.
GROUPS = {
    "always": (None, lambda way: True),
    "ofOrigins": ("empty(allowedOrigins)", lambda way: True),
    "ofOwnApi": ("mode == 'passthrough' || mode == 'teams_user'", lambda way: way["mode"] in ("on_behalf_of", "identity")),
    "ofOnBehalfOf": ("mode != 'on_behalf_of'", lambda way: way["mode"] == "on_behalf_of"),
    "ofIdentity": ("mode != 'identity'", lambda way: way["mode"] == "identity"),
    "ofIdentityCredential": ("mode != 'identity' || signsWithKey", lambda way: way["mode"] == "identity" and not way["key"]),
    "ofIdentityKey": ("mode != 'identity' || !signsWithKey", lambda way: way["mode"] == "identity" and way["key"]),
    "ofTeamsUser": ("mode != 'teams_user'", lambda way: way["mode"] == "teams_user"),
    "ofTeamsUserCredential": ("mode != 'teams_user' || signsWithKey", lambda way: way["mode"] == "teams_user" and not way["key"]),
    "ofTeamsUserKey": ("mode != 'teams_user' || !signsWithKey", lambda way: way["mode"] == "teams_user" and way["key"]),
    "ofFile": ("!usesFile", lambda way: way["source"] != "acs"),
    "ofAcs": ("!usesAcs", lambda way: way["source"] != "file"),
    "ofUnknownGroups": ("empty(unknownGroups)", lambda way: way["groups"]),
    "ofGraph": ("!asksGraph", lambda way: way["groups"] == "graph"),
    "ofUserHashKey": ("!hasUserHashKey", lambda way: way["hash"]),
    "ofSharedCache": ("empty(sharedCacheUrl)", lambda way: way["store"]),
}
VALUES = {
    "maxReplicas + minReplicas": "8", "join(tenantTables, ', ')": f'{{id = "{FABRIKAM}", name = "Fabrikam \\"East\\" \\\\ West"}}',
    "endpoint": "https://contoso.communication.azure.com", "drainDelaySeconds": "10", "drainTimeoutSeconds": "20",
    "brokerClientId": BROKER, "identityClientId": IDENTITY,
    "join(allowedOrigins, ',')": "https://app.contoso.com", "join(identityScopes, ',')": "chat,voip", "teamsCloud": "public",
    "sharedCacheUrl": "rediss://contoso.westeurope.redis.azure.net:10000", "sharedCacheHost": "contoso.westeurope.redis.azure.net",
    "deploymentEnvironment": "production", "traceRatio": "0.1",
}


def clean():
    return {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "ACS_TOKEN_BROKER"))}


def value(node, known):
    """A text, or what its expression stands for."""
    expression = text(node)
    if node.type == "string":
        return re.sub(r"\$\{(.*?)\}(?!\})", lambda found: known[found[1]], expression[1:-1])
    return known[expression]


def groups():
    """The settings by their variables, in the order in which they are put together."""
    union = APP.of("variable")["brokerSettings"].value
    if [text(each) for each in walk(union) if each.type == "identifier"][1:] != [*GROUPS, "settings"]:
        raise SystemExit(f"app.bicep has {text(union)}; tests/azure/ways.py knows other groups")
    for name, (condition, _) in GROUPS.items():
        node = APP.of("variable")[name].value
        found = text(node.named_children[0]) if node.type == "ternary_expression" else None
        if found != condition:
            raise SystemExit(f"app.bicep leaves {name} out if {found}; tests/azure/ways.py has {condition}")
        yield name, properties(node)


def variables(name, secrets, **more):
    """What the container has in one way of use, and the names of its secret files; `secrets` is the folder that they are in."""
    way = {"mode": "passthrough", "source": "file", "groups": "", "hash": True, "key": False, "store": None, **WAYS[name]}
    known = {**VALUES, "mode": way["mode"], "sharedCacheKind": way["store"], "unknownGroups": way["groups"], "secretsPath": str(secrets), **more,
             "assignmentsSource == 'both' ? 'file,acs' : assignmentsSource": way["source"].replace("both", "file,acs")}
    found = {}
    for group, settings in groups():
        if GROUPS[group][1](way):
            found |= {f"ACS_TOKEN_BROKER__{key}": value(node, known) for key, node in settings.items()}
    files = {each.removeprefix(f"{secrets}/") for each in found.values() if each.startswith(f"{secrets}/")}
    telemetry = properties(APP.of("variable")["telemetry"].value)
    return {**found, **{key: value(node, known) for key, node in telemetry.items()}}, files
