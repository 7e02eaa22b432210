// MSAL as the broker's app: on-behalf-of and client credentials, with a secret and with a certificate.
import assert from "node:assert/strict";
import { ConfidentialClientApplication, InteractionRequiredAuthError, ServerError } from "@azure/msal-node";
import { EMULATOR } from "./common.js";
import {
  ACS_CLIENTS, API, GRAPH, SECRET, TENANT, claims, exchanged, memberGroups, registerCertificate, userToken,
} from "./entra.js";

const CALLERS = "fab00000-0000-4000-8000-00000000ca11";

function application(credential) {
  return new ConfidentialClientApplication({
    auth: {
      clientId: API.clientId,
      authority: `${EMULATOR}/${TENANT}`,
      knownAuthorities: [new URL(EMULATOR).host],
      ...credential,
    },
  });
}

const certificate = await registerCertificate();
for (const [acr, credential] of [
  ["1", { clientSecret: SECRET }],
  ["2", { clientCertificate: certificate }],
]) {
  const app = application(credential);
  const assertion = await userToken("adele");
  const onBehalf = await app.acquireTokenOnBehalfOf({ oboAssertion: assertion, scopes: [ACS_CLIENTS] });
  const [incoming, outgoing] = [claims(assertion), claims(onBehalf.accessToken)];
  assert.equal(outgoing.azp, API.clientId);
  assert.equal(outgoing.azpacr, acr);
  assert.deepEqual([outgoing.tid, outgoing.oid], [incoming.tid, incoming.oid]);
  // It counts from when it asked.
  assert.ok(Math.abs(onBehalf.expiresOn.getTime() / 1000 - outgoing.exp) < 60);
  assert.deepEqual(onBehalf.scopes, [
    "https://communication.azure.com/clients/VoIP", "https://communication.azure.com/clients/VoIP.Join",
  ]);
  assert.equal(await exchanged(onBehalf.accessToken), 200);

  const own = await app.acquireTokenByClientCredential({ scopes: [GRAPH] });
  assert.equal(claims(own.accessToken).aud, "https://graph.microsoft.com");
  assert.deepEqual(await memberGroups(own.accessToken, [CALLERS, TENANT]), [CALLERS]);
}

const app = application({ clientSecret: SECRET });
const refusal = (promise) => promise.then(() => assert.fail("it was granted"), (error) => error);

// Conditional access: MSAL tells what the user must do by the claims.
const joni = await userToken("joni");
const challenge = await refusal(app.acquireTokenOnBehalfOf({ oboAssertion: joni, scopes: [ACS_CLIENTS] }));
assert.ok(challenge instanceof InteractionRequiredAuthError, challenge);
assert.equal(challenge.errorCode, "invalid_grant");
assert.equal(challenge.subError, "basic_action");
assert.match(challenge.errorMessage, /AADSTS50076/);
assert.deepEqual(JSON.parse(challenge.claims), { access_token: { acrs: { essential: true, value: "c1" } } });
const steppedUp = await userToken("joni", { acrs: ["c1"] });
const granted = await app.acquireTokenOnBehalfOf({ oboAssertion: steppedUp, scopes: [ACS_CLIENTS] });
assert.equal(await exchanged(granted.accessToken), 200);

// A token that is for another API, and one that has ended.
const forAcs = await refusal(
  app.acquireTokenOnBehalfOf({ oboAssertion: await userToken("alex", { audience: "acs" }), scopes: [ACS_CLIENTS] }),
);
assert.match(forAcs.errorMessage, /AADSTS500131/);
const ended = await refusal(
  app.acquireTokenOnBehalfOf({ oboAssertion: await userToken("alex", { lifetime: -600 }), scopes: [ACS_CLIENTS] }),
);
assert.match(ended.errorMessage, /AADSTS500133/);

const wrong = application({ clientSecret: "wrong" });
const denied = await refusal(wrong.acquireTokenByClientCredential({ scopes: [GRAPH] }));
assert.ok(denied instanceof ServerError, denied);
assert.equal(denied.errorCode, "invalid_client");
assert.match(denied.errorMessage, /AADSTS7000215/);
