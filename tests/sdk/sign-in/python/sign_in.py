"""msal and azure-identity as front ends: code flow, device code, password, silent, refresh."""

import html
import os
import re
import threading
import webbrowser
from urllib.parse import parse_qsl, urlsplit

import msal
import requests
from azure.identity import DeviceCodeCredential, InteractiveBrowserCredential, UsernamePasswordCredential

EMULATOR = os.environ["EMULATOR"]
CLIENT = "c0a5a990-0000-4000-8000-000000000003"
VOIP = "https://communication.azure.com/clients/VoIP"
USER, PASSWORD = "adele@fabrikam.com", "Emulated-Pa55"


def application(tenant):
    return msal.PublicClientApplication(CLIENT, authority=f"{EMULATOR}/{tenant}", instance_discovery=False)


def choose(url, user):
    """Posts the sign-in page's form."""
    fields = dict(parse_qsl(urlsplit(url).query)) | {"_user": user}
    return requests.post(url.split("?")[0], data=fields, allow_redirects=False, timeout=10)


def check_silent(app, token):
    account = app.get_accounts()[0]
    assert app.acquire_token_silent([VOIP], account=account)["access_token"] == token
    assert app.acquire_token_silent([VOIP], account=account, force_refresh=True)["access_token"] != token


for tenant in ["common", "organizations", "fabrikam.com"]:
    app = application(tenant)
    flow = app.initiate_auth_code_flow([VOIP], redirect_uri="http://localhost:3000/auth")
    back = choose(flow["auth_uri"], "adele").headers["location"]
    result = app.acquire_token_by_auth_code_flow(flow, dict(parse_qsl(urlsplit(back).query)))
    assert result["id_token_claims"]["preferred_username"] == USER, result
    check_silent(app, result["access_token"])
print("msal: code, silent, refresh")

app = application("common")
flow = app.initiate_device_flow([VOIP])
requests.post(flow["verification_uri"], data={"user_code": flow["user_code"], "_user": "alex"}, timeout=10)
assert app.acquire_token_by_device_flow(flow)["id_token_claims"]["name"] == "Alex Wilber"
print("msal: device code")

# msal asks for the user realm at the authority's host without its port.
if urlsplit(EMULATOR).port in (None, 443):
    app = application("organizations")
    result = app.acquire_token_by_username_password(USER, PASSWORD, [VOIP])
    check_silent(app, result["access_token"])
    print("msal: password")

options = {"authority": EMULATOR, "disable_instance_discovery": True}


def prompt(uri, code, _):
    requests.post(uri, data={"user_code": code, "_user": "adele"}, timeout=10)


credential = DeviceCodeCredential(client_id=CLIENT, tenant_id="fabrikam.com", prompt_callback=prompt, **options)
assert credential.get_token(VOIP).token
print("azure-identity: device code")

if urlsplit(EMULATOR).port in (None, 443):
    credential = UsernamePasswordCredential(CLIENT, USER, PASSWORD, tenant_id="fabrikam.com", **options)
    assert credential.get_token(VOIP).token
    print("azure-identity: password")


class Hand(webbrowser.BaseBrowser):
    """Chooses Adele, and posts what the emulator's `form_post` page posts by script."""

    def open(self, url, new=0, autoraise=True):
        threading.Thread(target=self.sign_in, args=[url]).start()
        return True

    @staticmethod
    def sign_in(url):
        page = choose(url, "adele").text
        fields = re.findall(r'name="([^"]*)" value="([^"]*)"', page)
        target = html.unescape(re.search(r'action="([^"]*)"', page).group(1))
        data = {html.unescape(name): html.unescape(value) for name, value in fields}
        requests.post(target, data=data, timeout=10)


webbrowser.register("hand", None, Hand("hand"), preferred=True)
credential = InteractiveBrowserCredential(client_id=CLIENT, tenant_id="organizations", **options)
assert credential.authenticate(scopes=[VOIP]).username == USER
assert credential.get_token(VOIP).token
print("azure-identity: browser")
