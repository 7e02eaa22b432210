// The identity SDK with an Entra credential in place of the access key.
import assert from "node:assert/strict";
import { CommunicationIdentityClient } from "@azure/communication-identity";
import { ClientSecretCredential } from "@azure/identity";
import { EMULATOR } from "./common.js";
import { API, CONTOSO, SECRET, TENANT } from "./entra.js";

const options = { authorityHost: EMULATOR, disableInstanceDiscovery: true };
const client = (tenant) =>
  new CommunicationIdentityClient(EMULATOR, new ClientSecretCredential(tenant, API.clientId, SECRET, options));

const { user, token } = await client(CONTOSO).createUserAndToken(["voip"], { tokenExpiresInMinutes: 60 });
assert.match(user.communicationUserId, /^8:acs:/);
assert.ok(token);
await client(CONTOSO).deleteUser(user);
await assert.rejects(client(TENANT).createUser(), { statusCode: 401 }, "the resource is in another tenant");
