// A page whose users sign in with Azure Identity, as it is, in the two ways of the README: the SDK with the broker as
// `resourceEndpoint`, and plain HTTP. `?redirect` signs in by redirect in place of a popup.
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { InteractiveBrowserCredential } from "@azure/identity";

const { VITE_BROKER: broker, VITE_AUTHORITY: authority } = import.meta.env;
const scope = "https://communication.azure.com/clients/VoIP";
const isRedirect = location.search === "?redirect";

const tokenCredential = new InteractiveBrowserCredential({
  clientId: "c0a5a990-0000-4000-8000-000000000003",
  // Where the answer of a popup arrives; a redirect comes back to the page itself.
  redirectUri: isRedirect ? location.href : new URL("redirect.html", location.href).href,
  loginStyle: isRedirect ? "redirect" : "popup",
  // At Azure neither of these is set.
  authorityHost: authority,
  disableInstanceDiscovery: true,
});

const ways = {
  async http() {
    const { token } = await tokenCredential.getToken(scope);
    const answer = await fetch(`${broker}/token`, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    const body = await answer.json();
    return `${answer.status} ${body.identity?.id ?? body.error.code}`;
  },
  async sdk() {
    const credential = new AzureCommunicationTokenCredential({ resourceEndpoint: broker, tokenCredential, scopes: [scope] });
    const { expiresOnTimestamp } = await credential.getToken();
    return `until ${new Date(expiresOnTimestamp).toISOString()}`;
  },
};

const status = document.querySelector("[role=status]");
async function show(way) {
  status.textContent = "…";
  status.textContent = await ways[way]().catch((error) => `${error.name}: ${error.message}`);
}
for (const way of Object.keys(ways)) {
  document.getElementById(way).addEventListener("click", () => show(way));
}
// Back from the sign-in.
if (isRedirect && location.hash) await show("http");
