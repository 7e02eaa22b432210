// node refused.js USER: the credential fails, and its error tells a developer what the broker said.
import assert from "node:assert/strict";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { BROKER, DemoUser } from "./common.js";

const user = new DemoUser(process.argv[2]);
const credential = new AzureCommunicationTokenCredential({ resourceEndpoint: BROKER, tokenCredential: user });
const error = await credential.getToken().then(
  () => assert.fail("a user who is not assigned got a token"),
  (error) => error,
);
credential.dispose();

const told = /^Service request failed\. Status: 403, Body: (.*)$/s.exec(error.message);
assert.ok(told, error.message);
const body = JSON.parse(told[1]);
// In passthrough mode the user's groups are not known, so it is ACS that refuses.
assert.ok(["NotAssigned", "ExchangeForbidden"].includes(body.error.code), told[1]);
assert.match(body.error.message, /operator/, "it says what to do next");
assert.equal(user.asked.length, 1, "a refusal is not tried again");
