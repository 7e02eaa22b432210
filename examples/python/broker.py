"""The broker's `POST /token`: an Entra token goes in, an ACS token comes out."""

import base64
import re
import time
from collections.abc import Callable
from datetime import datetime

import requests
from azure.core.credentials import AccessToken

from config import BROKER


class BrokerError(Exception):
    """The broker's refusal. Depend on `code`; the message is for people and may change."""

    def __init__(self, response: requests.Response) -> None:
        try:
            error = response.json()["error"]
        except (ValueError, KeyError):  # a proxy on the way
            error = {"code": "Unknown", "message": f"The broker answered {response.status_code}."}
        self.code = error["code"]
        super().__init__(f"{error['message']} ({self.code}, request {response.headers.get('x-ms-request-id')})")


def acs_token(entra_token: Callable[[str | None], str]) -> AccessToken:
    """`entra_token` takes the claims that Entra asked for, if any."""
    token = entra_token(None)
    challenged = False
    attempt = 1
    while True:
        response = requests.post(f"{BROKER}/token", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        if response.ok:
            # The end comes from the answer: an ACS token may be encrypted.
            answer = response.json()["accessToken"]
            return AccessToken(answer["token"], int(datetime.fromisoformat(answer["expiresOn"]).timestamp()))
        claims = re.search(r'claims="([^"]+)"', response.headers.get("WWW-Authenticate", ""))
        retry_after = int(response.headers.get("Retry-After", 0))
        if response.status_code == 401 and claims and not challenged:
            challenged = True
            token = entra_token(base64.b64decode(claims[1]).decode())
        elif response.status_code in (429, 503) and retry_after <= 60 and attempt < 4:
            attempt += 1
            time.sleep(retry_after)
        else:
            raise BrokerError(response)
