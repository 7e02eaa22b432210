"""recipe.py none|basic BROKER ENTRA_TOKEN: Authlib as the recipe has it, or with a secret and no method set.

Prints as ../js/recipe.mjs does.
"""

import sys

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from recipe_authlib import acs_token, new_client

method, broker, entra_token = sys.argv[1:]
client = OAuth2Session("contoso-web", "not a secret") if method == "basic" else new_client()
try:
    token = acs_token(client, broker, entra_token)
    print(200, token["access_token"].count(".") + 1, token["expires_at"])
except AuthlibBaseError as error:
    # The status is not kept. RFC 6749 section 5.2 ties invalid_client to 401.
    print(401 if error.error == "invalid_client" else 400, error.error, error.description)
