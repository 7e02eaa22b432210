// In the place of the desktop's `xdg-open`: opens an address as the page's reader does, and does what the page asks of them.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const url = new URL(process.argv[2]);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
page.setDefaultTimeout(20_000);
try {
  await page.goto(url.href);
  if (url.pathname.endsWith("/adminconsent")) await consent();
  else await getToken();
} finally {
  await browser.close();
}

/** An administrator reads what is asked for, and accepts. */
async function consent() {
  await page.getByRole("heading", { name: "Permissions requested" }).waitFor();
  const asked = await page.locator("li").allInnerTexts();
  for (const scope of ["VoIP", "VoIP.Join"]) {
    assert.ok(asked.includes(`Azure Communication Services Clients: ${scope}`), `${asked}`);
  }
  await page.getByRole("button", { name: "Accept", exact: true }).click();
  await page.getByRole("heading", { name: "The permissions are granted" }).waitFor();
}

/** Adele signs in in the playground and gets a token. */
async function getToken() {
  const button = (name) => page.getByRole("button", { name, exact: true });
  await page.locator("#sign-in:enabled").waitFor();
  await page.getByLabel("User", { exact: true }).selectOption("adele");
  await button("Sign in").click();
  await page.getByText("Adele Vance is signed in.").waitFor();
  await button("Get token").click();
  await page.locator("#answer .outcome").waitFor();
  assert.match(await page.locator("#answer").innerText(), /fab00000-0000-4000-8000-0000000ade1e/);
}
