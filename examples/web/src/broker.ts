import { config } from "./config";

/** The broker's refusal. Depend on `code`; `message` is for people and may change. */
export class BrokerError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    /** Seconds, on 429 and 503. */
    readonly retryAfter?: number,
    /** What Entra asks of the user, on 401. */
    readonly claims?: string,
    /** For the operator, who finds the request by it. */
    readonly requestId?: string | null,
  ) {
    super(message);
  }

  static async from(response: Response): Promise<BrokerError> {
    // A proxy on the way may answer with something else than the broker's JSON.
    const body = await response.json().catch(() => ({}));
    const retryAfter = response.headers.get("Retry-After");
    const claims = /claims="([^"]+)"/.exec(response.headers.get("WWW-Authenticate") ?? "")?.[1];
    return new BrokerError(
      body.error?.message ?? `The broker answered ${response.status}.`,
      response.status,
      body.error?.code ?? "Unknown",
      retryAfter ? Number(retryAfter) : undefined,
      claims && atob(claims),
      response.headers.get("x-ms-request-id"),
    );
  }
}

/** One call of the broker: an Entra token goes in, an ACS token comes out. */
export async function exchange(entraToken: string): Promise<{ token: string; expiresOnTimestamp: number }> {
  const response = await fetch(`${config.broker}/token`, {
    method: "POST",
    headers: { Authorization: `Bearer ${entraToken}` },
  });
  if (!response.ok) throw await BrokerError.from(response);
  const { accessToken } = await response.json();
  // The end comes from the answer: an ACS token may be encrypted, so nothing here reads the token itself.
  return { token: accessToken.token, expiresOnTimestamp: Date.parse(accessToken.expiresOn) };
}
