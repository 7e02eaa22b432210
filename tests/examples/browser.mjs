// The story of examples/web in headless Chromium, with MSAL as it is: sign-in by redirect and by popup, both ways to a token,
// refusals, waiting, renewal without the user, a second factor, sign-out.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { control, onBehalfOf, passthrough } from "./dev.mjs";

const [pageOfPassthrough, pageOfOnBehalfOf, home] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
  env: { ...process.env, HOME: home }, // where the CA is trusted
});

/** A page that nobody has signed in to, and what it was answered, in order. */
async function open(address) {
  const context = await browser.newContext();
  await context.clock.install();
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const answers = [];
  page.on("response", (response) => {
    const { pathname } = new URL(response.url());
    const grant = /grant_type=([a-z_]+)/.exec(response.request().postData() ?? "")?.[1];
    if (response.request().method() === "POST") {
      answers.push({ path: pathname.split("/").pop(), status: response.status(), cache: response.headers()["x-cache"], grant });
    }
  });
  await page.goto(address);
  return { context, page, answers, status: page.getByRole("status"), button: (name) => page.getByRole("button", { name, exact: true }) };
}

/** At the emulator's sign-in page. */
const choose = (page, user) => page.getByRole("button", { name: `${user}@` }).click();

async function signIn(app, user) {
  await app.button("Sign in").click();
  await choose(app.page, user);
  await app.page.getByText(`Signed in as ${user}@fabrikam.com`).waitFor();
}

const shows = (app, text) => app.status.filter({ hasText: text }).waitFor();
const viaRefresher = "Get token with tokenRefresher";
const viaEndpoint = "Get token with resourceEndpoint";

async function story(name, tell) {
  await control(passthrough, "DELETE", "faults");
  await tell().catch((error) => {
    throw new Error(`${name}: ${error.stack}`);
  });
  console.log(`ok  web: ${name}`);
}

try {
  const adele = await open(pageOfPassthrough);
  await story("a member of an assigned group gets a token", async () => {
    await signIn(adele, "adele");
    await adele.button(viaRefresher).click();
    await shows(adele, "ACS token until");
    assert.equal(adele.answers.at(-1).cache, "miss");
  });
  await story("the second call is answered from the cache", async () => {
    await adele.button(viaRefresher).click();
    await adele.page.waitForResponse((response) => response.url() === `${passthrough.broker}/token`);
    await shows(adele, "ACS token until");
    assert.equal(adele.answers.at(-1).cache, "hit");
  });
  await story("the SDK calls the broker as it would call ACS", async () => {
    await adele.button(viaEndpoint).click();
    await shows(adele, "ACS token until");
    const last = adele.answers.at(-1);
    assert.deepEqual([last.path, last.status, last.cache], [":exchangeAccessToken", 200, "hit"]);
  });
  /** Moves time on, for the page and for Entra, ACS and the broker. */
  const pass = async (app, minutes) => {
    await control(passthrough, "POST", "clock", { advance: `${minutes}m` });
    await app.context.clock.fastForward(minutes * 60_000);
  };
  await story("the tokens are renewed in the background before they end", async () => {
    await adele.button(viaRefresher).click();
    await shows(adele, "ACS token until");
    const before = adele.answers.length;
    // An Entra token lives 60 to 90 minutes: time passes until the SDK, ten minutes before the end, asks anew.
    for (let minutes = 0; minutes < 95 && adele.answers.length < before + 2; minutes += 5) {
      await pass(adele, 5);
      await adele.page.waitForTimeout(300);
    }
    const [entra, acs] = adele.answers.slice(before);
    assert.deepEqual([entra?.grant, entra?.status], ["refresh_token", 200]);
    assert.deepEqual([acs?.path, acs?.status, acs?.cache], ["token", 200, "miss"]);
  });
  await story("after a day, when the refresh token has ended, a hidden frame signs in", async () => {
    await pass(adele, 25 * 60);
    await adele.button(viaRefresher).click();
    await adele.page.waitForResponse((response) => response.url() === `${passthrough.broker}/token`);
    await shows(adele, "ACS token until");
    assert.ok(adele.answers.some(({ grant, status }) => grant === "refresh_token" && status === 400), "it had ended");
    assert.equal(adele.answers.filter(({ grant }) => grant === "authorization_code").length, 2);
  });
  await story("sign-out", async () => {
    await adele.button("Sign out").click();
    await adele.button("Sign in").waitFor();
    assert.equal(await adele.button(viaRefresher).isVisible(), false);
  });
  await adele.context.close();

  const megan = await open(pageOfPassthrough);
  await story("a user who is not assigned is told why, after a sign-in with a popup", async () => {
    const opened = megan.page.waitForEvent("popup");
    await megan.button("Sign in with a popup").click();
    await choose(await opened, "megan");
    await megan.page.getByText("Signed in as megan@fabrikam.com").waitFor();
    for (const way of [viaRefresher, viaEndpoint]) {
      await megan.button(way).click();
      await shows(megan, "Ask the operator");
      await shows(megan, "ExchangeForbidden");
    }
    assert.equal(megan.answers.filter(({ status }) => status === 403).length, 2, "a refusal is not asked again");
  });
  await megan.context.close();

  const alex = await open(pageOfPassthrough);
  await signIn(alex, "alex");
  for (const status of [429, 503]) {
    await story(`${status}: the application waits as long as it is told`, async () => {
      const times = status === 503 ? 2 : 1; // the broker itself asks once more on 503
      await control(passthrough, "PUT", "faults", { exchange: { status, retry_after: 2, times } });
      // ACS is asked again, since time has passed.
      await pass(alex, 20 * 60);
      await alex.button(viaRefresher).click();
      await shows(alex, /The broker is busy. Next try in \d s/);
      await alex.context.clock.fastForward(3000);
      await shows(alex, "ACS token until");
    });
  }
  await alex.context.close();

  const joni = await open(pageOfOnBehalfOf);
  await story("a second factor that conditional access demands", async () => {
    await signIn(joni, "joni");
    assert.equal(await joni.button(viaEndpoint).isDisabled(), true, "the SDK takes ACS's own scopes only");
    await joni.button(viaRefresher).click();
    await shows(joni, "Your organization asks you to sign in again.");
    await joni.button("Continue at sign-in").click();
    await joni.page.getByRole("button", { name: /Joni/ }).or(joni.page.getByRole("button", { name: "Approve" })).click();
    await joni.page.getByRole("button", { name: "Approve" }).or(joni.button(viaRefresher)).waitFor();
    const approve = joni.page.getByRole("button", { name: "Approve" });
    if (await approve.isVisible()) await approve.click();
    await joni.button(viaRefresher).click();
    await shows(joni, "ACS token until");
  });
  await joni.context.close();
} finally {
  await browser.close();
}
