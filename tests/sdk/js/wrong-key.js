// A connection string with another access key opens nothing.
import assert from "node:assert/strict";
import { CommunicationIdentityClient } from "@azure/communication-identity";
import { CONNECTION_STRING } from "./common.js";

const key = Buffer.from("not the key of this resource").toString("base64");
const client = new CommunicationIdentityClient(CONNECTION_STRING.replace(/accesskey=.*/, `accesskey=${key}`));
await assert.rejects(client.createUser(), { statusCode: 401 });
