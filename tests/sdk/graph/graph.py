"""msgraph-sdk against the emulated Graph: the administrators' steps, lists in pages, refusals, a limit."""

import asyncio
import os
from urllib.parse import urlsplit

import requests
from azure.core.credentials import AccessToken
from azure.identity import ClientSecretCredential
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.applications.applications_request_builder import ApplicationsRequestBuilder
from msgraph.generated.groups.item.members.members_request_builder import MembersRequestBuilder
from msgraph.generated.models.app_role_assignment import AppRoleAssignment
from msgraph.generated.models.application import Application
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.required_resource_access import RequiredResourceAccess
from msgraph.generated.models.resource_access import ResourceAccess
from msgraph.generated.models.service_principal import ServicePrincipal
from msgraph.generated.oauth2_permission_grants.oauth2_permission_grants_request_builder import (
    Oauth2PermissionGrantsRequestBuilder,
)
from msgraph_core import PageIterator
from uuid import UUID

EMULATOR = os.environ["EMULATOR"]
ACS_CLIENTS = "2a04943b-b6a7-4f65-8786-2bb6131b59f6"
APP = "c0a5a990-0000-4000-8000-000000000003"
API, SECRET = "c0a5a991-0000-4000-8000-000000000005", "Emulated-Secret-Guards-Nothing"
CALLERS = UUID("fab00000-0000-4000-8000-00000000ca11")
TENANT = "fab00000-0000-4000-8000-000000000002"


class DemoUser:
    """A demo user's token, as the Azure CLI has it."""

    def __init__(self, name, **request):
        url = f"{EMULATOR}/_emulator/users/{name}/token"
        answer = requests.post(url, json={"audience": "graph", **request}, timeout=10).json()
        self.token = AccessToken(answer["access_token"], 2**31)

    def get_token(self, *scopes, **options):
        return self.token


def graph(credential):
    scopes, host = ["https://graph.microsoft.com/.default"], urlsplit(EMULATOR).hostname
    adapter = GraphRequestAdapter(AzureIdentityAuthenticationProvider(credential, scopes=scopes, allowed_hosts=[host]))
    adapter.base_url = f"{EMULATOR}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


def filtered(builder, text):
    names = [name for name in dir(builder) if name.endswith("RequestBuilderGetQueryParameters")]
    return RequestConfiguration(query_parameters=getattr(builder, names[0])(filter=text))


async def refused(call, status, code):
    try:
        await call
    except ODataError as error:
        assert (error.response_status_code, error.error.code) == (status, code), error
    else:
        raise AssertionError("it was answered")


def step(method, name):
    requests.request(method, f"{EMULATOR}/_emulator/steps/{name}", timeout=10).raise_for_status()


async def main():
    for name in ["acs-clients-principal", "permissions", "consent", "group-assignment"]:
        step("DELETE", name)
    contoso, fabrikam = graph(DemoUser("isaiah")), graph(DemoUser("patti"))

    await refused(fabrikam.service_principals_with_app_id(ACS_CLIENTS).get(), 404, "Request_ResourceNotFound")
    for client in [contoso, fabrikam]:
        made = await client.service_principals.post(ServicePrincipal(app_id=ACS_CLIENTS))
        found = await client.service_principals_with_app_id(ACS_CLIENTS).get()
        assert found.id == made.id
    print("service principals")

    clients = await contoso.service_principals_with_app_id(ACS_CLIENTS).get()
    access = [ResourceAccess(id=scope.id, type="Scope") for scope in clients.oauth2_permission_scopes
              if scope.value in ("VoIP", "VoIP.Join")]
    assert len(access) == 2
    for app_id in [APP, API]:
        listed = await contoso.applications.get(filtered(ApplicationsRequestBuilder, f"appId eq '{app_id}'"))
        app = listed.value[0]
        required = [*app.required_resource_access,
                    RequiredResourceAccess(resource_app_id=ACS_CLIENTS, resource_access=access)]
        await contoso.applications.by_application_id(app.id).patch(Application(required_resource_access=required))
        after = await contoso.applications.by_application_id(app.id).get()
        assert after.required_resource_access[-1].resource_app_id == ACS_CLIENTS
    print("applications")

    clients = await fabrikam.service_principals_with_app_id(ACS_CLIENTS).get()
    assigned_to = fabrikam.service_principals.by_service_principal_id(clients.id).app_role_assigned_to
    body = AppRoleAssignment(principal_id=CALLERS, resource_id=UUID(clients.id), app_role_id=UUID(int=0))
    made = await assigned_to.post(body)
    assert made.principal_type == "Group", made
    await refused(assigned_to.post(body), 400, "Request_BadRequest")
    assert str(CALLERS) in [str(one.principal_id) for one in (await assigned_to.get()).value]
    print("app role assignments")

    url = f"{EMULATOR}/{TENANT}/adminconsent"
    page = requests.post(url, data={"client_id": APP, "_consent": "given"}, timeout=10)
    assert "The permissions are granted" in page.text
    app = await fabrikam.service_principals_with_app_id(APP).get()
    grants = await fabrikam.oauth2_permission_grants.get(
        filtered(Oauth2PermissionGrantsRequestBuilder, f"clientId eq '{app.id}'"))
    assert any(grant.resource_id == clients.id and grant.scope == "VoIP VoIP.Join" for grant in grants.value)
    assert all(one["done"] for one in requests.get(f"{EMULATOR}/_emulator/steps", timeout=10).json())
    print("consent")

    names = []
    parameters = MembersRequestBuilder.MembersRequestBuilderGetQueryParameters(top=1)
    members = fabrikam.groups.by_group_id(str(CALLERS)).members
    first = await members.get(RequestConfiguration(query_parameters=parameters))
    assert len(first.value) == 1 and first.odata_next_link
    await PageIterator(first, fabrikam.request_adapter).iterate(lambda one: names.append(one.display_name) or True)
    assert "Fabrikam Night Shift" in names and "Adele Vance" in names, names
    skus = await fabrikam.subscribed_skus.get()
    assert skus.value[0].service_plans[0].service_plan_name == "AAD_PREMIUM_P2"
    licenses = await fabrikam.users.by_user_id("adele@fabrikam.com").license_details.get()
    assert licenses.value[0].sku_part_number == "SPE_E5"
    print("pages, licenses")

    await refused(graph(DemoUser("adele")).service_principals.get(), 403, "Authorization_RequestDenied")
    broker = graph(ClientSecretCredential(
        TENANT, API, SECRET, authority=EMULATOR, disable_instance_discovery=True))
    assert (await broker.organization.get()).value[0].id == TENANT
    await refused(broker.service_principals.post(ServicePrincipal(app_id=ACS_CLIENTS)), 403, "Authorization_RequestDenied")
    fault = {"graph": {"status": 429, "retry_after": 1, "times": 1}}
    requests.put(f"{EMULATOR}/_emulator/faults", json=fault, timeout=10).raise_for_status()
    assert (await fabrikam.organization.get()).value[0].id == TENANT
    print("refusals, a limit")


asyncio.run(main())
