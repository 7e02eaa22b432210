"""What main.bicep and entra.bicep deploy for each way of use, and whether the broker takes the configuration that it gets.

configuration.py BROKER_BINARY
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from bicep import File, Problem
from common import ACCESS_KEY, AZURE, HASH_KEY, HOME, SECRETS, Template, body_of, deployed, given, main_template, volume

BROKER = AZURE["appId"]
FABRIKAM = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11"  # as in assignments.toml
OWN_API = {"ENTRA__AUDIENCES": f"{BROKER},api://{BROKER}", "ENTRA__REQUIRED_SCOPES": "access"}
BY_IDENTITY = {"CLIENT_ID": BROKER, "CREDENTIAL": "managed_identity", "MANAGED_IDENTITY_CLIENT_ID": AZURE["clientId"]}
ROLE_AT_ACS = "09976791-48a7-449e-bb21-39d1a415f350"
problems = []

# What each way of use sets in main.bicepparam, what the broker is told then, and which files its volume has.
WAYS = {
    "passthrough": (
        {}, {"EXCHANGE__MODE": "passthrough", "ASSIGNMENTS__SOURCES": "file", "TELEMETRY__USER_HASH_KEY_FILE": f"{SECRETS}/user-hash-key"},
        {"assignments.toml", "user-hash-key"}),
    "passthrough, a hash key of each replica's own": ({"userHashKey": ""}, {}, {"assignments.toml"}),
    "passthrough, assignments at ACS": (
        {"assignmentsSource": "acs", "userHashKey": ""},
        {"ASSIGNMENTS__SOURCES": "acs", "ASSIGNMENTS__ACS__CREDENTIAL": "managed_identity",
         "ASSIGNMENTS__ACS__MANAGED_IDENTITY_CLIENT_ID": AZURE["clientId"]}, set()),
    "passthrough, both, with Graph": (
        {"assignmentsSource": "both", "unknownGroups": "graph", "brokerClientId": BROKER},
        {"ASSIGNMENTS__SOURCES": "file,acs", "ASSIGNMENTS__UNKNOWN_GROUPS": "graph", **{f"GRAPH__{key}": value for key, value in BY_IDENTITY.items()}},
        {"assignments.toml", "user-hash-key"}),
    "on behalf of the user": (
        {"mode": "on_behalf_of", "brokerClientId": BROKER},
        {"EXCHANGE__MODE": "on_behalf_of", **OWN_API, **{f"EXCHANGE__ON_BEHALF_OF__{key}": value for key, value in BY_IDENTITY.items()}},
        {"assignments.toml", "user-hash-key"}),
    "on behalf of the user, with Graph, a registry and no telemetry but traces": (
        {"mode": "on_behalf_of", "brokerClientId": BROKER, "unknownGroups": "graph", "registryName": "contoso", "logsOverOtlp": False,
         "createCommunicationService": False, "communicationServiceResourceGroup": "calling", "alertEmail": ""},
        {"ASSIGNMENTS__UNKNOWN_GROUPS": "graph"}, {"assignments.toml", "user-hash-key"}),
    "identity": (
        {"mode": "identity", "brokerClientId": BROKER},
        {"EXCHANGE__MODE": "identity", "EXCHANGE__IDENTITY__ACCESS_KEY_FILE": f"{SECRETS}/access-key", "EXCHANGE__IDENTITY__SCOPES": "chat,voip", **OWN_API},
        {"assignments.toml", "user-hash-key", "access-key"}),
    "identity, with Graph, metrics, a subnet, settings and names with quotes": (
        {"mode": "identity", "brokerClientId": BROKER, "unknownGroups": "graph", "identityScopes": ["chat"], "accessKey": "secondary",
         "metricsEndpoint": "https://otlp.contoso.com:4317", "metricsHeaders": {"authorization": "a secret header"},
         "infrastructureSubnetId": "/subnet", "zoneRedundant": True, "externalIngress": False, "assignmentsSource": "both",
         "tenants": [{"id": FABRIKAM, "name": 'Fabrikam "East" \\ West'}, {"id": AZURE["clientId"]}],
         "settings": {"CACHE__MAX_ENTRIES": "200000", "EXCHANGE__TIMEOUT": "4s"}},
        {"CACHE__MAX_ENTRIES": "200000", "EXCHANGE__IDENTITY__SCOPES": "chat",
         "ENTRA__TENANTS": f'[{{id = "{FABRIKAM}", name = "Fabrikam \\"East\\" \\\\ West"}}, {{id = "{AZURE["clientId"]}"}}]'}, {"assignments.toml", "user-hash-key", "access-key"}),
}


def expect(where, what, is_so):
    if not is_so:
        problems.append(f"{where}: {what}")


def check_config(broker, variables, secret_files):
    """The broker's own word on these variables, with the files where they say."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in secret_files.items():
            (pathlib.Path(folder) / name).write_text(text)
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "ACS_TOKEN_BROKER"))}
        own = {key: value.replace(SECRETS, folder) for key, value in variables.items()}
        # As the image and the platform set them.
        own |= {"ACS_TOKEN_BROKER__SERVER__LISTEN": "0.0.0.0:8080", "ACS_TOKEN_BROKER__MANAGEMENT__LISTEN": "0.0.0.0:8081",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.service.k8se-apps:4317/", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "IDENTITY_ENDPOINT": "http://localhost:42356/msi/token", "IDENTITY_HEADER": "a header"}
        ran = subprocess.run([broker, "check-config"], env={**clean, **own}, cwd=folder, capture_output=True, text=True)
        return ran.returncode, ran.stdout + ran.stderr


def way(name, changes, told, wanted_files, broker):
    template = main_template(changes)
    app = body_of(template, "Microsoft.App/containerApps")
    pod = app["properties"]["template"]
    container = pod["containers"][0]
    variables = {each["name"]: each["value"] for each in container["env"]}
    expect(name, "a variable is set twice", len(variables) == len(container["env"]))
    secret_files = volume(app, template)
    expect(name, f"the volume has {sorted(secret_files)}", set(secret_files) == wanted_files)
    expect(name, "the volume is not mounted", bool(secret_files) == bool(container["volumeMounts"]))
    for mount in container["volumeMounts"]:
        expect(name, "the volume is not where the broker looks", mount["mountPath"] == SECRETS)
    for key, value in told.items():
        told_now = variables.get(f"ACS_TOKEN_BROKER__{key}")
        expect(name, f"{key} is {told_now}, not {value}", told_now == value)
    for secret in (HASH_KEY, ACCESS_KEY, "the primary key", "the secondary key", "a secret header", "[[assignments]]"):
        expect(name, "a secret is a plain variable", not any(secret in value for value in variables.values()))
    mark = f"{'none' if changes.get('assignmentsSource') == 'acs' else 'unique0string'}-{changes.get('accessKey', 'primary') if 'access-key' in wanted_files else 'none'}"
    expect(name, f"the mark of the secrets is {variables['SECRETS_MARK']}", variables["SECRETS_MARK"] == mark)
    exit_code, words = check_config(broker, variables, secret_files)
    expect(name, f"check-config ends with {exit_code}: {words}", exit_code == 0)
    expect(name, f"check-config warns: {words}", "warning" not in words.lower())

    ingress = app["properties"]["configuration"]["ingress"]
    expect(name, "the ingress leads elsewhere than 8080, or takes plain http", ingress["targetPort"] == 8080 and ingress["allowInsecure"] is False)
    expect(name, "the ingress maps other ports", "additionalPortMappings" not in ingress)
    probes = {each["type"]: (each["httpGet"]["path"], each["httpGet"]["port"]) for each in container["probes"]}
    expect(name, f"the probes are {probes}", probes == {"Startup": ("/livez", 8081), "Liveness": ("/livez", 8081), "Readiness": ("/readyz", 8081)})
    seconds = [int(variables[f"ACS_TOKEN_BROKER__SERVER__DRAIN_{each}"].removesuffix("s")) for each in ("DELAY", "TIMEOUT")]
    expect(name, "the platform kills a replica before it has drained", pod["terminationGracePeriodSeconds"] >= sum(seconds) + 5)
    expect(name, "the registry", bool(app["properties"]["configuration"]["registries"]) == bool(changes.get("registryName")))

    kinds = [kind.split("@")[0] for kind, _, _ in deployed(template)]
    roles = [body["properties"]["roleDefinitionId"].rsplit("/", 1)[1] for kind, _, body in deployed(template) if "roleAssignments@" in kind]
    expect(name, "a role at ACS that is not needed, or none where it is", (ROLE_AT_ACS in roles) == (changes.get("assignmentsSource", "file") != "file"))
    expect(name, "an ACS resource", ("Microsoft.Communication/communicationServices" in kinds) == changes.get("createCommunicationService", True))
    expect(name, "alerts", ("Microsoft.Insights/metricAlerts" in kinds) == (changes.get("alertEmail") != ""))

    environment = body_of(template, "Microsoft.App/managedEnvironments")["properties"]
    telemetry = environment["openTelemetryConfiguration"]
    named = {"appInsights"} | {each["name"] for each in telemetry["destinationsConfiguration"]["otlpConfigurations"]}
    for signal in ("traces", "logs", "metrics"):
        destinations = telemetry[f"{signal}Configuration"]["destinations"]
        off = variables.get(f"OTEL_{signal.upper()}_EXPORTER") == "none"
        expect(name, f"{signal} are sent where nobody takes them, or not sent", bool(destinations) != off)
        expect(name, f"{signal} go to {destinations}, which is not there", set(destinations) <= named)
    expect(name, "Application Insights takes no metrics", "appInsights" not in telemetry["metricsConfiguration"]["destinations"])
    return len(variables)


def refused(name, changes):
    """What cannot work is refused before a replica is started."""
    try:
        body_of(main_template(changes), "Microsoft.App/containerApps")
    except Problem:
        return
    problems.append(f"{name} is accepted")


def registrations(changes):
    template = Template(File(HOME / "entra.bicep"), {**given("entra.bicepparam", {}), **changes}, AZURE)
    found = {}
    for kind, statement, body in deployed(template):
        if "Microsoft.Graph/" in kind:
            found[statement["name"]] = body
    return found, template.outputs()


def access(registration):
    return {each["resourceAppId"]: {one["id"] for one in each["resourceAccess"]} for each in registration["requiredResourceAccess"]}


def entra():
    """The steps of "Set up Entra and ACS", by mode."""
    clients, graph = "2a04943b-b6a7-4f65-8786-2bb6131b59f6", "00000003-0000-0000-c000-000000000000"
    voip = {"id of VoIP", "id of VoIP.Join"}

    found, outputs = registrations({})
    expect("entra, passthrough", f"makes {sorted(found)}", set(found) == {"communicationClients", "frontEnd", "frontEndPrincipal", "frontEndConsent"})
    expect("entra, passthrough", "the front end's permissions", access(found["frontEnd"]) == {clients: voip})
    expect("entra, passthrough", f"consent of {outputs['consentAddresses']}", outputs["consentAddresses"] == [
        f"https://login.microsoftonline.com/{{tenant}}/adminconsent?client_id={AZURE['appId']}"])

    found, outputs = registrations({"mode": "on_behalf_of"})
    expect("entra, on behalf of", f"makes {sorted(found)}", set(found) == {
        "communicationClients", "registration", "frontEnd", "frontEndPrincipal", "broker", "credential", "brokerPrincipal", "brokerConsent"})
    api, credential = found["broker"]["api"], found["credential"]
    scope = api["oauth2PermissionScopes"][0]
    expect("entra, on behalf of", "the broker's permissions", access(found["broker"]) == {clients: voip})
    expect("entra, on behalf of", "the front end's permissions", access(found["frontEnd"]) == {BROKER: {scope["id"]}})
    expect("entra, on behalf of", "the scope", scope["value"] == "access" and api["requestedAccessTokenVersion"] == 2)
    expect("entra, on behalf of", "the front end is not authorized beforehand",
           api["preAuthorizedApplications"] == [{"appId": AZURE["appId"], "delegatedPermissionIds": [scope["id"]]}])
    expect("entra, on behalf of", "the App ID URI", found["broker"]["identifierUris"] == [f"api://{BROKER}"])
    expect("entra, on behalf of", "the groups claim", found["broker"]["groupMembershipClaims"] == "SecurityGroup")
    expect("entra, on behalf of", "the credential", (credential["issuer"], credential["subject"], credential["audiences"]) == (
        "https://login.microsoftonline.com/c0a50000-0000-4000-8000-000000000001/v2.0", AZURE["principalId"], ["api://AzureADTokenExchange"]))
    expect("entra, on behalf of", "what the front end asks for", outputs["scope"] == f"api://{BROKER}/access")
    expect("entra, on behalf of", "the registration is named otherwise at first", found["registration"]["uniqueName"] == found["broker"]["uniqueName"])

    found, _ = registrations({"mode": "identity"})
    expect("entra, identity", f"makes {sorted(found)}", set(found) == {"registration", "frontEnd", "frontEndPrincipal", "broker", "brokerPrincipal"})
    expect("entra, identity", "permissions that are not needed", access(found["broker"]) == {})

    found, _ = registrations({"groupsFromGraph": True, "frontEndClientId": AZURE["clientId"], "managedIdentityPrincipalId": AZURE["principalId"]})
    expect("entra, passthrough with Graph", f"makes {sorted(found)}", set(found) == {
        "communicationClients", "registration", "broker", "credential", "brokerPrincipal", "readsMembers", "readsUsers"})
    expect("entra, passthrough with Graph", "the permissions at Graph", access(found["broker"]) == {
        graph: {"id of GroupMember.Read.All", "id of User.Read.All"}})
    expect("entra, passthrough with Graph", "an API that nobody asks for", found["broker"]["api"]["oauth2PermissionScopes"] == [])

    found, _ = registrations({"mode": "on_behalf_of", "groupsFromGraph": True, "grantAdminConsent": False, "groupsClaim": "None"})
    expect("entra, without consent", f"consent is given by {sorted(found)}", not {"brokerConsent", "readsMembers", "readsUsers"} & set(found))


def main():
    broker = pathlib.Path(sys.argv[1]).resolve()
    counts = [way(name, *rest, broker) for name, rest in WAYS.items()]
    refused("an unknown mode", {"mode": "pass"})
    refused("no tenants", {"tenants": []})
    refused("a tenant that is no id", {"tenants": [{"id": "fabrikam.com"}]})
    refused("a scope that ACS does not have", {"identityScopes": ["everything"]})
    refused("no replicas", {"minReplicas": 0})
    refused("a parameter that is not there", {"mod": "passthrough"})
    refused("on behalf of users without an API of the broker's own", {"mode": "on_behalf_of"})
    refused("identity mode without one", {"mode": "identity"})
    refused("Graph without an app", {"unknownGroups": "graph"})
    refused("identity mode that leaves groups to ACS", {"mode": "identity", "brokerClientId": BROKER, "unknownGroups": "acs"})
    refused("no assignments", {"assignments": ""})
    refused("zones without a subnet", {"zoneRedundant": True})
    refused("no public address without a subnet", {"externalIngress": False})
    refused("more replicas at least than at most", {"minReplicas": 7})
    refused("a short hash key", {"userHashKey": "short"})
    # A broker that is told half is not ready to run: the check above would see it.
    code, _ = check_config(broker, {"ACS_TOKEN_BROKER__EXCHANGE__MODE": "identity"}, {})
    expect("check-config", f"ends with {code} where settings are missing", code == 2)
    entra()
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{len(WAYS)} ways of use give the broker {min(counts)} to {max(counts)} variables, and it takes them; Entra has what each needs")


main()
