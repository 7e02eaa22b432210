// node credential.js USER: the credential gets the user an ACS token that ends when his Entra token ends.
import assert from "node:assert/strict";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { BROKER, DemoUser, claims, exchanges } from "./common.js";

const user = new DemoUser(process.argv[2]);
const credential = new AzureCommunicationTokenCredential({ resourceEndpoint: BROKER, tokenCredential: user });
const token = await credential.getToken();
credential.dispose();

const entra = claims(user.entraToken);
const acs = claims(token.token);
assert.equal(token.expiresOnTimestamp, entra.exp * 1000, "the ACS token ends with the Entra token");
assert.equal(acs.exp, entra.exp, "the token says the same as the answer around it");
assert.equal(acs.skypeid, `acs:${acs.resourceId}_wf_${entra.tid}_${entra.oid}`, "the token is this user's");
assert.equal(await exchanges(), 1);
