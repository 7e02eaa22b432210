// node day.mjs SCENARIO USER: 24 hours of one user's front end. Prints what was counted, as JSON. tests/refresh.sh starts `dev`
// with moved clocks, says the addresses in BROKER and EMULATOR, and lets Node trust its CA.
import diagnostics from "node:diagnostics_channel";
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { MovedTime } from "./time.mjs";

const { BROKER: broker, EMULATOR: emulator } = process.env;
const [, , scenario, user] = process.argv;
const MINUTE = 60_000;
const HOURS = Number(process.env.HOURS ?? 24);

const time = new MovedTime(emulator);
// When each call to the broker was made: the SDK's own calls use node:https, those of the refresher use fetch.
const calls = [];
diagnostics.subscribe("http.client.request.start", ({ request }) => {
  if (request.path.startsWith("/access/")) calls.push(Date.now());
});
diagnostics.subscribe("undici:request:create", ({ request }) => {
  if (request.path === "/token") calls.push(Date.now());
});

/** A sign-in library: it gives its cached Entra token until five minutes before the end, as MSAL does. */
class SignIn {
  signIns = 0;
  #token = { token: "", expiresOnTimestamp: 0 };

  async getToken() {
    if (Date.now() >= this.#token.expiresOnTimestamp - 5 * MINUTE) {
      const answer = await fetch(`${emulator}/_emulator/users/${user}/token`, { method: "POST" });
      if (!answer.ok) throw new Error(`sign-in: ${answer.status}`);
      const token = (await answer.json()).access_token;
      const { exp } = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
      this.#token = { token, expiresOnTimestamp: exp * 1000 };
      this.signIns += 1;
    }
    return this.#token;
  }
}

const signIn = new SignIn();
// The last token that each credential was given.
const held = [];

/** The refresher of a front end. */
async function fromBroker() {
  const answer = await fetch(`${broker}/token`, {
    method: "POST",
    headers: { Authorization: `Bearer ${(await signIn.getToken()).token}` },
  });
  if (!answer.ok) throw new Error(`POST /token: ${answer.status} ${await answer.text()}`);
  const { token, expiresOn } = (await answer.json()).accessToken;
  return { token, expiresOnTimestamp: Date.parse(expiresOn) };
}

function refreshing(index, refreshProactively) {
  const tokenRefresher = () =>
    time.during(
      fromBroker().then((token) => {
        held[index] = token.expiresOnTimestamp;
        return token;
      }),
    );
  return new AzureCommunicationTokenCredential({ tokenRefresher, refreshProactively });
}

const scenarios = {
  // The broker as `resourceEndpoint`. The page asks for the token each minute.
  endpoint: () => [
    new AzureCommunicationTokenCredential({
      resourceEndpoint: broker,
      tokenCredential: signIn,
      scopes: ["https://communication.azure.com/clients/VoIP"],
    }),
  ],
  // A refresher. The page asks for the token each minute.
  refresher: () => [refreshing(0, false)],
  // A refresher, and `refreshProactively`: the SDK's own timers do it all after the first call.
  proactive: () => [refreshing(0, true)],
  // The same in three tabs.
  tabs: () => [0, 1, 2].map((index) => refreshing(index, true)),
};
const credentials = scenarios[scenario]();
const asks = scenario === "endpoint" || scenario === "refresher";

let failures = 0;
let minutesWithout = 0;
let shortest = Infinity;
async function ask(index) {
  try {
    const token = await credentials[index].getToken();
    held[index] = token.expiresOnTimestamp;
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
const { counts } = await (await fetch(`${emulator}/_emulator/journal`)).json();
const counted = {
  scenario,
  credentials: credentials.length,
  signIns: signIn.signIns,
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
