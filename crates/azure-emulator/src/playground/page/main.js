// @ts-check
/** Puts the page together. */

/** @import { Mode, Session, Settings, User } from "./types" */
import { requestToken } from "./broker.js";
import { currentSession, finishSignIn, forgetSession, signIn, signOut } from "./sign_in.js";
import { snippets } from "./snippets.js";
import * as switches from "./switches.js";
import { byId, element, showAnswer, showFailure, showSignInError, showSnippets } from "./view.js";

const userChoice = /** @type {HTMLSelectElement} */ (byId("user"));
const modeChoice = /** @type {HTMLSelectElement} */ (byId("mode"));
const signInButton = /** @type {HTMLButtonElement} */ (byId("sign-in"));
const signOutButton = /** @type {HTMLButtonElement} */ (byId("sign-out"));
const tokenButton = /** @type {HTMLButtonElement} */ (byId("get-token"));

/** @type {Settings} */
const settings = await (await fetch("/_emulator/playground")).json();
/** @type {Session | undefined} */
let session;

const user = () => /** @type {User} */ (settings.users.find((user) => user.name === userChoice.value));
const mode = () => /** @type {Mode} */ (settings.modes.find((mode) => mode.name === modeChoice.value));

/** Starts the broker of the chosen mode, if it does not run yet. */
async function startBroker() {
  const chosen = mode();
  if (chosen.broker) return;
  const response = await fetch(`/_emulator/playground/modes/${chosen.name}`, { method: "PUT" });
  if (response.ok) chosen.broker = (await response.json()).broker;
}

function describe() {
  byId("user-note").textContent = user().note;
  byId("mode-note").textContent = mode().note;
  byId("target").textContent = `${mode().broker}/token`;
  showSnippets(snippets(mode(), user(), settings.clientId));
}

/** @param {Session | undefined} next */
function setSession(next) {
  session = next;
  tokenButton.disabled = signOutButton.disabled = !next;
  const name = settings.users.find((user) => user.name === next?.user)?.displayName;
  byId("signed-in").textContent = next ? `${name} is signed in.` : "Nobody is signed in.";
}

/** @param {() => Promise<void>} change @param {string} done */
async function change(change, done) {
  const status = byId("switch-status");
  try {
    await change();
    status.textContent = done;
  } catch (error) {
    status.textContent = String(error);
  }
}

function wireTheme() {
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const label = () => (button.textContent = isDark() ? "Light" : "Dark");
  const kept = localStorage.getItem("playground.theme");
  if (kept) document.documentElement.dataset.theme = kept;
  label();
  system.addEventListener("change", label);
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("playground.theme", next);
    label();
  });
}

function wireSwitches() {
  const faults = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[data-fault]"));
  const checked = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id)).checked;
  for (const fault of faults) {
    fault.addEventListener("change", () => {
      for (const other of faults) if (other !== fault) other.checked = false;
      const name = /** @type {"latency"} */ (fault.dataset.fault);
      change(() => switches.setFault(fault.checked ? name : undefined), "Done. It shows at the next exchange.");
    });
  }
  byId("assignment-away").addEventListener("change", () =>
    change(() => switches.setAssigned(user(), !checked("assignment-away")), "Done. It counts from the next request on."),
  );
  byId("encrypted").addEventListener("change", () =>
    change(() => switches.encryptTokens(checked("encrypted")), "Done. It shows at the next exchange."),
  );
  byId("consent").addEventListener("change", () =>
    change(() => switches.setConsent(user(), checked("consent")), "Done. Sign in again to see it."),
  );
  const access = /** @type {HTMLSelectElement} */ (byId("access"));
  access.addEventListener("change", () =>
    change(() => switches.setConditionalAccess(user(), access.value), "Done. Sign in again to see it."),
  );
  const actions = {
    rotate: () => change(switches.rotateKeys, "New keys sign from now on."),
    later: () => change(switches.letTimePass, "10 minutes have passed for the emulator and the broker."),
    reset: async () => {
      await change(() => switches.reset(settings.users), "Everything is as at the start; the time stays.");
      for (const box of document.querySelectorAll("#switches input")) /** @type {HTMLInputElement} */ (box).checked = false;
      access.value = "none";
    },
  };
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-switch]"))) {
    button.addEventListener("click", actions[/** @type {keyof typeof actions} */ (button.dataset.switch)]);
  }
}

async function getToken() {
  if (!session) return;
  const { accessToken } = session;
  tokenButton.disabled = true;
  try {
    const answer = await requestToken(mode(), accessToken);
    showAnswer(answer, user(), accessToken, (claims) => signIn(settings, user(), mode(), { claims }));
  } catch {
    showFailure(`${mode().broker} did not answer this page. Is the broker running, and does it allow this origin?`);
  } finally {
    tokenButton.disabled = false;
  }
}

wireTheme();
wireSwitches();
userChoice.append(...settings.users.map((user) => element("option", { value: user.name }, `${user.displayName} (${user.tenant})`)));
modeChoice.append(...settings.modes.map((mode) => element("option", { value: mode.name }, mode.title)));
modeChoice.value = (settings.modes.find((mode) => mode.selected) ?? settings.modes[0]).name;

const outcome = await finishSignIn(settings);
const known = outcome?.session ?? (outcome?.error ? undefined : currentSession());
if (known) {
  userChoice.value = known.user;
  modeChoice.value = known.mode;
}
await startBroker();
describe();
for (const choice of [userChoice, modeChoice]) {
  choice.addEventListener("change", async () => {
    forgetSession();
    setSession(undefined);
    await startBroker();
    describe();
  });
}
signInButton.addEventListener("click", () => signIn(settings, user(), mode(), { prompt: "none" }));
signOutButton.addEventListener("click", () => signOut(user()));
tokenButton.addEventListener("click", getToken);
// A control is enabled only once a use of it does something.
setSession(known);
for (const control of [userChoice, modeChoice, signInButton]) control.disabled = false;
if (outcome?.error) showSignInError(outcome.error);
