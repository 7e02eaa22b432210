// MSAL in Chromium: redirect, silent by cache, refresh token and hidden frame, pop-up, step-up, logout; and axe on every
// page of the emulator, in both colour schemes. CHROMIUM names the browser, EMULATOR the emulator's https origin.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import axe from "axe-core";
import { chromium } from "playwright-core";

const EMULATOR = process.env.EMULATOR;
const APP = "http://localhost:3000";
const VOIP = ["https://communication.azure.com/clients/VoIP"];
const ACCESS = ["api://c0a5a991-0000-4000-8000-000000000005/access"];
const STEP_UP = JSON.stringify({ access_token: { acrs: { essential: true, value: "c1" } } });

const scripts = { "/": "app", "/bridge.html": "bridge" };
const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, APP);
  const script = scripts[pathname];
  if (script) {
    response.setHeader("content-type", "text/html");
    response.end(`<!doctype html><title>${script}</title><body><script type=module src=/${script}.js></script>`);
  } else if (["/app.js", "/bridge.js"].includes(pathname)) {
    response.setHeader("content-type", "text/javascript");
    response.end(fs.readFileSync(`out${pathname}`));
  } else {
    response.writeHead(pathname === "/favicon.ico" ? 204 : 404).end();
  }
}).listen(3000, "127.0.0.1");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--host-resolver-rules=MAP localhost 127.0.0.1"],
});

async function msal() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  const ready = () => page.waitForSelector("body[data-ready]", { state: "attached" });
  const popup = async (user, further, request) => {
    const [, result] = await Promise.all([
      page.waitForEvent("popup").then(async (window) => {
        await window.getByRole("button", { name: user }).click();
        if (further) await window.getByRole("button", { name: further }).click();
      }),
      page.evaluate((request) => window.msal.acquireTokenPopup(request), request),
    ]);
    return result;
  };

  await page.goto(`${APP}/?emulator=${EMULATOR}`);
  await ready();
  await page.evaluate((scopes) => {
    window.msal.loginRedirect({ scopes, redirectUri: `${location.origin}/` });
  }, VOIP);
  await page.getByRole("button", { name: /Adele Vance/ }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => window.redirectResult);
  const first = await page.evaluate(() => window.redirectResult);
  assert.equal(first.account.username, "adele@fabrikam.com");
  console.log("redirect:", first.account.username);

  const silent = (request) => page.evaluate((request) => {
    const account = window.msal.getAllAccounts().find(({ username }) => username.startsWith("adele"));
    return window.msal.acquireTokenSilent({ ...request, account });
  }, request);
  const cached = await silent({ scopes: VOIP });
  assert.deepEqual([cached.accessToken, cached.fromCache], [first.accessToken, true]);
  const refreshed = await silent({ scopes: VOIP, forceRefresh: true });
  assert.notEqual(refreshed.accessToken, first.accessToken);
  assert.ok((await silent({ scopes: ACCESS })).accessToken);
  console.log("silent: cache, refresh token, another API");

  const sso = (loginHint) => page.evaluate(
    (request) => window.msal.ssoSilent(request).then(({ account }) => account.username, (e) => `${e.name} ${e.errorCode}`),
    { scopes: VOIP, loginHint },
  );
  assert.equal(await sso("alex@fabrikam.com"), "alex@fabrikam.com");
  assert.equal(await sso("who@fabrikam.com"), "InteractionRequiredAuthError login_required");
  console.log("hidden frame: alex, and nobody");

  const diego = await popup(/Diego/, null, { scopes: VOIP, prompt: "select_account" });
  assert.equal(diego.account.username, "diego@contoso.com");
  const joni = await popup(/Joni/, "Approve", { scopes: ACCESS, claims: STEP_UP, loginHint: "joni@fabrikam.com" });
  const payload = JSON.parse(Buffer.from(joni.accessToken.split(".")[1], "base64url").toString("utf8"));
  assert.deepEqual(payload.acrs, ["c1"]);
  console.log("pop-up: diego, and joni with more proof");

  await page.evaluate(() => { window.msal.logoutRedirect({ postLogoutRedirectUri: `${location.origin}/?out=1` }); });
  await page.waitForURL("**/?out=1*");
  await ready();
  assert.deepEqual(errors, []);
  console.log("logout");
}

async function accessibility() {
  const query = new URLSearchParams({
    client_id: "c0a5a990-0000-4000-8000-000000000003", response_type: "code", redirect_uri: `${APP}/`,
    scope: `openid ${VOIP}`, code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    code_challenge_method: "S256", claims: STEP_UP,
  });
  const authorize = `${EMULATOR}/common/oauth2/v2.0/authorize`;
  const joni = (page) => page.getByRole("button", { name: /Joni/ }).click();
  const wrong = async (page) => {
    await page.getByLabel("Code").fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
  };
  const pages = {
    users: [`${authorize}?${query}`], consent: [`${authorize}?${query}&prompt=consent`, joni],
    verify: [`${authorize}?${query}`, joni], device: [`${EMULATOR}/devicelogin`],
    wrong: [`${EMULATOR}/devicelogin`, wrong], error: [authorize], logout: [`${EMULATOR}/common/oauth2/v2.0/logout`],
  };
  const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, colorScheme });
    for (const [name, [url, act]] of Object.entries(pages)) {
      const page = await context.newPage();
      await page.goto(url);
      await act?.(page);
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate((runOnly) => window.axe.run(document, { runOnly }), tags);
      assert.deepEqual(violations.map(({ id }) => id), [], `${name} ${colorScheme}`);
      if (process.env.SCREENSHOTS) {
        await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${colorScheme}.png`, fullPage: true });
      }
    }
  }
  console.log("axe: nothing");
}

try {
  await msal();
  await accessibility();
} finally {
  await browser.close();
  server.close();
}
