// node day.mjs SCENARIO: 24 hours of one user's front end. Prints what was counted, as JSON. tests/refresh.sh starts `dev`
// with moved clocks, says the addresses in BROKER and EMULATOR, and lets Node trust its CA.
import diagnostics from "node:diagnostics_channel";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { send } from "./send.mjs";
import { MovedTime } from "./time.mjs";

const { BROKER: broker, EMULATOR: emulator } = process.env;
const MINUTE = 60_000;
const HOURS = Number(process.env.HOURS ?? 24);

// alex and diego are covered by the broker's own assignments. Whether adele is, only ACS can say.
const scenarios = {
  // The broker as `resourceEndpoint`. The page asks the credential each minute.
  endpoint: { user: "alex", asks: true, credentials: () => [withEndpoint()] },
  // A refresher. The page asks the credential each minute.
  refresher: { user: "alex", asks: true, credentials: () => [refreshing(0, { refreshProactively: false })] },
  // A refresher, and `refreshProactively`: after the first call the SDK's own timers do it all.
  proactive: { user: "diego", credentials: () => [refreshing(0)] },
  acs_decides: { user: "adele", credentials: () => [refreshing(0)] },
  // Three tabs that share the cache of their sign-in library, and three that do not.
  tabs: { user: "diego", credentials: () => [0, 1, 2].map((index) => refreshing(index)) },
  tabs_apart: { user: "diego", credentials: () => [0, 1, 2].map((index) => refreshing(index, { signIn: new SignIn() })) },
  // ACS tokens that cannot be decoded. The second one's refresher returns a text, without the end of the token.
  encrypted: { user: "diego", encrypted: true, credentials: () => [refreshing(0)] },
  encrypted_text: { user: "diego", encrypted: true, credentials: () => [refreshing(0, { text: true })] },
};
const { user, asks = false, encrypted = false, credentials: make } = scenarios[process.argv[2]];

const time = new MovedTime(emulator);
// When each call to the broker was made, the SDK's own ones too.
const calls = [];
diagnostics.subscribe("http.client.request.start", ({ request }) => {
  if (request.path === "/token" || request.path.startsWith("/access/")) calls.push(Date.now());
});
let signIns = 0;

/** A sign-in library: it gives its cached Entra token until five minutes before the end, as MSAL does. */
class SignIn {
  #token = { token: "", expiresOnTimestamp: 0 };
  #underWay;

  async getToken() {
    if (Date.now() < this.#token.expiresOnTimestamp - 5 * MINUTE) return this.#token;
    this.#underWay ??= this.#renew().finally(() => (this.#underWay = undefined));
    return this.#underWay;
  }

  async #renew() {
    const { access_token: token } = await send("POST", `${emulator}/_emulator/users/${user}/token`);
    const { exp } = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
    signIns += 1;
    this.#token = { token, expiresOnTimestamp: exp * 1000 };
    return this.#token;
  }
}

const shared = new SignIn();
// The end of the last token that each credential was given.
const held = [];

/** The refresher of a front end. */
async function fromBroker(signIn) {
  const entra = await signIn.getToken();
  const answer = await send("POST", `${broker}/token`, { headers: { Authorization: `Bearer ${entra.token}` } });
  const { token, expiresOn } = answer.accessToken;
  return { token, expiresOnTimestamp: Date.parse(expiresOn) };
}

function refreshing(index, { refreshProactively = true, signIn = shared, text = false } = {}) {
  const refresh = async () => {
    const token = await fromBroker(signIn);
    held[index] = token.expiresOnTimestamp;
    return text ? token.token : token;
  };
  return new AzureCommunicationTokenCredential({ tokenRefresher: () => time.during(refresh()), refreshProactively });
}

function withEndpoint() {
  return new AzureCommunicationTokenCredential({
    resourceEndpoint: broker,
    tokenCredential: shared,
    scopes: ["https://communication.azure.com/clients/VoIP"],
  });
}

if (encrypted) await send("PUT", `${emulator}/_emulator/acs`, { body: JSON.stringify({ encrypted_tokens: true }) });
const credentials = make();
let failures = 0;
let minutesWithout = 0;
let shortest = Infinity;
async function ask(index) {
  try {
    const token = await credentials[index].getToken();
    if (asks) held[index] = token.expiresOnTimestamp;
  } catch (error) {
    failures += 1;
    console.error(new Date().toISOString(), error.message);
  }
}

const began = Date.now();
const end = began + HOURS * 60 * MINUTE;
for (let index = 0; index < credentials.length; index += 1) await ask(index);
for (let minute = began + MINUTE; minute <= end; minute += MINUTE) {
  while (Date.now() < minute) await time.step(minute);
  for (let index = 0; index < credentials.length; index += 1) {
    if (asks) await ask(index);
    const left = held[index] - Date.now();
    shortest = Math.min(shortest, left);
    if (!(left > 0)) minutesWithout += 1;
  }
}
for (const credential of credentials) credential.dispose();

const busiest = (span) => Math.max(...calls.map((from) => calls.filter((at) => at >= from && at < from + span).length));
const { counts } = await send("GET", `${emulator}/_emulator/journal`);
const counted = {
  scenario: process.argv[2],
  credentials: credentials.length,
  signIns,
  calls: calls.length,
  exchanges: counts.exchange,
  mostIn10Minutes: busiest(10 * MINUTE),
  mostIn1Minute: busiest(MINUTE),
  shortestLeftSeconds: Math.round(shortest / 1000),
  minutesWithout,
  failures,
};
console.log(JSON.stringify(counted));
process.exit(0);
