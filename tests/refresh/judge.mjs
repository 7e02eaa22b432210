// node judge.mjs FILE: shows what the days counted, and fails if a rule does not hold.
import { readFileSync } from "node:fs";

const days = readFileSync(process.argv[2], "utf8").trim().split("\n").map((line) => JSON.parse(line));
console.table(days);
// Exchanges for each Entra token: one. Where ACS alone decides, the broker asks it again when ten minutes have passed. A token
// that ends before the cached ACS token is exchanged for itself at each call.
const exchangesForEach = { acs_decides: 2, tabs_apart: 2 };
// Of a token that it cannot read the SDK does not know the end. It asks about every five minutes, which is how long before the end
// the sign-in library has a new one, and so may come some seconds late.
const lateEach = { encrypted_text: 1 / 5 };
const problems = [];
for (const day of days) {
  const rule = (holds, words) => holds || problems.push(`${day.scenario}: ${words}`);
  rule(day.failures === 0, "a call failed");
  const late = Math.ceil(day.signIns * (lateEach[day.scenario] ?? 0));
  rule(day.minutesWithout <= late, "there were minutes without a valid token");
  rule(day.shortestLeftSeconds > (late > 0 ? -60 : 0), "a token had ended for long");
  // The SDK asks ten minutes before the end, and then after half of what is left. MSAL has a new Entra token five minutes
  // before the end, so the second or third question is answered with a new ACS token.
  rule(day.mostIn10Minutes <= 3 * day.credentials, "calls crowd near the end of a token");
  rule(day.mostIn1Minute <= day.credentials, "a credential called twice within a minute");
  const allowed = day.signIns * (exchangesForEach[day.scenario] ?? 1);
  rule(day.exchanges <= allowed, "ACS saw more exchanges than the Entra tokens needed");
  rule(day.exchanges > 0, "ACS saw no exchange, so nothing was measured");
}
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
