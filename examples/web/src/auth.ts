import { type AccountInfo, InteractionRequiredAuthError, PublicClientApplication } from "@azure/msal-browser";
import { config } from "./config";

const msal = new PublicClientApplication({
  auth: {
    clientId: config.clientId,
    authority: config.authority,
    // MSAL knows Entra's own hosts; the emulator's it has to be told.
    knownAuthorities: [new URL(config.authority).host],
    redirectUri: "/redirect.html",
    postLogoutRedirectUri: "/",
  },
  // An ACS token ends with the Entra token that it was exchanged for, and the SDK renews it from ten minutes before
  // that. MSAL's default renews an Entra token in its last five minutes only: too late to gain time at the exchange.
  system: { tokenRenewalOffsetSeconds: 15 * 60 },
});

/** Entra wants to see the user: only `signIn` helps, and a browser opens a window only on the user's click. */
export class SignInNeeded extends Error {
  constructor(readonly claims?: string) {
    super("Your organization asks you to sign in again.");
  }
}

/** Ends a sign-in by redirect, if the page was loaded by one. */
export async function start(): Promise<void> {
  await msal.initialize();
  const result = await msal.handleRedirectPromise();
  if (result?.account) msal.setActiveAccount(result.account);
}

export function account(): AccountInfo | null {
  return msal.getActiveAccount();
}

/** `claims` is what Entra asked for beyond the last sign-in, for example a second factor. */
export async function signIn(how: "redirect" | "popup", claims?: string): Promise<void> {
  const known = account();
  const request = { scopes: config.scopes, claims, ...(known ? { account: known } : { prompt: "select_account" }) };
  if (how === "redirect") return msal.acquireTokenRedirect(request); // the page is left
  const result = await msal.acquireTokenPopup(request);
  msal.setActiveAccount(result.account);
}

export function signOut(): Promise<void> {
  return msal.logoutRedirect({ account: account() });
}

/** The user's Entra token: from MSAL's cache, or renewed without the user. */
export async function entraToken(options: { claims?: string; forceRefresh?: boolean } = {}) {
  const known = account();
  if (!known) throw new SignInNeeded();
  try {
    const result = await msal.acquireTokenSilent({ scopes: config.scopes, account: known, ...options });
    return { token: result.accessToken, expiresOnTimestamp: result.expiresOn?.getTime() ?? 0 };
  } catch (error) {
    if (error instanceof InteractionRequiredAuthError) throw new SignInNeeded(error.claims || options.claims);
    throw error;
  }
}
