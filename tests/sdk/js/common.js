// What the scripts share. tests/sdk/main.rs starts `acs-token-broker dev --tls`, tells the addresses in the
// environment, and lets Node trust its CA (NODE_EXTRA_CA_CERTS).

/** The broker's origin, https. */
export const BROKER = required("BROKER");
/** The emulator's origin, https. */
export const EMULATOR = required("EMULATOR");
/** The connection string of the emulated Communication Services resource. */
export const CONNECTION_STRING = required("CONNECTION_STRING");

const SCOPE_PREFIX = "https://communication.azure.com/clients/";

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these scripts are run by tests/sdk/main.rs`);
  return value;
}

/** Sends JSON and reads JSON. */
export async function json(method, url, body) {
  const response = await fetch(url, { method, body: body && JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** The claims of a JWT, unverified. */
export function claims(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString("utf8"));
}

/** How many exchanges the emulated ACS has seen. */
export async function exchanges() {
  return (await json("GET", `${EMULATOR}/_emulator/journal`)).counts.exchange;
}

/**
 * A `TokenCredential` as a front end has one from a sign-in library: it gives a demo user's Entra token with the
 * scopes that it is asked for. Like such a library it keeps the token and gives it again.
 */
export class DemoUser {
  /** The scopes of each call, in order. */
  asked = [];
  /** The Entra token given, once it was asked for. */
  entraToken;

  constructor(name) {
    this.name = name;
  }

  async getToken(scopes) {
    this.asked.push([scopes].flat());
    const names = [scopes].flat().map((scope) => {
      if (!scope.startsWith(SCOPE_PREFIX)) throw new Error(`a scope of another API: ${scope}`);
      return scope.slice(SCOPE_PREFIX.length);
    });
    const body = names.includes(".default") ? {} : { scopes: names };
    this.entraToken ??= (await json("POST", `${EMULATOR}/_emulator/users/${this.name}/token`, body)).access_token;
    return { token: this.entraToken, expiresOnTimestamp: claims(this.entraToken).exp * 1000 };
  }
}
