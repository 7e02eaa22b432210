"""Where things are, and what Azure is taken to answer."""

import pathlib

from bicep import File, Parameters, Problem, Template

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = ROOT / "deploy" / "azure"

# What only a deployment could tell, by the names of the properties.
AZURE = {
    "principalId": "5e1f0000-0000-4000-8000-000000000001",
    "clientId": "5e1f0000-0000-4000-8000-000000000002",
    "appId": "a9900000-0000-4000-8000-000000000003",
    "hostName": "contoso.communication.azure.com",
    "loginServer": "contoso.azurecr.io",
    "vaultUri": "https://kv-contoso.vault.azure.net/",
    "ConnectionString": "InstrumentationKey=00000000-0000-0000-0000-000000000000",
    "fqdn": "acs-token-broker.contoso.azurecontainerapps.io",
    "customDomainVerificationId": "0123456789ABCDEF",
    "oauth2PermissionScopes": [{"id": f"id of {value}", "value": value} for value in ("Chat", "VoIP", "VoIP.Join")],
    "appRoles": [{"id": f"id of {value}", "value": value} for value in ("GroupMember.Read.All", "Mail.Read", "User.Read.All")],
}
# Where the app's volume is, and what secrets there are.
SECRETS = "/etc/acs-token-broker/secrets"
HASH_KEY = "a hash key of 16 characters or more"
ACCESS_KEY = "YW4gYWNjZXNzIGtleSB0aGF0IG9wZW5zIG5vdGhpbmc="


def files():
    return sorted([*HOME.glob("*.bicep"), *HOME.glob("modules/*.bicep")])


def given(name, environment):
    """The values of a parameter file."""
    return Parameters(File(HOME / name), environment).values()


def deployed(template):
    """Everything that a template deploys, modules' own included: (statement, body)."""
    for name, statement in template.file.of("resource").items():
        one = template.symbol(name)
        if one.active and not statement["existing"]:
            yield statement["type"], statement, one.body
            for child in statement["nested"]:
                if template.active(child):
                    yield f"{statement['type'].split('@')[0]}/{child['type']}", child, template.value(child["body"])
    for name in template.file.of("module"):
        one = template.symbol(name)
        if one.active:
            yield from deployed(one.template)


def body_of(template, kind):
    found = [body for each, _, body in deployed(template) if each.split("@")[0] == kind]
    if len(found) != 1:
        raise SystemExit(f"{kind} is deployed {len(found)} times")
    return found[0]



def main_template(changes):
    base = given("main.bicepparam", {"USER_HASH_KEY": HASH_KEY})
    return Template(File(HOME / "main.bicep"), {**base, **changes}, AZURE)


def volume(app, template):
    """The secret files: their names, and what the platform would write into them."""
    secrets = {each["name"]: each for each in app["properties"]["configuration"]["secrets"]}
    kept = {body["name"]: body["properties"]["value"] for kind, _, body in deployed(template) if "/vaults/secrets@" in kind}
    kept = {name: ACCESS_KEY if name == "access-key" else value for name, value in kept.items()}
    found = {}
    for one in app["properties"]["template"]["volumes"]:
        for each in one["secrets"]:
            secret = secrets.pop(each["secretRef"])
            if "keyVaultUrl" in secret:
                name = secret["keyVaultUrl"].removeprefix(f"{AZURE['vaultUri']}secrets/")
                found[each["path"]] = kept[name]
            else:
                found[each["path"]] = secret["value"]
    if secrets:
        raise Problem(f"secrets that no file comes of: {', '.join(secrets)}")
    return found
