// The identity SDK manages identities at the emulated resource with the resource's connection string.
import assert from "node:assert/strict";
import { CommunicationIdentityClient } from "@azure/communication-identity";
import { CONNECTION_STRING, claims } from "./common.js";

const client = new CommunicationIdentityClient(CONNECTION_STRING);

const user = await client.createUser();
assert.match(user.communicationUserId, /^8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}$/);

const issued = await client.getToken(user, ["chat", "voip"], { tokenExpiresInMinutes: 60 });
assert.equal(claims(issued.token).acsScope, "chat,voip");
assert.equal(`8:${claims(issued.token).skypeid}`, user.communicationUserId);
assert.equal(Math.floor(issued.expiresOn.getTime() / 1000), claims(issued.token).exp);
assert.ok(Math.abs(issued.expiresOn - Date.now() - 3_600_000) < 60_000, "it lives an hour");

const both = await client.createUserAndToken(["voip"]);
assert.notEqual(both.user.communicationUserId, user.communicationUserId);
assert.equal(`8:${claims(both.token).skypeid}`, both.user.communicationUserId);
assert.ok(Math.abs(both.expiresOn - Date.now() - 86_400_000) < 60_000, "it lives a day");

await client.revokeTokens(user);
await client.deleteUser(user);
await assert.rejects(client.getToken(user, ["chat"]), { statusCode: 404 }, "a deleted identity gets no token");
