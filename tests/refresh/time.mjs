// Time that is moved: `Date` and `setTimeout` of this program, and with the same steps the clocks of the emulator and of
// `dev`'s broker. Network calls run in real time meanwhile; each step waits for those that it caused.
import FakeTimers from "@sinonjs/fake-timers";
import { send } from "./send.mjs";

const realImmediate = setImmediate;

export class MovedTime {
  #control;
  #underWay = new Set();
  // Only these: Node's own network code must go on in real time.
  #clock = FakeTimers.install({ now: Date.now(), toFake: ["Date", "setTimeout", "clearTimeout"] });

  constructor(emulator) {
    this.#control = `${emulator}/_emulator/clock`;
  }

  /** Makes each step wait for what this promise does. */
  during(promise) {
    this.#underWay.add(promise);
    const done = () => this.#underWay.delete(promise);
    promise.then(done, done);
    return promise;
  }

  /** Moves on to this time, or to the next timer if that is earlier. */
  async step(until) {
    const timers = Object.values(this.#clock.timers ?? {}).map((timer) => timer.callAt);
    const next = Math.min(until, ...timers);
    const by = Math.max(Math.ceil(next - this.#clock.now), 0);
    const ahead = await this.#advance(by);
    this.#clock.tick(Math.max(by, ahead));
    await this.settled();
  }

  async settled() {
    do {
      await Promise.allSettled(this.#underWay);
      // What waits for those promises goes on, and may have begun others.
      for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => realImmediate(resolve));
    } while (this.#underWay.size > 0);
  }

  /** Moves the other clocks. They run on in real time too, so this one follows: how far theirs is ahead then. */
  async #advance(by) {
    const { now } = await send("POST", this.#control, { body: JSON.stringify({ advance: `${by}ms` }) });
    return now === undefined ? by : Date.parse(now) - this.#clock.now;
  }
}
