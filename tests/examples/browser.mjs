// The story of examples/web in headless Chromium, with MSAL as it is: sign-in by redirect and by popup, both ways to a token,
// refusals, waiting, renewal without the user, a second factor, sign-out.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { control, onBehalfOf, passthrough } from "./dev.mjs";

const clockIsShared = process.env.CLOCK === "shared";
const [pageOfPassthrough, pageOfOnBehalfOf, home] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--host-resolver-rules=MAP app.elsewhere.example 127.0.0.1"],
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

/** Clicks, waits for what the page then shows, and gives the broker's first answer. */
async function getToken(app, way, text = "ACS token until") {
  const path = way === viaRefresher ? "/token" : "/access/entra/:exchangeAccessToken";
  const isIt = (response) => new URL(response.url()).pathname === path && response.request().method() === "POST";
  const answered = app.page.waitForResponse(isIt);
  await app.button(way).click();
  const response = await answered;
  await shows(app, text);
  return [response.status(), response.headers()["x-cache"]];
}

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
    assert.deepEqual(await getToken(adele, viaRefresher), [200, "miss"]);
  });
  await story("the second call is answered from the cache", async () => {
    assert.deepEqual(await getToken(adele, viaRefresher), [200, "hit"]);
  });
  await story("the SDK calls the broker as it would call ACS", async () => {
    assert.deepEqual(await getToken(adele, viaEndpoint), [200, "hit"]);
  });
  /** Moves time on, for the page and, where `dev` can, for Entra, ACS and the broker. */
  const pass = async (app, minutes) => {
    if (clockIsShared) await control(passthrough, "POST", "clock", { advance: `${minutes}m` });
    await app.context.clock.fastForward(minutes * 60_000);
  };
  await story("the tokens are renewed in the background before they end", async () => {
    await getToken(adele, viaRefresher);
    const before = adele.answers.length;
    // An Entra token lives 60 to 90 minutes: time passes until the SDK, ten minutes before the end, asks anew.
    for (let minutes = 0; minutes < 95 && adele.answers.length < before + 2; minutes += 5) {
      await pass(adele, 5);
      await adele.page.waitForTimeout(300);
    }
    const [entra, acs] = adele.answers.slice(before);
    assert.deepEqual([entra?.grant, entra?.status], ["refresh_token", 200]);
    assert.deepEqual([acs?.path, acs?.status], ["token", 200]);
    if (clockIsShared) assert.equal(acs.cache, "miss", "the broker renewed its token too");
  });
  if (clockIsShared) {
    await story("after a day, when the refresh token has ended, a hidden frame signs in", async () => {
      await pass(adele, 25 * 60);
      // The SDK's own refresh may be on its way already; then both get one exchange.
      const [status, cache] = await getToken(adele, viaRefresher);
      assert.equal(status, 200);
      assert.ok(["miss", "shared"].includes(cache), cache);
      const grants = adele.answers.map(({ grant }) => grant).filter(Boolean);
      assert.deepEqual(grants.slice(0, 2), ["authorization_code", "refresh_token"]);
      assert.equal(grants.at(-1), "authorization_code", String(grants));
    });
  } else {
    console.log("    web: this dev's clock cannot be moved, so the hidden frame that signs in after a day is left out");
  }
  await story("sign-out", async () => {
    await adele.button("Sign out").click();
    await adele.button("Sign in").waitFor();
    assert.equal(await adele.button(viaRefresher).isVisible(), false);
  });
  await adele.context.close();

  const nobody = await open(pageOfPassthrough);
  await story("a sign-in service that cannot be reached, or is not trusted, is told", async () => {
    // A certificate that is not trusted is the same to the page.
    await nobody.page.route(`${passthrough.emulator}/**`, (route) => route.abort("connectionfailed"));
    await nobody.button("Sign in").click();
    await shows(nobody, `${passthrough.emulator} cannot be reached.`);
  });
  await nobody.context.close();

  const megan = await open(pageOfPassthrough);
  await story("a user who is not assigned is told why, after a sign-in with a popup", async () => {
    const opened = megan.page.waitForEvent("popup");
    await megan.button("Sign in with a popup").click();
    await choose(await opened, "megan");
    await megan.page.getByText("Signed in as megan@fabrikam.com").waitFor();
    for (const way of [viaRefresher, viaEndpoint]) {
      assert.equal((await getToken(megan, way, /Ask the operator.*ExchangeForbidden/s))[0], 403);
    }
    assert.equal(megan.answers.filter(({ status }) => status === 403).length, 2, "a refusal is not asked again");
  });
  await megan.context.close();

  for (const [status, user] of [[429, "alex"], [503, "lidia"]]) {
    const busy = await open(pageOfPassthrough);
    await story(`on ${status} the application waits as long as it is told`, async () => {
      await signIn(busy, user);
      // The broker itself asks once more on 503.
      await control(passthrough, "PUT", "faults", { exchange: { status, retry_after: 2, times: status === 503 ? 2 : 1 } });
      assert.equal((await getToken(busy, viaRefresher, /The broker is busy. Next try in \d+ s/))[0], status);
      await shows(busy, "ACS token until");
      const calls = busy.answers.filter(({ path, grant }) => path === "token" && !grant).map(({ status }) => status);
      assert.equal(calls.pop(), 200);
      // The page's clock is not the broker's: it may ask a moment early, and then once more.
      assert.ok(calls.length <= 2 && calls.every((each) => each === status), `${calls}`);
    });
    await busy.context.close();
  }

  await story("a page of another origin cannot read the broker's answers", async () => {
    const ask = (broker) => fetch(`${broker}/token`, { method: "POST" }).then((answer) => answer.status, (error) => error.name);
    const page = await browser.newPage();
    const here = new URL(pageOfPassthrough);
    await page.goto(here.href);
    assert.equal(await page.evaluate(ask, passthrough.broker), 401);
    await page.goto(`http://app.elsewhere.example:${here.port}/`);
    assert.equal(await page.evaluate(ask, passthrough.broker), "TypeError");
    await page.close();
  });

  const joni = await open(pageOfOnBehalfOf);
  await story("a second factor that conditional access demands", async () => {
    await signIn(joni, "joni");
    assert.equal(await joni.button(viaEndpoint).isDisabled(), true, "the SDK takes ACS's own scopes only");
    assert.equal((await getToken(joni, viaRefresher, "Your organization asks you to sign in again."))[0], 401);
    await joni.button("Continue at sign-in").click();
    await choose(joni.page, "joni");
    await joni.page.getByRole("button", { name: "Approve" }).click();
    assert.deepEqual(await getToken(joni, viaRefresher), [200, "miss"]);
  });
  await joni.context.close();
} finally {
  await browser.close();
}
