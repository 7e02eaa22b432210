// Runs the console programs of examples/ and signs a demo user in at the emulator's page for device codes, as the user
// would: the program shows the page's address and a code.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { control, passthrough, onBehalfOf, variables } from "./dev.mjs";

const [work, python] = process.argv.slice(2);
const classpath = `${work}/java/target/classes:${process.env.JAVA_CLASSPATH}`;
const java = ["java", `-Djavax.net.ssl.trustStore=${work}/ca.p12`, "-Djavax.net.ssl.trustStorePassword=changeit", "-cp", classpath];
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

const granted = { code: 0, text: /ACS token until 20/ };
const refused = { code: 1, text: /ask the operator/i };
await Promise.all(
  Object.keys(programs).flatMap((name) => [
    expect(name, passthrough, "adele", granted),
    expect(name, passthrough, "megan", refused),
  ]),
);

// ACS limits requests once: whoever meets it waits as long as it says.
for (const name of Object.keys(programs)) {
  await control(passthrough, "PUT", "faults", { exchange: { status: 429, retry_after: 1, times: 1 } });
  await expect(name, passthrough, name.includes("node") ? "alex" : name.includes("python") ? "lidia" : "nestor", granted);
}

// Conditional access asks joni for more than the first sign-in. Only programs that call `POST /token` see that.
const steppedUp = Object.keys(programs).filter((name) => name !== "node with-azure-identity.js");
await Promise.all(steppedUp.map((name) => expect(name, onBehalfOf, "joni", { ...granted, signIns: 2 })));
