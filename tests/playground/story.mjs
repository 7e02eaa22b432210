// The playground in Chromium, as a front-end developer uses it. PLAYGROUND is its address, BROKER the broker's.
// PICTURES is a folder for screenshots, if they are wanted.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const { PLAYGROUND, BROKER, PICTURES, CHROMIUM = "/usr/bin/chromium" } = process.env;
const LIMIT = 20_000;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
let passed = 0;

/** @param {import("playwright-core").Page} page @param {string} name */
async function picture(page, name) {
  if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: true });
}

async function accessible(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target)}`), [], what);
}

async function open(scheme) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(LIMIT);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    // A refusal is what the page is for; everything else in the console is a fault, a blocked resource above all.
    if (message.type() === "error" && !/status of 4\d\d|status of 5\d\d/.test(message.text())) errors.push(message.text());
  });
  const foreign = [];
  page.on("request", (request) => {
    if (!/^(http:\/\/(127\.0\.0\.1|localhost):|data:)/.test(request.url())) foreign.push(request.url());
  });
  await page.goto(PLAYGROUND);
  await page.locator("#sign-in:enabled").waitFor();
  return {
    page,
    async close() {
      assert.deepEqual(errors, []);
      assert.deepEqual(foreign, [], "nothing comes from another host");
      await context.close();
    },
  };
}

const button = (page, name) => page.getByRole("button", { name, exact: true });

async function signIn(page, user, mode, name) {
  await page.getByLabel("Mode", { exact: true }).selectOption(mode);
  await page.getByLabel("User", { exact: true }).selectOption(user);
  // The broker of a mode starts when the mode is chosen.
  await page.getByText("/token", { exact: false }).first().waitFor();
  await page.waitForFunction(() => !document.getElementById("target")?.textContent?.startsWith("null"));
  await button(page, "Sign in").click();
  await page.getByText(`${name} is signed in.`).waitFor();
}

async function answer(page) {
  await page.locator("#answer").evaluate((answer) => answer.replaceChildren());
  await button(page, "Get token").click();
  await page.locator("#answer .outcome").waitFor();
  return page.locator("#answer").innerText();
}

async function story(name, run) {
  await run();
  passed += 1;
  console.log(`ok  ${name}`);
}

for (const scheme of ["light", "dark"]) {
  await story(`${scheme}: a group member gets a token, then from the cache`, async () => {
    const { page, close } = await open(scheme);
    await picture(page, `start-${scheme}`);
    await accessible(page, "start");
    await signIn(page, "adele", "passthrough", "Adele Vance");
    const first = await answer(page);
    assert.match(first, /200/);
    assert.match(first, /fab00000-0000-4000-8000-0000000ade1e/);
    assert.match(await answer(page), /hit/);
    assert.equal(await page.locator(".waterfall li").count(), 4);
    await picture(page, `token-${scheme}`);
    await accessible(page, "token");
    await close();
  });
  await story(`${scheme}: a refusal has its code, its meaning and its page in the docs`, async () => {
    const { page, close } = await open(scheme);
    await signIn(page, "megan", "passthrough", "Megan Bowen");
    const refusal = await answer(page);
    assert.match(refusal, /403/);
    assert.match(refusal, /ExchangeForbidden/);
    assert.match(refusal, /What to do/);
    await picture(page, `refusal-${scheme}`);
    await accessible(page, "refusal");
    await page.getByRole("link", { name: "More about ExchangeForbidden" }).click();
    await page.locator("#exchangeforbidden").waitFor();
    await accessible(page, "docs");
    await close();
  });
}

await story("the second factor on behalf of a user", async () => {
  const { page, close } = await open("light");
  await signIn(page, "joni", "on_behalf_of", "Joni Sherman");
  assert.match(await answer(page), /InsufficientClaims/);
  await button(page, "Sign in again with these claims").click();
  await page.getByRole("button", { name: /Joni Sherman/ }).click();
  const approve = page.getByRole("button", { name: /approve|continue|confirm|verif/i }).first();
  await approve.or(page.getByText("Joni Sherman is signed in.")).waitFor();
  if (await approve.isVisible()) await approve.click();
  await page.getByText("Joni Sherman is signed in.").waitFor();
  assert.match(await answer(page), /200/);
  await close();
});

await story("every other mode issues a token", async () => {
  for (const mode of ["identity", "on_behalf_of", "teams_user"]) {
    const { page, close } = await open("light");
    await signIn(page, "alex", mode, "Alex Wilber");
    assert.match(await answer(page), /200/, mode);
    await close();
  }
});

await story("the switches show what an application will see", async () => {
  const { page, close } = await open("light");
  await page.getByText("Make something go wrong").click();
  await page.getByLabel("ACS answers 429").check();
  await page.getByText("Done.").waitFor();
  await signIn(page, "nestor", "passthrough", "Nestor Wilke");
  const limited = await answer(page);
  assert.match(limited, /TooManyRequests/);
  assert.match(limited, /7 seconds/);
  await page.getByText("Make something go wrong").click();
  await button(page, "Set everything right").click();
  await page.getByText("Everything is as at the start").waitFor();
  // The broker pauses for the 7 seconds that ACS asked for; time passes for both.
  await button(page, "Let 10 minutes pass").click();
  await page.getByText("10 minutes have passed").waitFor();
  assert.match(await answer(page), /200/);
  await button(page, "Rotate the signing keys").click();
  await page.getByText("New keys sign from now on.").waitFor();
  await signIn(page, "nestor", "passthrough", "Nestor Wilke");
  assert.match(await answer(page), /200/);
  await page.getByText("Make something go wrong").click();
  await page.getByLabel("Take the user's assignment away").check();
  await page.getByText("It counts from the next request on.").waitFor();
  await page.waitForTimeout(1500);
  assert.match(await answer(page), /403/);
  await button(page, "Set everything right").click();
  await page.getByText("Everything is as at the start").waitFor();
  await close();
});

await story("signing out", async () => {
  const { page, close } = await open("light");
  await signIn(page, "adele", "passthrough", "Adele Vance");
  await button(page, "Sign out").click();
  await page.getByText("Nobody is signed in.").waitFor();
  assert.ok(await button(page, "Get token").isDisabled());
  await close();
});

await story("by keyboard alone", async () => {
  const { page, close } = await open("light");
  await page.getByLabel("User", { exact: true }).focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  // "Nobody is signed in." stands there until then.
  await page.getByText("Adele Vance is signed in.").waitFor();
  await button(page, "Get token").focus();
  await page.keyboard.press("Enter");
  await page.locator("#answer .outcome.good").waitFor();
  await close();
});

await story("a narrow screen shows all of it", async () => {
  const { page, close } = await open("light");
  await page.setViewportSize({ width: 360, height: 740 });
  await signIn(page, "adele", "passthrough", "Adele Vance");
  await answer(page);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360);
  await picture(page, "phone");
  await close();
});

await story("a page from elsewhere drives neither emulator nor broker", async () => {
  // Another host name with an address of this machine, as after DNS rebinding.
  const server = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<title>x</title>"));
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address();
  const rebound = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--host-resolver-rules=MAP attacker.example 127.0.0.1"],
  });
  const page = await rebound.newPage();
  await page.goto(`http://attacker.example:${port}/`);
  const call = (url, options) => page.evaluate(([url, options]) => fetch(url, options).then((r) => r.status, (e) => e.name), [url, options]);
  assert.equal(await call(`${PLAYGROUND}_emulator/users`, {}), "TypeError");
  assert.equal(await call(`${BROKER}/token`, { method: "POST" }), "TypeError");
  for (const target of [PLAYGROUND, `${BROKER}/`]) {
    const own = new URL(target);
    const response = await page.goto(`http://attacker.example:${own.port}/_emulator/users`);
    assert.equal(response?.status(), 403, target);
  }
  await rebound.close();
  server.close();
});

await browser.close();
console.log(`${passed} passed, 0 failed`);
