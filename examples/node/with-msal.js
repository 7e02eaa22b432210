// The program calls `POST /token` (`tokenRefresher`): works in every mode of the broker, and with claims challenges.
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { InteractionRequiredAuthError, PublicClientApplication } from "@azure/msal-node";
import { authority, broker, clientId, scope } from "./config.js";

const msal = new PublicClientApplication({
  auth: { clientId, authority: authority.href, knownAuthorities: [authority.host] },
});
let account;

/** From MSAL's cache, renewed, or with the user's help. */
async function entraToken({ claims, forceRefresh } = {}) {
  const request = { scopes: [scope], claims };
  if (account) {
    try {
      return (await msal.acquireTokenSilent({ ...request, account, forceRefresh })).accessToken;
    } catch (error) {
      if (!(error instanceof InteractionRequiredAuthError)) throw error;
    }
  }
  const result = await msal.acquireTokenByDeviceCode({
    ...request,
    deviceCodeCallback: ({ message }) => console.log(message),
  });
  account = result.account;
  return result.accessToken;
}

async function tokenRefresher() {
  let token = await entraToken();
  let newToken = false;
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(`${broker}/token`, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    if (response.ok) {
      const { accessToken } = await response.json();
      // The end comes from the answer: an ACS token may be encrypted.
      return { token: accessToken.token, expiresOnTimestamp: Date.parse(accessToken.expiresOn) };
    }
    const retryAfter = Number(response.headers.get("Retry-After"));
    if (response.status === 401 && !newToken) {
      newToken = true;
      const claims = /claims="([^"]+)"/.exec(response.headers.get("WWW-Authenticate"))?.[1];
      token = await entraToken({ claims: claims && atob(claims), forceRefresh: true });
    } else if ((response.status === 429 || response.status === 503) && retryAfter <= 60 && attempt < 4) {
      await new Promise((resolve) => setTimeout(resolve, retryAfter * 1000));
    } else {
      const { error } = await response.json();
      throw new Error(`${error.code}: ${error.message} (request ${response.headers.get("x-ms-request-id")})`);
    }
  }
}

const credential = new AzureCommunicationTokenCredential({ tokenRefresher });
try {
  const { expiresOnTimestamp } = await credential.getToken();
  console.log(`ACS token until ${new Date(expiresOnTimestamp).toISOString()}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  credential.dispose();
}
