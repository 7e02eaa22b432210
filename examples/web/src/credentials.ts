import { AzureCommunicationTokenCredential } from "@azure/communication-common";
import { entraToken } from "./auth";
import { BrokerError, exchange } from "./broker";
import { config } from "./config";

/**
 * One way: the SDK calls the broker as it would call ACS, and repeats 429 and 503 by itself. For passthrough mode: the
 * SDK takes ACS's own scopes only.
 */
export function credentialWithEndpoint(): AzureCommunicationTokenCredential {
  return new AzureCommunicationTokenCredential({
    resourceEndpoint: config.broker,
    tokenCredential: { getToken: () => entraToken() },
    scopes: config.scopes,
  });
}

/** The other way: the application calls the broker, in every mode of the broker. `waiting` hears of each delay. */
export function credentialWithRefresher(waiting: (seconds: number) => void): AzureCommunicationTokenCredential {
  return new AzureCommunicationTokenCredential({
    tokenRefresher: () => refresh(waiting),
    refreshProactively: true,
  });
}

async function refresh(waiting: (seconds: number) => void) {
  let entra = await entraToken();
  let newSignIn = false;
  for (let attempt = 1; ; attempt++) {
    try {
      return await exchange(entra.token);
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      if (error.status === 401 && !newSignIn) {
        // Entra asks for more (claims), or the token has just ended: a new one, once.
        newSignIn = true;
        entra = await entraToken({ claims: error.claims, forceRefresh: true });
      } else if (error.retryAfter !== undefined && error.retryAfter <= 60 && attempt < 4) {
        const seconds = error.retryAfter; // 429 or 503
        waiting(seconds);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      } else {
        throw error;
      }
    }
  }
}
