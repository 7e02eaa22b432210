// MSAL as a front end: the code flow by hand-driven pages, device code, password, silent sign-in, refresh, step-up.
import assert from "node:assert/strict";
import {
  ConfidentialClientApplication, CryptoProvider, InteractionRequiredAuthError, PublicClientApplication,
} from "@azure/msal-node";
import { EMULATOR, claims } from "./common.js";
import { ACS_CLIENTS, API, SECRET, TENANT } from "./entra.js";

const CLIENT = "c0a5a990-0000-4000-8000-000000000003";
const VOIP = "https://communication.azure.com/clients/VoIP";
const ACCESS = `api://${API.clientId}/access`;
const REDIRECT = "http://localhost:3000/auth";
const knownAuthorities = [new URL(EMULATOR).host];

const application = (tenant) =>
  new PublicClientApplication({ auth: { clientId: CLIENT, authority: `${EMULATOR}/${tenant}`, knownAuthorities } });

/** Chooses a user on the sign-in page as a browser would: the form holds the whole request. */
async function signIn(app, user, scopes, { claims: requested, answers = {} } = {}) {
  const { verifier, challenge } = await new CryptoProvider().generatePkceCodes();
  const request = { scopes, redirectUri: REDIRECT, claims: requested };
  const url = await app.getAuthCodeUrl({
    ...request, codeChallenge: challenge, codeChallengeMethod: "S256", nonce: "n", state: "s",
  });
  const page = await fetch(url);
  assert.match(await page.text(), /Adele Vance/);
  const body = new URLSearchParams(new URL(url).searchParams);
  for (const [name, value] of Object.entries({ _user: user, ...answers })) body.set(name, value);
  const sent = await fetch(url.split("?")[0], { method: "POST", body, redirect: "manual" });
  const { searchParams } = new URL(sent.headers.get("location"));
  return app.acquireTokenByCode(
    { ...request, code: searchParams.get("code"), codeVerifier: verifier, nonce: "n", state: "s" },
    { state: searchParams.get("state") },
  );
}

const refusal = (promise) => promise.then(() => assert.fail("it was granted"), (error) => error);

for (const tenant of ["common", "organizations", "fabrikam.com", TENANT]) {
  const app = application(tenant);
  const result = await signIn(app, "adele", [VOIP]);
  assert.equal(result.account.username, "adele@fabrikam.com");
  assert.equal(claims(result.accessToken).scp, "VoIP");
  const { account } = result;
  const cached = await app.acquireTokenSilent({ account, scopes: [VOIP] });
  assert.deepEqual([cached.accessToken, cached.fromCache], [result.accessToken, true]);
  const refreshed = await app.acquireTokenSilent({ account, scopes: [VOIP], forceRefresh: true });
  assert.notEqual(refreshed.accessToken, result.accessToken);
  const other = await app.acquireTokenSilent({ account, scopes: [ACCESS] });
  assert.equal(claims(other.accessToken).aud, API.clientId);
}

const device = await application("common").acquireTokenByDeviceCode({
  scopes: [VOIP],
  deviceCodeCallback: async ({ userCode, verificationUri }) => {
    const body = new URLSearchParams({ user_code: userCode, _user: "alex" });
    assert.match(await (await fetch(verificationUri, { method: "POST", body })).text(), /You have signed in/);
  },
});
assert.equal(device.account.username, "alex@fabrikam.com");

const organizations = application("organizations");
const diego = { username: "diego@contoso.com", password: "Emulated-Pa55" };
const { account } = await organizations.acquireTokenByUsernamePassword({ scopes: [VOIP], ...diego });
assert.equal(account.username, diego.username);
assert.ok(await organizations.acquireTokenSilent({ account, scopes: [VOIP], forceRefresh: true }));

// Conditional access: the broker's challenge, no way around the page, and a sign-in that satisfies it.
const app = application("common");
const joni = await signIn(app, "joni", [ACCESS]);
const broker = new ConfidentialClientApplication({
  auth: { clientId: API.clientId, clientSecret: SECRET, authority: `${EMULATOR}/${TENANT}`, knownAuthorities },
});
const onBehalf = (oboAssertion) => broker.acquireTokenOnBehalfOf({ oboAssertion, scopes: [ACS_CLIENTS] });
const challenge = await refusal(onBehalf(joni.accessToken));
assert.ok(challenge instanceof InteractionRequiredAuthError, challenge);
const silent = app.acquireTokenSilent({ account: joni.account, scopes: [ACCESS], claims: challenge.claims });
assert.ok((await refusal(silent)) instanceof InteractionRequiredAuthError);
const steppedUp = await signIn(app, "joni", [ACCESS], { claims: challenge.claims, answers: { _verified: "yes" } });
assert.deepEqual(claims(steppedUp.accessToken).acrs, ["c1"]);
assert.ok(await onBehalf(steppedUp.accessToken));
