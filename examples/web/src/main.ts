import type { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { AuthError } from "@azure/msal-browser";
import { SignInNeeded, account, signIn, signOut, start } from "./auth";
import { BrokerError } from "./broker";
import { config } from "./config";
import { credentialWithEndpoint, credentialWithRefresher } from "./credentials";

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
/** What MSAL says if its requests to Entra do not arrive. */
const unreachable = ["endpoints_resolution_error", "openid_config_error", "network_error", "post_request_failed", "get_request_failed"];
let credential: AzureCommunicationTokenCredential | undefined;

function show(text: string): void {
  element("status").textContent = text;
}

/** What the user is told. The SDK's own error for a refusal holds the broker's answer as text. */
function reason(error: unknown): string {
  if (error instanceof BrokerError) {
    const wait = error.retryAfter === undefined ? "" : ` Try again in ${error.retryAfter} s.`;
    return `${error.message}${wait}\n${error.code}, request ${error.requestId}`;
  }
  if (error instanceof AuthError && unreachable.includes(error.errorCode)) {
    return `${new URL(config.authority).origin} cannot be reached. Does it run, and does this browser trust its certificate?\n${error.errorCode}`;
  }
  const text = error instanceof Error ? error.message : String(error);
  const refused = /^Service request failed\. Status: \d+, Body: (\{.*\})$/s.exec(text);
  if (!refused) return text;
  const { error: told } = JSON.parse(refused[1]!);
  return `${told.message}\n${told.code}`;
}

function failed(error: unknown): void {
  show(reason(error));
  if (!(error instanceof SignInNeeded)) return;
  const button = element<HTMLButtonElement>("continue");
  button.hidden = false;
  button.onclick = () => act(() => signIn("redirect", error.claims));
}

/** Does what a button asks for; a failure is shown. */
async function act(work: () => Promise<void>): Promise<void> {
  element("continue").hidden = true;
  show("…");
  try {
    await work();
    render();
  } catch (error) {
    failed(error);
  }
}

async function getToken(make: () => AzureCommunicationTokenCredential): Promise<void> {
  credential?.dispose();
  credential = make();
  // Give `credential` to the Calling SDK: new CallClient().createCallAgent(credential). It asks for a token as it needs one.
  const { expiresOnTimestamp } = await credential.getToken();
  show(`ACS token until ${new Date(expiresOnTimestamp).toLocaleTimeString()}`);
}

function render(): void {
  const user = account();
  element("signed-out").hidden = user !== null;
  element("signed-in").hidden = user === null;
  element("user").textContent = user?.username ?? "";
  if (element("status").textContent === "…") show("");
}

element("sign-in").onclick = () => act(() => signIn("redirect"));
element("sign-in-popup").onclick = () => act(() => signIn("popup"));
element("sign-out").onclick = () => act(signOut);
element("get-with-refresher").onclick = () =>
  act(() => getToken(() => credentialWithRefresher((seconds) => show(`The broker is busy. Next try in ${seconds} s.`))));
const withEndpoint = element<HTMLButtonElement>("get-with-endpoint");
withEndpoint.onclick = () => act(() => getToken(credentialWithEndpoint));
withEndpoint.disabled = !config.scopes.every((scope) => scope.startsWith("https://communication.azure.com/clients/"));

// A renewal in the background that failed: the SDK has no other way to tell.
addEventListener("unhandledrejection", (event) => failed(event.reason));

await act(start);
