// The page that pop-ups and hidden frames come back to, as MSAL 5 wants it.
import { broadcastResponseToMainFrame } from "@azure/msal-browser/redirect-bridge";

await broadcastResponseToMainFrame();
