// node recipe.mjs none|basic|post BROKER ENTRA_TOKEN: openid-client as the recipe has it, or with `Basic`. Prints as call.ts does,
// for a refusal the status, error and error_description.
import * as oauth from "openid-client";
import { acsToken, brokerAt } from "./recipe-openid-client.mjs";

const [, , method, broker, entraToken] = process.argv;
let config = brokerAt(broker);
if (method === "basic") {
  config = new oauth.Configuration(config.serverMetadata(), "contoso-web", undefined, oauth.ClientSecretBasic("not a secret"));
  oauth.allowInsecureRequests(config);
} else if (method === "post") {
  // What openid-client does with a secret unless it is told otherwise.
  config = new oauth.Configuration(config.serverMetadata(), "contoso-web", "not a secret");
  oauth.allowInsecureRequests(config);
}
try {
  const answer = await acsToken(config, entraToken);
  console.log("200", answer.access_token.split(".").length, Math.floor(Date.now() / 1000) + answer.expiresIn());
} catch (error) {
  if (!(error instanceof oauth.WWWAuthenticateChallengeError)) throw error;
  const body = await error.response.json();
  console.log(error.status, body.error, body.error_description);
}
