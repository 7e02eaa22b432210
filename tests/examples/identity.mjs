// A page whose users sign in with `InteractiveBrowserCredential` of @azure/identity, in headless Chromium: by popup and by
// redirect, then ACS tokens from the broker.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [address, home] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
  env: { ...process.env, HOME: home }, // where the CA is trusted
});

async function open(url) {
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(url);
  const status = page.getByRole("status");
  return {
    page,
    click: (name) => page.getByRole("button", { name, exact: true }).click(),
    /** What the page says once it says something. */
    async shown() {
      await status.filter({ hasText: /[a-z0-9]/i }).waitFor();
      return status.innerText();
    },
  };
}

/** At the emulator's sign-in page. */
const choose = (page, user) => page.getByRole("button", { name: `${user}@` }).click();

try {
  const nestor = await open(address);
  const opened = nestor.page.waitForEvent("popup");
  await nestor.click("POST /token");
  await choose(await opened, "nestor");
  assert.match(await nestor.shown(), /^200 8:acs:.*_fab00000-0000-4000-8000-00000000e570$/);
  console.log("ok  web: InteractiveBrowserCredential signs in by popup, and POST /token answers");
  let popups = 0;
  nestor.page.on("popup", () => (popups += 1));
  await nestor.click("resourceEndpoint");
  assert.match(await nestor.shown(), /^until 20/);
  assert.equal(popups, 0, "who has signed in is not asked again");
  console.log("ok  web: AzureCommunicationTokenCredential over it gets a token from the broker");

  const megan = await open(`${address}?redirect`);
  await megan.click("POST /token");
  await choose(megan.page, "megan");
  await megan.page.waitForURL((url) => url.href.startsWith(address));
  assert.equal(await megan.shown(), "403 ExchangeForbidden");
  console.log("ok  web: InteractiveBrowserCredential signs in by redirect, and a refusal has its code");
} finally {
  await browser.close();
}
