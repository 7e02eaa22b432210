"""azure-communication-identity against the emulated ACS: a Teams user's token, with the access key and with an Entra credential."""

import base64
import json
import os
from datetime import datetime, timezone

import requests
from azure.communication.identity import CommunicationIdentityClient
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential

EMULATOR = os.environ["EMULATOR"]
CONTOSO = "c0a50000-0000-4000-8000-000000000001"
API, SECRET = "c0a5a991-0000-4000-8000-000000000005", "Emulated-Secret-Guards-Nothing"
KEY = base64.b64encode(b"The emulator's access key: known to all, it guards nothing real.").decode()


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def minted(**request):
    answer = requests.post(f"{EMULATOR}/_emulator/users/alex/token", json=request, timeout=10)
    return answer.json()["access_token"]


def refused(status, *arguments):
    try:
        client.get_token_for_teams_user(*arguments)
    except HttpResponseError as error:
        assert error.status_code == status, error
    else:
        raise AssertionError(f"{status} was expected")


entra = ClientSecretCredential(CONTOSO, API, SECRET, authority=EMULATOR, disable_instance_discovery=True)
for client in [
    CommunicationIdentityClient.from_connection_string(f"endpoint={EMULATOR}/;accesskey={KEY}"),
    CommunicationIdentityClient(EMULATOR, entra),
]:
    token = minted(audience="teams", scopes=["Teams.ManageCalls"])
    user = claims(token)
    issued = client.get_token_for_teams_user(token, user["azp"], user["oid"])
    assert claims(issued.token)["skypeid"] == f"orgid:{user['oid']}"
    # This SDK hands on ACS's text.
    end = datetime.fromtimestamp(user["exp"], timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    assert issued.expires_on.startswith(end), "it ends with the Entra token"
    refused(400, token, user["azp"], user["azp"])
    refused(401, minted(), user["azp"], user["oid"])
print("azure-communication-identity: a Teams user's token with the key and with an Entra credential")
