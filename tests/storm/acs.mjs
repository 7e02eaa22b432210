// What ACS is asked and answers, by the emulator's journal, which has the last thousand calls. In a thread of its own, as the one that
// plays the users is busy when thousands of them come at once.
import { parentPort, workerData } from "node:worker_threads";
import { setTimeout as sleep } from "node:timers/promises";

const { emulator, began } = workerData;
const seen = new Map();
let count = 0;
let isOver = false;
parentPort.on("message", () => {
  isOver = true;
});

async function look() {
  const { calls, counts } = await (await fetch(`${emulator}/_emulator/journal`)).json();
  count = counts.exchange ?? 0;
  for (const call of calls) {
    if (call.endpoint !== "exchange") continue;
    seen.set(call.number, { came: Date.parse(call.time) / 1000 - began, status: call.status });
  }
}

for (let wasOver = false; !wasOver; ) {
  wasOver = isOver;
  const before = count;
  await look();
  // The more there are, the sooner it is looked at again.
  if (!wasOver) await sleep(count - before > 100 ? 5 : 100);
}
parentPort.postMessage({ calls: [...seen.values()], count });
parentPort.close();
