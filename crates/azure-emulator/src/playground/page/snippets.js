// @ts-check
/** The same request as code to copy. No snippet holds a token. */

/** @import { Mode, User } from "./types" */

/**
 * @param {Mode} mode @param {User} user @param {string} clientId
 * @returns {{name: string, text: string}[]}
 */
export function snippets(mode, user, clientId) {
  const scopes = JSON.stringify(mode.scopes);
  const authority = `${location.origin}/${user.tenantId}`;
  return [
    {
      name: "curl",
      text: `# $TOKEN is the user's Entra access token
curl -i -X POST ${mode.broker}/token \\
  -H "Authorization: Bearer $TOKEN"`,
    },
    {
      name: "fetch",
      text: `const { accessToken } = await msal.acquireTokenSilent({ scopes: ${scopes}, account });
const response = await fetch("${mode.broker}/token", {
  method: "POST",
  headers: { Authorization: \`Bearer \${accessToken}\` },
});
if (!response.ok) throw await response.json(); // error.code says why
const { identity, accessToken: acs } = await response.json();
const credential = new AzureCommunicationTokenCredential(acs.token);`,
    },
    {
      name: "SDK, as resourceEndpoint",
      text: `import { InteractiveBrowserCredential } from "@azure/identity";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";

const tokenCredential = new InteractiveBrowserCredential({
  clientId: "${clientId}",
  tenantId: "${user.tenantId}",
  redirectUri: \`\${location.origin}/redirect.html\`, // hands the answer to your page: examples/web/redirect.html
  authorityHost: "${location.origin}", // only for the emulator
  disableInstanceDiscovery: true, // only for the emulator
});
const credential = new AzureCommunicationTokenCredential({
  resourceEndpoint: "${mode.broker}",
  tokenCredential,
  scopes: ${scopes},
});`,
    },
    {
      name: "SDK, with a refresher",
      text: `import { PublicClientApplication } from "@azure/msal-browser";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";

const msal = new PublicClientApplication({
  auth: { clientId: "${clientId}", authority: "${authority}" },
});
const credential = new AzureCommunicationTokenCredential({
  refreshProactively: true,
  tokenRefresher: async () => {
    const { accessToken } = await msal.acquireTokenSilent({ scopes: ${scopes}, account });
    const response = await fetch("${mode.broker}/token", {
      method: "POST",
      headers: { Authorization: \`Bearer \${accessToken}\` },
    });
    if (!response.ok) throw new Error((await response.json()).error.code);
    const { accessToken: acs } = await response.json();
    return { token: acs.token, expiresOnTimestamp: Date.parse(acs.expiresOn) };
  },
});`,
    },
  ];
}
