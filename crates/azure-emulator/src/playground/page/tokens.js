// @ts-check
/** Tokens, looked into in this page. An application does not do this: an ACS token is opaque to it. */

/**
 * The claims of a signed token. `undefined` for one that is encrypted or is no JWT.
 * @param {string} token
 * @returns {Record<string, unknown> | undefined}
 */
export function claims(token) {
  const parts = token.split(".");
  if (parts.length !== 3) return undefined;
  try {
    const text = atob(parts[1].replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** Whether it is encrypted (RFC 7516: five parts). @param {string} token */
export const isEncrypted = (token) => token.split(".").length === 5;

/** @param {string} token */
export const shortened = (token) => (token.length > 48 ? `${token.slice(0, 24)}…${token.slice(-12)}` : token);

const TIMES = new Set(["exp", "iat", "nbf", "auth_time", "xms_tcdt"]);

/** @param {string} name @param {unknown} value */
export function shown(name, value) {
  if (TIMES.has(name) && typeof value === "number") return new Date(value * 1000).toISOString().replace(".000", "");
  if (Array.isArray(value) && value.length > 6) return `${value.slice(0, 6).join(", ")}, … (${value.length})`;
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** @param {number} milliseconds */
export function spelled(milliseconds) {
  const minutes = Math.floor(milliseconds / 60_000);
  if (minutes < 1) return "less than a minute";
  const hours = Math.floor(minutes / 60);
  return hours > 0 ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}
