// Microsoft's Graph client against the emulated Graph, as an administrator's script has it: the administrators' steps, lists
// in pages, refusals, a limit.
import assert from "node:assert/strict";
import { Client, GraphError, PageIterator } from "@microsoft/microsoft-graph-client";
import { EMULATOR, json } from "./common.js";
import { API, CONTOSO, TENANT } from "./entra.js";

const ACS_CLIENTS = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
const APP = "c0a5a990-0000-4000-8000-000000000003";
const CALLERS = "fab00000-0000-4000-8000-00000000ca11";

/** A client with a demo user's token; the library sends it to the hosts that it is given alone. */
async function graph(user, request = {}) {
  const url = `${EMULATOR}/_emulator/users/${user}/token`;
  const { access_token: token } = await json("POST", url, { audience: "graph", ...request });
  return Client.init({
    baseUrl: `${EMULATOR}/`,
    customHosts: new Set([new URL(EMULATOR).hostname]),
    authProvider: (done) => done(null, token),
  });
}

async function step(method, name) {
  const response = await fetch(`${EMULATOR}/_emulator/steps/${name}`, { method });
  assert.equal(response.status, 204);
}

const steps = async () =>
  Object.fromEntries((await json("GET", `${EMULATOR}/_emulator/steps`)).map(({ step, done }) => [step, done]));

async function refusal(promise, status, code) {
  const error = await promise.then(() => assert.fail("it was answered"), (error) => error);
  assert.ok(error instanceof GraphError, error);
  assert.deepEqual([error.statusCode, error.code], [status, code]);
  return error;
}

for (const name of ["acs-clients-principal", "permissions", "consent", "group-assignment"]) await step("DELETE", name);
const [contoso, fabrikam] = [await graph("isaiah"), await graph("patti")];
assert.equal((await contoso.api("/organization").get()).value[0].id, CONTOSO);

const byKey = `/servicePrincipals(appId='${ACS_CLIENTS}')`;
await refusal(fabrikam.api(byKey).get(), 404, "Request_ResourceNotFound");
for (const client of [contoso, fabrikam]) {
  const made = await client.api("/servicePrincipals").post({ appId: ACS_CLIENTS });
  const { value } = await client.api("/servicePrincipals").filter(`appId eq '${ACS_CLIENTS}'`).get();
  assert.deepEqual(value.map(({ id }) => id), [made.id]);
  await refusal(client.api("/servicePrincipals").post({ appId: ACS_CLIENTS }), 409, "Request_MultipleObjectsWithSameKeyValue");
}

const clients = await contoso.api(byKey).select(["id", "oauth2PermissionScopes"]).get();
const resourceAccess = clients.oauth2PermissionScopes
  .filter(({ value }) => ["VoIP", "VoIP.Join"].includes(value))
  .map(({ id }) => ({ id, type: "Scope" }));
for (const appId of [APP, API.clientId]) {
  const { value: [app] } = await contoso.api("/applications").filter(`appId eq '${appId}'`).get();
  const requiredResourceAccess = [...app.requiredResourceAccess, { resourceAppId: ACS_CLIENTS, resourceAccess }];
  await contoso.api(`/applications/${app.id}`).patch({ requiredResourceAccess });
  const after = await contoso.api(`/applications/${app.id}`).get();
  assert.deepEqual(after.requiredResourceAccess, requiredResourceAccess);
}

const { id: resourceId } = await fabrikam.api(byKey).get();
const assignment = { principalId: CALLERS, resourceId, appRoleId: "00000000-0000-0000-0000-000000000000" };
const made = await fabrikam.api(`/servicePrincipals/${resourceId}/appRoleAssignedTo`).post(assignment);
assert.equal(made.principalDisplayName, "Fabrikam Callers");

// Consent is the administrator's own click.
const form = new URLSearchParams({ client_id: APP, _consent: "given" });
const page = await fetch(`${EMULATOR}/${TENANT}/adminconsent`, { method: "POST", body: form });
assert.match(await page.text(), /The permissions are granted/);
const { value: [app] } = await fabrikam.api("/servicePrincipals").filter(`appId eq '${APP}'`).get();
const grants = await fabrikam.api("/oauth2PermissionGrants").filter(`clientId eq '${app.id}'`).get();
assert.ok(grants.value.some((grant) => grant.resourceId === resourceId && grant.consentType === "AllPrincipals"));
assert.ok(Object.values(await steps()).every(Boolean), await steps());

// Pages, by the client's own iterator.
const names = [];
const first = await fabrikam.api(`/groups/${CALLERS}/members`).top(1).get();
assert.equal(first.value.length, 1);
await new PageIterator(fabrikam, first, ({ displayName }) => names.push(displayName)).iterate();
assert.ok(names.includes("Fabrikam Night Shift") && names.includes("Adele Vance"), names);
const { value: [sku] } = await fabrikam.api("/subscribedSkus").get();
assert.equal(sku.servicePlans[0].servicePlanName, "AAD_PREMIUM_P2");

await refusal(fabrikam.api("/servicePrincipals").filter("appId").get(), 400, "BadRequest");
const adele = await graph("adele");
await refusal(adele.api("/servicePrincipals").get(), 403, "Authorization_RequestDenied");
const reader = await graph("patti", { scopes: ["Application.Read.All"] });
await refusal(reader.api("/subscribedSkus").get(), 403, "Authorization_RequestDenied");

// A limit is waited for, once.
await json("PUT", `${EMULATOR}/_emulator/faults`, { graph: { status: 429, retry_after: 1, times: 1 } });
assert.equal((await fabrikam.api("/organization").get()).value[0].id, TENANT);
