// The scopes given to the credential are those that Entra is asked for, and the ACS token has them.
import assert from "node:assert/strict";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { BROKER, DemoUser, claims } from "./common.js";

async function tokenWith(user, scopes) {
  const credential = new AzureCommunicationTokenCredential({ resourceEndpoint: BROKER, tokenCredential: user, scopes });
  try {
    return await credential.getToken();
  } finally {
    credential.dispose();
  }
}

const byDefault = new DemoUser("alex");
const usual = await tokenWith(byDefault, undefined);
assert.deepEqual(byDefault.asked, [["https://communication.azure.com/clients/.default"]]);
assert.equal(claims(usual.token).acsScope, "voip,voip.join");

const scopes = ["https://communication.azure.com/clients/VoIP.Join"];
const guest = new DemoUser("alex");
const narrow = await tokenWith(guest, scopes);
assert.deepEqual(guest.asked, [scopes]);
assert.equal(claims(narrow.token).acsScope, "voip.join", "the wider token in the cache was not given out");

const chatter = new DemoUser("alex");
await assert.rejects(
  tokenWith(chatter, ["https://communication.azure.com/clients/Chat"]),
  /Status: 403, Body: .*"InsufficientScope"/,
  "none of the scopes that the broker requires",
);
