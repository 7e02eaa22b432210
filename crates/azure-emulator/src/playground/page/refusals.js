// @ts-check
/** What each error code means to a front-end developer. docs/errors.md says the same for every reader. */

/** @import { Refusal } from "./types" */

/** @param {string} title @param {string} meaning @param {string} action @returns {Refusal} */
const refusal = (title, meaning, action) => ({ title, meaning, action });

/** By `error.innererror.code` or `error.code`. @type {Record<string, Refusal>} */
export const REFUSALS = {
  Malformed: refusal(
    "The token is not a JWT from Entra",
    "Something else was sent as the bearer token.",
    "Send the access token that MSAL returned, unchanged.",
  ),
  UnsupportedAlgorithm: refusal(
    "The token's signature algorithm is not accepted",
    "Only RS256 is accepted.",
    "Send an access token that Entra issued.",
  ),
  UnknownTenant: refusal(
    "The broker does not serve this tenant",
    "The token comes from a tenant that is not configured.",
    "Ask the operator to list the tenant.",
  ),
  UnknownKey: refusal(
    "The token's signing key is not known",
    "Entra does not publish the key that the token names.",
    "Get a new Entra token and try once more.",
  ),
  InvalidSignature: refusal(
    "The token's signature is wrong",
    "The token was changed after Entra signed it.",
    "Send the token as MSAL returned it.",
  ),
  MissingClaim: refusal(
    "The token lacks a claim",
    "It is not an access token of Entra for this purpose.",
    "Check which token you send; an ID token does not work.",
  ),
  InvalidIssuer: refusal(
    "The token's issuer does not belong to its tenant",
    "It is not a token that Entra issued for this tenant.",
    "Check where the token comes from.",
  ),
  InvalidAudience: refusal(
    "The token is for another API",
    "Its audience is not accepted here.",
    "Ask Entra for the scopes that this broker's mode needs.",
  ),
  Expired: refusal(
    "The Entra token has expired",
    "Access tokens of Entra live 60 to 90 minutes.",
    "Call acquireTokenSilent before each request; it renews the token.",
  ),
  NotYetValid: refusal(
    "The Entra token is not valid yet",
    "The clocks of this machine and of Entra differ.",
    "Check the clocks.",
  ),
  NotDelegated: refusal(
    "The token is not a signed-in user's",
    "A program's own token, or an ID token, was sent.",
    "Send a delegated access token.",
  ),
  RejectedUpstream: refusal(
    "Azure refused the token",
    "Entra or ACS did not accept the user's token.",
    "Get a new Entra token and try once more.",
  ),
  NoAssignment: refusal(
    "This user has no assignment",
    "No assignment covers the user with this client app.",
    "Ask the operator to assign the user, one of their groups, or their tenant.",
  ),
  GroupsUnknown: refusal(
    "The user's groups are not known",
    "Only a group could cover the user, and the token does not list the groups.",
    "Ask the operator to let the broker look groups up.",
  ),
  UpstreamLimit: refusal(
    "Azure limits requests",
    "ACS, Entra or Graph answered 429.",
    "Wait as long as Retry-After says, then try again.",
  ),
  BrokerLimit: refusal(
    "The broker limits requests",
    "Too many requests came from this user or address.",
    "Wait as long as Retry-After says, then try again.",
  ),
  InvalidRequest: refusal(
    "The request is malformed",
    "A header, a parameter or the body is not as described.",
    "Correct the request; the message says what is wrong.",
  ),
  MissingApiVersionParameter: refusal(
    "The api-version is missing",
    "ACS's paths need the query parameter api-version.",
    "Add it, or call POST /token.",
  ),
  UnsupportedApiVersionValue: refusal(
    "The api-version is not supported",
    "The broker does not accept this version.",
    "Use one that the message names.",
  ),
  AuthenticationRequired: refusal(
    "No token was sent",
    "The request has no Authorization header.",
    "Send Authorization: Bearer with the Entra access token.",
  ),
  InvalidToken: refusal(
    "The Entra token was refused",
    "It failed a check.",
    "Get a new Entra token and try once more.",
  ),
  InsufficientClaims: refusal(
    "Entra wants more of the user",
    "Conditional access demands, for example, a second factor.",
    "Sign the user in again with the claims of WWW-Authenticate.",
  ),
  InsufficientScope: refusal(
    "The token lacks a scope",
    "It has none of the scopes that the broker requires.",
    "Ask Entra for a scope that WWW-Authenticate names.",
  ),
  NotAssigned: refusal(
    "This user may not have a token",
    "No assignment covers the user with this client app.",
    "Ask the operator for an assignment.",
  ),
  ExchangeForbidden: refusal(
    "Azure does not let this user in",
    "ACS refused the user, or Entra did by policy or for lack of consent.",
    "The message says which, and who can change it.",
  ),
  NotFound: refusal(
    "There is no such path",
    "The URL is not one of the broker's.",
    "Call POST /token.",
  ),
  MethodNotAllowed: refusal(
    "The method is not POST",
    "Every path of the broker takes POST only.",
    "Use POST.",
  ),
  RequestTimeout: refusal(
    "The body came too slowly",
    "The request was not complete in time.",
    "Try again.",
  ),
  PayloadTooLarge: refusal(
    "The body is too large",
    "It is over 64 KiB.",
    "Send no body.",
  ),
  UnsupportedMediaType: refusal(
    "The content type is not accepted",
    "The body is of a type that the path does not take.",
    "Send no body, or application/json with {}.",
  ),
  TooManyRequests: refusal(
    "Too many requests",
    "Azure or the broker limits requests for now.",
    "Wait as long as Retry-After says, then try again.",
  ),
  HeadersTooLarge: refusal(
    "The headers are too large",
    "Over 32 KiB or 100 fields.",
    "Send fewer or shorter headers.",
  ),
  InternalError: refusal(
    "The broker has a bug",
    "It could not answer.",
    "Report the request id.",
  ),
  UpstreamInvalidResponse: refusal(
    "Azure's answer was not usable",
    "Azure broke its contract.",
    "Report the request id to the operator.",
  ),
  UpstreamRejectedBroker: refusal(
    "Azure refused the broker itself",
    "The broker's own credential or registration is wrong.",
    "Report the request id to the operator.",
  ),
  UpstreamUnavailable: refusal(
    "Azure cannot be reached",
    "ACS, Entra or Graph is down or away.",
    "Wait as long as Retry-After says, then try again.",
  ),
  KeysUnavailable: refusal(
    "Entra's signing keys are not available",
    "The broker cannot check the token now.",
    "Wait as long as Retry-After says, then try again.",
  ),
  AssignmentsUnavailable: refusal(
    "The assignments are not available",
    "The broker cannot decide now.",
    "Wait as long as Retry-After says, then try again.",
  ),
  Overloaded: refusal(
    "The broker is overloaded",
    "It has too many requests at once.",
    "Wait as long as Retry-After says, then try again.",
  ),
  ShuttingDown: refusal(
    "The broker is stopping",
    "Another replica takes over.",
    "Try again.",
  ),
  UpstreamTimeout: refusal(
    "Azure did not answer in time",
    "ACS, Entra or Graph was too slow.",
    "Try again.",
  ),
};

/**
 * The closest explanation that there is.
 * @param {string | undefined} code @param {string | undefined} inner
 */
export function explain(code, inner) {
  return (
    REFUSALS[inner ?? ""] ??
    REFUSALS[code ?? ""] ??
    refusal("The request was refused", "The code is not known to this page.", "See the message and the status.")
  );
}
