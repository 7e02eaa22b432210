"""call.py BROKER ENTRA_TOKEN: one call with the client of openapi-python-client. Prints as ../js/call.ts does."""

import sys

from broker.models import AccessTokenResult
from broker.types import Unset
from generated import acs_token

answer = acs_token(sys.argv[1], sys.argv[2])
if isinstance(answer, AccessTokenResult):
    print(200, answer.access_token.token.count(".") + 1, int(answer.access_token.expires_on.timestamp()))
else:
    status, body, retry_after = answer
    inner = body.error.innererror
    print(int(status), body.error.code, "-" if isinstance(inner, Unset) else inner.code, retry_after or "-")
