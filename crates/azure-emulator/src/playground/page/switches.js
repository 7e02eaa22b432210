// @ts-check
/** What the emulator can be made to do. docs/emulator.md describes each control. */

/** @import { User } from "./types" */

/** @param {string} method @param {string} path @param {unknown} [body] */
async function control(method, path, body) {
  const response = await fetch(`/_emulator/${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
  });
  if (!response.ok) throw new Error(`${method} /_emulator/${path} answered ${response.status}`);
}

const FAULTS = {
  latency: { latency_ms: 3000 },
  limit: { status: 429, retry_after: 7 },
  outage: { status: 503 },
};

/** One fault at a time: ACS has one way of failing at once. @param {keyof typeof FAULTS | undefined} name */
export async function setFault(name) {
  if (!name) return control("DELETE", "faults");
  const fault = FAULTS[name];
  await control("PUT", "faults", { exchange: fault, identities: fault, teams_exchange: fault, teams_user: fault });
}

export const rotateKeys = () => control("POST", "keys/rotate", {});

export const letTimePass = () => control("POST", "clock", { advance: "10m" });

/** @param {boolean} encrypted */
export const encryptTokens = (encrypted) => control("PUT", "acs", { encrypted_tokens: encrypted });

/** @param {User} user @param {boolean} assigned */
export const setAssigned = (user, assigned) => control("PUT", `users/${user.name}`, { assigned });

/** @param {User} user @param {string} access */
export const setConditionalAccess = (user, access) =>
  control("PUT", `users/${user.name}`, { conditional_access: access });

/** @param {User} user @param {boolean} required */
export const setConsent = (user, required) =>
  control("PUT", `users/${user.name}`, { consent: required ? "required" : "given" });

/** @param {User[]} users */
export async function reset(users) {
  await setFault(undefined);
  await encryptTokens(false);
  for (const user of users) {
    await control("PUT", `users/${user.name}`, { assigned: true, consent: "given", conditional_access: "none" });
  }
}
