// A single-page application that does nothing but hold MSAL, for browser.js to drive.
import { PublicClientApplication } from "@azure/msal-browser";

const EMULATOR = new URLSearchParams(location.search).get("emulator") ?? sessionStorage.emulator;
sessionStorage.emulator = EMULATOR;
const app = new PublicClientApplication({
  auth: {
    clientId: "c0a5a990-0000-4000-8000-000000000003",
    authority: `${EMULATOR}/organizations`,
    knownAuthorities: [new URL(EMULATOR).host],
    redirectUri: `${location.origin}/bridge.html`,
  },
});
await app.initialize();
window.msal = app;
window.redirectResult = await app.handleRedirectPromise();
document.body.dataset.ready = "yes";
