// What the scripts share that speak to the emulated Entra with Microsoft's own libraries, as the broker's app
// registration does.
import { readFileSync } from "node:fs";
import { EMULATOR, claims, json } from "./common.js";

/** The tenant of the demo users. */
export const TENANT = "fab00000-0000-4000-8000-000000000002";
/** The tenant of the Communication Services resource. */
export const CONTOSO = "c0a50000-0000-4000-8000-000000000001";
/** The scope that on-behalf-of asks for. */
export const ACS_CLIENTS = "https://communication.azure.com/clients/.default";
export const GRAPH = "https://graph.microsoft.com/.default";

const apps = await json("GET", `${EMULATOR}/_emulator/apps`);
/** The broker's app registration. */
export const API = apps.apiApp;
export const SECRET = API.secrets[0];
export const IDENTITY = apps.managedIdentity;

/** A file with a certificate and its private key. */
export const CERTIFICATE_FILE = process.env.CERTIFICATE_FILE;

/** Registers the certificate with the broker's app; gives it with its key and thumbprint. */
export async function registerCertificate() {
  const pem = readFileSync(CERTIFICATE_FILE, "utf8");
  const response = await fetch(`${EMULATOR}/_emulator/apps/${API.clientId}/certificates`, { method: "POST", body: pem });
  if (response.status !== 201) throw new Error(await response.text());
  const described = await response.json();
  return {
    thumbprintSha256: Buffer.from(described["x5t#S256"], "base64url").toString("hex"),
    privateKey: /-----BEGIN PRIVATE KEY-----[^]*-----END PRIVATE KEY-----/.exec(pem)[0],
  };
}

/** A demo user's token for the broker's own API. */
export async function userToken(name, more = {}) {
  const body = { audience: "api", ...more };
  return (await json("POST", `${EMULATOR}/_emulator/users/${name}/token`, body)).access_token;
}

/** Exchanges an Entra token at the emulated ACS; gives the status. */
export async function exchanged(token) {
  const url = `${EMULATOR}/access/entra/:exchangeAccessToken?api-version=2025-03-02-preview`;
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  return (await fetch(url, { method: "POST", headers, body: "{}" })).status;
}

/** Asks the emulated Graph which of some groups a user is in. */
export async function memberGroups(token, groupIds) {
  const url = `${EMULATOR}/v1.0/users/adele@fabrikam.com/checkMemberGroups`;
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify({ groupIds }) });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()).value;
}

export { claims };
