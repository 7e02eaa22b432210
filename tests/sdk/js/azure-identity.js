// Azure Identity's credentials, each as an application configures it.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ClientCertificateCredential, ClientSecretCredential, ManagedIdentityCredential, OnBehalfOfCredential,
  WorkloadIdentityCredential,
} from "@azure/identity";
import { EMULATOR, json } from "./common.js";
import {
  ACS_CLIENTS, API, CERTIFICATE_FILE, GRAPH, IDENTITY, SECRET, TENANT, claims, exchanged, registerCertificate,
  userToken,
} from "./entra.js";

const options = { authorityHost: EMULATOR, disableInstanceDiscovery: true };
await registerCertificate();

// Those that give the app's own tokens.
const folder = mkdtempSync(join(tmpdir(), "acs-token-broker-"));
try {
  const tokenFilePath = join(folder, "token");
  writeFileSync(tokenFilePath, (await json("POST", `${EMULATOR}/_emulator/federated-token`, {})).token);
  for (const credential of [
    new ClientSecretCredential(TENANT, API.clientId, SECRET, options),
    new ClientCertificateCredential(TENANT, API.clientId, CERTIFICATE_FILE, options),
    new WorkloadIdentityCredential({ tenantId: TENANT, clientId: API.clientId, tokenFilePath, ...options }),
  ]) {
    const token = await credential.getToken(GRAPH);
    const told = claims(token.token);
    assert.equal(told.appid, API.clientId, credential.constructor.name);
    assert.deepEqual(told.roles.slice(0, 2), ["GroupMember.Read.All", "User.Read.All"]);
    // It counts from when it asked.
    assert.ok(Math.abs(token.expiresOnTimestamp / 1000 - told.exp) < 60);
  }
} finally {
  rmSync(folder, { recursive: true });
}
const wrong = new ClientSecretCredential(TENANT, API.clientId, "wrong", options);
await assert.rejects(wrong.getToken(GRAPH), /AADSTS7000215/);

// On behalf of a user.
for (const credential of [{ clientSecret: SECRET }, { certificatePath: CERTIFICATE_FILE }]) {
  const onBehalf = new OnBehalfOfCredential({
    tenantId: TENANT,
    clientId: API.clientId,
    userAssertionToken: await userToken("nestor"),
    ...credential,
    ...options,
  });
  assert.equal(await exchanged((await onBehalf.getToken(ACS_CLIENTS)).token), 200);
}

// A managed identity, in the form of App Service and in that of virtual machines.
process.env.IDENTITY_ENDPOINT = IDENTITY.identityEndpoint;
process.env.IDENTITY_HEADER = IDENTITY.identityHeader;
const appService = await new ManagedIdentityCredential({ clientId: IDENTITY.clientId }).getToken(GRAPH);
assert.equal(claims(appService.token).oid, IDENTITY.principalId);
delete process.env.IDENTITY_ENDPOINT;
delete process.env.IDENTITY_HEADER;
process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST = EMULATOR;
const machine = await new ManagedIdentityCredential({ clientId: IDENTITY.clientId }).getToken("api://AzureADTokenExchange");
assert.equal(claims(machine.token).sub, IDENTITY.principalId);
const { counts } = await json("GET", `${EMULATOR}/_emulator/journal`);
assert.ok(counts.managed_identity >= 2);
