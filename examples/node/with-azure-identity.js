// The SDK calls the broker as it would call ACS (`resourceEndpoint`). It repeats 429 and 503 by itself.
import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { DeviceCodeCredential } from "@azure/identity";
import { authority, broker, clientId, scope } from "./config.js";

const credential = new AzureCommunicationTokenCredential({
  resourceEndpoint: broker,
  tokenCredential: new DeviceCodeCredential({
    clientId,
    tenantId: authority.pathname.slice(1),
    authorityHost: authority.origin,
    // Microsoft's list of hosts does not have the emulator's.
    disableInstanceDiscovery: authority.hostname === "localhost",
    userPromptCallback: ({ message }) => console.log(message),
  }),
  scopes: [scope],
});
try {
  const { expiresOnTimestamp } = await credential.getToken();
  console.log(`ACS token until ${new Date(expiresOnTimestamp).toISOString()}`);
} catch (error) {
  // A refusal has the broker's answer in its message, with the code and a sentence.
  console.error(error.message);
  process.exitCode = 1;
} finally {
  credential.dispose();
}
