// @ts-check
/** The call that the playground is about. */

/** @import { Answer, Mode } from "./types" */

/**
 * @param {Mode} mode @param {string} accessToken
 * @returns {Promise<Answer>}
 */
export async function requestToken(mode, accessToken) {
  const started = performance.now();
  const response = await fetch(`${mode.broker}/token`, {
    method: "POST",
    headers: { Authorization: `Bearer ${accessToken}` },
  });
  const text = await response.text();
  const took = performance.now() - started;
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = text;
  }
  return { status: response.status, headers: response.headers, body, took };
}

/**
 * The stages of `Server-Timing` (https://www.w3.org/TR/server-timing/), in milliseconds.
 * @param {string | null} header
 * @returns {{name: string, duration: number}[]}
 */
export function stages(header) {
  return (header ?? "").split(",").flatMap((entry) => {
    const [name, ...parameters] = entry.split(";").map((part) => part.trim());
    const duration = parameters.find((parameter) => parameter.startsWith("dur="));
    return name && duration ? [{ name, duration: Number(duration.slice(4)) }] : [];
  });
}

/**
 * The claims request of a challenge, if there is one: what the next sign-in must satisfy.
 * @param {string | null} challenge
 */
export function challengedClaims(challenge) {
  const encoded = challenge?.match(/claims="([^"]+)"/)?.[1];
  return encoded ? atob(encoded) : undefined;
}
