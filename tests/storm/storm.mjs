// node storm.mjs NAME: everybody comes in at once. One storm, by the environment: USERS who have no token come within ARRIVALS seconds
// and are given up on LIMIT seconds after the first. CLIENT "page" asks the broker, and comes again when Retry-After says; "sdk" is the
// real AzureCommunicationTokenCredential with its own retries, at TARGET (the broker or ACS itself). Writes what each user and ACS saw,
// as JSON, to OUT. tests/storm.sh starts `dev`, says the addresses, and lets Node trust its CA.
import diagnostics from "node:diagnostics_channel";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";

const { TARGET: target, EMULATOR: emulator, CLIENT: client, QUOTA: quota, OUT: out } = process.env;
const [USERS, ARRIVALS, LIMIT] = ["USERS", "ARRIVALS", "LIMIT"].map((name) => Number(process.env[name]));
// A tenant of which ACS lets everybody in.
const SOMEBODY = "diego";
// The SDK wants https.
const protocol = target.startsWith("https:") ? https : http;
// Front ends of their own share no connections; what is prepared may.
const agent = new protocol.Agent({ maxSockets: Infinity });
const preparing = new protocol.Agent({ keepAlive: true });

/** Sends; the status, the headers and the body. */
function send(method, url, { headers = {}, body = "", via = agent } = {}) {
  return new Promise((resolve, reject) => {
    const length = { "Content-Length": Buffer.byteLength(body) };
    const request = protocol.request(url, { method, agent: via, timeout: 60_000, headers: { ...headers, ...length } }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() }));
    });
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.on("error", reject);
    request.end(body);
  });
}

/** A control of the emulator's. A connection that is kept may just have been closed: then once more. */
async function json(method, path, body, via) {
  const ask = (via) => send(method, `${emulator}/_emulator/${path}`, { body: body && JSON.stringify(body), via });
  const answer = await ask(via).catch(() => ask(agent));
  if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${answer.body}`);
  return JSON.parse(answer.body);
}

/** Each of `items`, so many at a time. */
async function each(items, atOnce, work) {
  const rest = items.values();
  await Promise.all(Array.from({ length: atOnce }, async () => { for (const item of rest) await work(item); }));
}

let began;
const now = () => (performance.now() - began) / 1000;

/** The Entra token of a user whom nobody else has, made beforehand: signing in is not what is measured. */
async function signIn(user) {
  const oid = `57000000-0000-4000-8000-${user.number.toString(16).padStart(12, "0")}`;
  user.token = (await json("POST", `users/${SOMEBODY}/token`, { lifetime: 5400, claims: { oid } }, preparing)).access_token;
}

/** A front end that does as it is told. */
async function page(user) {
  while (now() < LIMIT) {
    const sent = now();
    let answer;
    try {
      answer = await send("POST", `${target}/token`, { headers: { Authorization: `Bearer ${user.token}` } });
    } catch (error) {
      answer = { status: error.code ?? error.message, headers: {} };
    }
    const again = Number(answer.headers["retry-after"] ?? NaN);
    const code = answer.headers["x-ms-error-code"];
    user.answers.push({ sent, answered: now(), status: answer.status, code, again });
    if (answer.status === 200) return;
    // Told nothing, it does as people do who press a key again.
    await sleep((Number.isNaN(again) ? 5 : again) * 1000);
  }
}

/** The official SDK. Its error is the end: that is what its user sees. */
async function sdk(user, Credential) {
  const sent = now();
  const tokenCredential = { getToken: async () => ({ token: user.token, expiresOnTimestamp: Date.now() + 5_400_000 }) };
  const credential = new Credential({ resourceEndpoint: target, tokenCredential });
  let status = 200;
  try {
    await credential.getToken();
  } catch (error) {
    status = Number(/Status: (\d+)/.exec(error.message)?.[1]) || error.code || error.message;
  }
  user.answers.push({ sent, answered: now(), status });
  credential.dispose();
}

const users = Array.from({ length: USERS }, (_, number) => ({ number, comes: (number / USERS) * ARRIVALS, answers: [] }));
await each(users, 8, signIn);
preparing.destroy();
// The SDK is that of tests/refresh, which its own lock file holds.
const require = createRequire(new URL("../refresh/package.json", import.meta.url));
const { AzureCommunicationTokenCredential } = client === "sdk" ? require("@azure/communication-common") : {};
let requests = 0;
diagnostics.subscribe("http.client.request.start", ({ request }) => {
  if (request.path.startsWith("/token") || request.path.startsWith("/access/")) requests += 1;
});
await json("PUT", "acs", { quota });
await send("DELETE", `${emulator}/_emulator/journal`);

began = performance.now();
const watching = new Worker(new URL("./acs.mjs", import.meta.url), { workerData: { emulator, began: Date.now() / 1000 } });
await Promise.all(
  users.map(async (user) => {
    await sleep(user.comes * 1000);
    await (client === "sdk" ? sdk(user, AzureCommunicationTokenCredential) : page(user));
  }),
);
watching.postMessage("over");
const [acs] = await once(watching, "message");
const lasted = now();
if (acs.calls.length !== acs.count) throw new Error(`${acs.count} calls at ACS, of which ${acs.calls.length} were seen`);
const told = users.map(({ comes, answers }) => ({ comes, answers }));
writeFileSync(out, JSON.stringify({ name: process.argv[2], users: told, acs: acs.calls, requests, lasted, quota }));
process.exit();
