// The identity SDK exchanges a Teams user's Entra token at the emulated resource, as a service of the application does it.
import assert from "node:assert/strict";
import { CommunicationIdentityClient } from "@azure/communication-identity";
import { CONNECTION_STRING, EMULATOR, claims, json } from "./common.js";

const client = new CommunicationIdentityClient(CONNECTION_STRING);
const mint = async (body) => (await json("POST", `${EMULATOR}/_emulator/users/alex/token`, body)).access_token;

const scopes = ["Teams.ManageCalls", "Teams.ManageChats"];
const entraToken = await mint({ audience: "teams", scopes });
const { azp, oid, exp, aud, scp } = claims(entraToken);
assert.equal(aud, "1fd5118e-2576-4263-8130-9503064c837a");
assert.equal(scp, scopes.join(" "));

const options = { teamsUserAadToken: entraToken, clientId: azp, userObjectId: oid };
const issued = await client.getTokenForTeamsUser(options);
assert.equal(claims(issued.token).skypeid, `orgid:${oid}`);
assert.equal(Math.floor(issued.expiresOn.getTime() / 1000), exp, "it ends with the Entra token");

const other = { ...options, userObjectId: azp };
await assert.rejects(client.getTokenForTeamsUser(other), { statusCode: 400 }, "another user's id");
const foreign = { ...options, teamsUserAadToken: await mint({}) };
await assert.rejects(client.getTokenForTeamsUser(foreign), { statusCode: 401 }, "a token for ACS Clients");
const phone = { ...options, teamsUserAadToken: await mint({ audience: "teams", scopes: ["TeamsExtension.ManageCalls"] }) };
await assert.rejects(client.getTokenForTeamsUser(phone), { statusCode: 401 }, "a token for Teams Phone extension");
