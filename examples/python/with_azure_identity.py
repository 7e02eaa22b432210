"""Signs in with Azure Identity (device code) and gets an ACS token from the broker."""

import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DeviceCodeCredential

from broker import BrokerError, acs_token
from config import AUTHORITY, CLIENT_ID, EMULATED, SCOPE

authority = urlsplit(AUTHORITY)
credential = DeviceCodeCredential(
    CLIENT_ID,
    authority=f"{authority.scheme}://{authority.netloc}",
    tenant_id=authority.path.strip("/"),
    disable_instance_discovery=EMULATED,
    prompt_callback=lambda uri, code, _: print(f"Open {uri} and enter the code {code}", flush=True),
)


def entra_token(claims: str | None) -> str:
    """From the credential's cache, renewed, or with the user's help."""
    return credential.get_token(SCOPE, claims=claims).token


try:
    token = acs_token(entra_token)
except (BrokerError, ClientAuthenticationError) as error:
    sys.exit(str(error))
print("ACS token until", datetime.fromtimestamp(token.expires_on, UTC).isoformat())
