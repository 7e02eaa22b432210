// node built/call.js CLIENT BROKER ENTRA_TOKEN: one call with a generated client. Prints what was read with types: `200`,
// the parts of the token and its end in seconds, or the status, code, inner code and Retry-After.
import * as heyApi from "./hey-api.js";
import * as openapiFetch from "./openapi-fetch.js";

declare const process: { argv: [string, string, string, string, string] };

const [, , name, broker, entraToken] = process.argv;
const client = name === "hey-api" ? heyApi : openapiFetch;
const answer = await client.acsToken(broker, entraToken);
if (answer.token !== undefined) {
  console.log("200", answer.token.split(".").length, Math.floor(answer.expiresOn.getTime() / 1000));
} else {
  console.log(answer.refused, answer.code, answer.reason ?? "-", answer.retryAfter ?? "-");
}
