// Runs the console programs of examples/ and signs a demo user in at the emulator's page for device codes, as the user
// would: the program shows the page's address and a code.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { control, passthrough, onBehalfOf, variables } from "./dev.mjs";

const [mode, work, python] = process.argv.slice(2);
const classpath = `${work}/java/target/classes:${process.env.JAVA_CLASSPATH}`;
const java = ["java", process.env.JAVA_TRUST, "-Djavax.net.ssl.trustStorePassword=changeit", "-cp", classpath];
const programs = {
  "node with-msal.js": ["node", `${work}/node/with-msal.js`],
  "node with-azure-identity.js": ["node", `${work}/node/with-azure-identity.js`],
  "python with_msal.py": [python, `${work}/python/with_msal.py`],
  "python with_azure_identity.py": [python, `${work}/python/with_azure_identity.py`],
  "java WithMsal": [...java, "example.WithMsal"],
  "java WithAzureIdentity": [...java, "example.WithAzureIdentity"],
};

/** Runs a program while a user signs in as often as it asks; gives its exit code and all that it wrote. */
function run([command, ...options], dev, user) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, options, {
      env: { ...process.env, ...variables(dev) },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 90_000,
    });
    let [written, answered] = ["", 0];
    const read = (piece) => {
      written += piece;
      for (const [, page, code] of [...written.matchAll(/open (?:the page )?(\S+) and enter the code (\S+)/gi)].slice(answered)) {
        answered += 1;
        const body = new URLSearchParams({ user_code: code, _user: user, _verified: "yes" });
        fetch(page, { method: "POST", body }).catch(reject);
      }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, written, signIns: answered }));
  });
}

async function expect(name, dev, user, { code, text, signIns = 1 }) {
  const result = await run(programs[name], dev, user);
  const told = `${name} as ${user}: exit code ${result.code}, ${result.signIns} sign-ins\n${result.written}`;
  assert.equal(result.code, code, told);
  assert.match(result.written, text, told);
  assert.equal(result.signIns, signIns, told);
  assert.doesNotMatch(result.written, /eyJ/, `${name} writes a token`);
  console.log(`ok  ${name} as ${user}`);
}

/** Asks the emulator for a device code; the body's type is left out on request, as azure-identity for Java leaves it out. */
async function deviceCode(dev, more = {}, type = "application/x-www-form-urlencoded") {
  const { AUTHORITY, SCOPE } = variables(dev);
  const body = new URLSearchParams({ client_id: "c0a5a990-0000-4000-8000-000000000003", scope: SCOPE, ...more }).toString();
  const headers = type ? { "content-type": type } : {};
  return fetch(`${AUTHORITY}/oauth2/v2.0/devicecode`, { method: "POST", headers, body: new TextEncoder().encode(body) });
}

/** Whether the emulator, as Entra, passes on to its page the claims that a device code was asked for with. */
async function takesClaims() {
  const claims = JSON.stringify({ access_token: { acrs: { essential: true, value: "c1" } } });
  const { verification_uri, user_code } = await (await deviceCode(onBehalfOf, { claims })).json();
  const page = await fetch(verification_uri, { method: "POST", body: new URLSearchParams({ user_code, _user: "joni" }) });
  return /More proof/.test(await page.text());
}

const names = Object.keys(programs).filter((name) => name !== "java WithAzureIdentity");
if ((await deviceCode(mode === "passthrough" ? passthrough : onBehalfOf, {}, null)).ok) names.push("java WithAzureIdentity");
else console.log("    java WithAzureIdentity is left out: this emulator gives no device code without a content type");

const granted = { code: 0, text: /ACS token until 20/ };
const refused = { code: 1, text: /ask the operator/i };

if (mode === "passthrough") {
  await Promise.all(
    names.flatMap((name) => [expect(name, passthrough, "adele", granted), expect(name, passthrough, "megan", refused)]),
  );
  // ACS limits requests once: whoever meets it waits as long as it says. These users have no token in the broker's cache yet.
  for (const [name, user] of [["node with-msal.js", "nestor"], ["python with_msal.py", "diego"], ["java WithMsal", "joni"]]) {
    await control(passthrough, "PUT", "faults", { exchange: { status: 429, retry_after: 2, times: 1 } });
    await expect(name, passthrough, user, granted);
    assert.deepEqual(await control(passthrough, "GET", "faults"), {}, "ACS was asked, and refused");
  }
} else if (await takesClaims()) {
  // Conditional access asks joni for more than the first sign-in. These two ask for a device code with the claims.
  const challenged = ["node with-msal.js", "python with_msal.py"];
  await Promise.all(challenged.map((name) => expect(name, onBehalfOf, "joni", { ...granted, signIns: 2 })));
} else {
  console.log("    the second factor is left out: this emulator asks for none after a device code");
}
