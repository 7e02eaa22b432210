// @ts-check
/** The authorization code flow with PKCE (RFC 6749 section 4.1, RFC 7636), as a single-page application does it. */

/** @import { Mode, Session, Settings, User } from "./types" */

const PENDING = "playground.pending";
const SESSION = "playground.session";

/** @param {ArrayBuffer | Uint8Array} bytes */
function base64url(bytes) {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const redirectUri = () => `${location.origin}/`;

/** @param {User} user */
const endpoint = (user) => `${location.origin}/${user.tenantId}/oauth2/v2.0`;

/**
 * Leaves for Entra's authorization endpoint; the page is loaded again with the outcome.
 * @param {Settings} settings @param {User} user @param {Mode} mode
 * @param {{prompt?: string, claims?: string}} options
 */
export async function signIn(settings, user, mode, { prompt, claims } = {}) {
  const [state, verifier, nonce] = [random(), random(), random()];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  sessionStorage.setItem(PENDING, JSON.stringify({ state, verifier, user: user.name, mode: mode.name, prompt, claims }));
  const query = new URLSearchParams({
    client_id: settings.clientId,
    response_type: "code",
    response_mode: "query",
    redirect_uri: redirectUri(),
    scope: ["openid", "profile", "offline_access", ...mode.scopes].join(" "),
    state,
    nonce,
    code_challenge: base64url(digest),
    code_challenge_method: "S256",
    login_hint: user.userPrincipalName,
  });
  if (prompt) query.set("prompt", prompt);
  if (claims) query.set("claims", claims);
  location.assign(`${endpoint(user)}/authorize?${query}`);
}

/**
 * What the authorization endpoint sent the browser back with, if it did.
 * @param {Settings} settings
 * @returns {Promise<{session?: Session, error?: {code: string, description: string}} | undefined>}
 */
export async function finishSignIn(settings) {
  const query = new URLSearchParams(location.search);
  const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? "null");
  if (!query.has("state") || !pending) return undefined;
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", location.pathname);
  if (query.get("state") !== pending.state) {
    return { error: { code: "state_mismatch", description: "The answer belongs to another sign-in." } };
  }
  const user = settings.users.find((user) => user.name === pending.user);
  const mode = settings.modes.find((mode) => mode.name === pending.mode);
  if (!user || !mode) return undefined;
  const error = query.get("error");
  if (error) {
    const needsPage = ["login_required", "interaction_required", "consent_required"].includes(error);
    if (pending.prompt === "none" && needsPage) {
      await signIn(settings, user, mode, { claims: pending.claims });
      return new Promise(() => {});
    }
    return { error: { code: error, description: query.get("error_description") ?? "" } };
  }
  const answer = await fetch(`${endpoint(user)}/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: settings.clientId,
      code: query.get("code") ?? "",
      redirect_uri: redirectUri(),
      code_verifier: pending.verifier,
      scope: mode.scopes.join(" "),
    }),
  });
  const body = await answer.json();
  if (!answer.ok) return { error: { code: body.error, description: body.error_description } };
  const session = { user: user.name, mode: mode.name, accessToken: body.access_token };
  sessionStorage.setItem(SESSION, JSON.stringify(session));
  return { session };
}

/** @returns {Session | undefined} */
export function currentSession() {
  return JSON.parse(sessionStorage.getItem(SESSION) ?? "null") ?? undefined;
}

export function forgetSession() {
  sessionStorage.removeItem(SESSION);
}

/** Ends the session at Entra too. @param {User} user */
export function signOut(user) {
  forgetSession();
  const query = new URLSearchParams({ post_logout_redirect_uri: redirectUri(), logout_hint: user.userPrincipalName });
  location.assign(`${endpoint(user)}/logout?${query}`);
}
