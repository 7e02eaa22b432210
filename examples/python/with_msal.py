"""Signs in with MSAL (device code) and gets an ACS token from the broker."""

import sys
from datetime import UTC, datetime

import msal

from broker import BrokerError, acs_token
from config import AUTHORITY, CLIENT_ID, EMULATED, SCOPE

app = msal.PublicClientApplication(CLIENT_ID, authority=AUTHORITY, instance_discovery=False if EMULATED else None)


def entra_token(claims: str | None) -> str:
    """From MSAL's cache, renewed, or with the user's help."""
    result = None
    for account in app.get_accounts():
        result = app.acquire_token_silent([SCOPE], account, claims_challenge=claims)
    if not result:
        flow = app.initiate_device_flow([SCOPE], claims_challenge=claims)
        print(flow["message"] if "message" in flow else flow["error_description"], flush=True)
        result = app.acquire_token_by_device_flow(flow, claims_challenge=claims)
    if "access_token" not in result:
        sys.exit(result["error_description"])
    return result["access_token"]


try:
    token = acs_token(entra_token)
except BrokerError as error:
    sys.exit(str(error))
print("ACS token until", datetime.fromtimestamp(token.expires_on, UTC).isoformat())
