// An answer that comes before the body was sent: fetch must see it, not a broken pipe.

import assert from "node:assert/strict";

import { BROKER, EMULATOR } from "./common.js";

const signedIn = await fetch(`${EMULATOR}/_emulator/users/alex/token`, { method: "POST" });
const { access_token: token } = await signedIn.json();
const body = new Uint8Array(2 * 1024 * 1024).fill(0x20);
const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };

const upload = async () => {
  try {
    const answer = await fetch(`${BROKER}/token`, { method: "POST", headers, body });
    await answer.arrayBuffer();
    return answer.status;
  } catch (error) {
    return `${error.cause?.code ?? error.message}`;
  }
};

const outcomes = [];
for (let round = 0; round < 15; round += 1) {
  // One after the other, and several at once.
  outcomes.push(await upload(), ...(await Promise.all([upload(), upload(), upload()])));
}
assert.deepEqual(new Set(outcomes), new Set([413]), JSON.stringify(outcomes));

// The connection is of use afterwards: a refusal before a short body does not cost it.
for (let round = 0; round < 20; round += 1) {
  const answer = await fetch(`${BROKER}/nowhere`, { method: "POST", headers, body: "{}" });
  assert.equal(answer.status, 404);
  await answer.arrayBuffer();
}
