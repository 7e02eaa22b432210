// Runs the `sh` blocks of a page in one shell, the first in a shell of its own because it does not end, and compares what each
// prints with the `text` block that follows. There `…` stands for any text of a line, and a line of `…` alone for any lines.
//
// node walk.mjs PAGE FOLDER
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";

const LIMIT = 120_000;
const [page, cwd] = process.argv.slice(2);

/** The blocks of commands, each with what it prints, if the page shows that. */
function blocks(markdown) {
  const found = [];
  for (const [, language, text] of markdown.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)) {
    if (language === "sh") found.push({ commands: text });
    else if (language === "text") found.at(-1).prints = text.trimEnd().split("\n");
    else assert.fail(`what is a block of ${language}?`);
  }
  return found;
}

/** A shell that is told block after block. */
function shell() {
  const child = spawn("bash", ["--noprofile", "--norc"], { cwd, detached: true, stdio: "pipe" });
  let output = "";
  let wake = () => {};
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (data) => {
      output += data;
      wake();
    });
  }
  return {
    child,
    /** Runs commands. What they print, once `until` is among it. */
    async run(commands, until) {
      output = "";
      child.stdin.write(commands);
      const limit = setTimeout(() => assert.fail(`no end of\n${commands}\nafter\n${output}`), LIMIT);
      while (!until.test(output)) await new Promise((resolve) => (wake = resolve));
      clearTimeout(limit);
      return output;
    },
  };
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Whether `printed` is what the page shows. */
function compare(shown, printed, commands) {
  const lines = printed.trimEnd().split("\n");
  let at = 0;
  let anywhere = false;
  for (const line of shown) {
    if (line === "…") {
      anywhere = true;
      continue;
    }
    const pattern = new RegExp(`^${line.split("…").map(escaped).join(".*")}$`);
    const found = anywhere ? lines.findIndex((each, index) => index >= at && pattern.test(each)) : at;
    assert.match(lines[found] ?? "", pattern, `${page} shows\n  ${line}\nafter\n${commands}\nwhich printed\n${printed}`);
    [at, anywhere] = [found + 1, false];
  }
  if (!anywhere) assert.deepEqual(lines.slice(at), [], `the page does not show the end of what this prints:\n${commands}`);
}

const [server, ...steps] = blocks(readFileSync(page, "utf8"));
const first = shell();
const second = shell();
try {
  await first.run(server.commands, /^Stop with /m);
  for (const { commands, prints } of steps) {
    const output = await second.run(`${commands}printf '\\nended %s\\n' $?\n`, /\nended \d+\n$/);
    const [, printed, code] = output.match(/^([\s\S]*)\nended (\d+)\n$/);
    assert.equal(code, "0", `${commands}\nended with ${code}:\n${printed}`);
    if (prints) compare(prints, printed, commands);
  }
} finally {
  // With all that they started.
  for (const { child } of [first, second]) process.kill(-child.pid);
}
assert.ok(steps.filter(({ prints }) => prints).length >= 6);
console.log(`${steps.length} blocks of ${page} do what it says`);
