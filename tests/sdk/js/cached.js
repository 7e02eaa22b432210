// A user's second credential, as another device or tab has one, is served without another exchange.
import assert from "node:assert/strict";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { BROKER, DemoUser, exchanges } from "./common.js";

async function tokenOf(user) {
  const credential = new AzureCommunicationTokenCredential({ resourceEndpoint: BROKER, tokenCredential: user });
  try {
    return await credential.getToken();
  } finally {
    credential.dispose();
  }
}

const alex = new DemoUser("alex");
const first = await tokenOf(alex);
const second = await tokenOf(alex);
assert.deepEqual(second, first);
assert.equal(await exchanges(), 1);

await tokenOf(new DemoUser("diego"));
assert.equal(await exchanges(), 2, "another user has an exchange of his own");
