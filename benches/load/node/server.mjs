// A token broker as one writes it for Node.js, with what is usual there: fastify, jose, lru-cache, pino, prom-client. It is
// the peer that benches/load compares with, and does what the broker does for POST /token in passthrough mode: the same
// checks in the same order, a cache of verified tokens and one of ACS tokens, one exchange for those who wait for the same,
// an access line and an audit event for each request, a duration histogram. Nothing is left out that would make the broker
// look better, and nothing is done that the broker does not do.
import { createHash, randomUUID } from 'node:crypto';
import fastify from 'fastify';
import { compactVerify, createRemoteJWKSet, errors } from 'jose';
import { LRUCache } from 'lru-cache';
import pino from 'pino';
import { Histogram } from 'prom-client';

const { AUTHORITY, ENDPOINT, TENANTS, ASSIGNMENTS, API_VERSION } = process.env;
const AUDIENCES = ['2a04943b-b6a7-4f65-8786-2bb6131b59f6', 'https://communication.azure.com/clients'];
const SCOPES = new Set(['VoIP', 'VoIP.Join']);
const SKEW = 60;
const MARGIN = 30_000;
const MIN_GAIN = 120_000;

// Lines are collected and written together, as pino's documents advise for production.
const log = pino(pino.destination({ fd: 1, sync: false, minLength: 8_192 }));
const app = fastify({ logger: false, bodyLimit: 65_536, keepAliveTimeout: 75_000, genReqId: () => randomUUID() });

const durations = new Histogram({
  name: 'http_server_request_duration_seconds',
  help: 'Duration of HTTP server requests.',
  labelNames: ['method', 'status', 'route'],
  buckets: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
});

class Refused extends Error {
  constructor(status, code, inner) {
    super(code);
    Object.assign(this, { status, code, inner });
  }
}

const tenants = new Map();
for (const id of TENANTS.split(',')) {
  const found = await (await fetch(`${AUTHORITY}/${id}/v2.0/.well-known/openid-configuration`)).json();
  const v1 = await (await fetch(`${AUTHORITY}/${id}/.well-known/openid-configuration`)).json();
  tenants.set(id, { keys: createRemoteJWKSet(new URL(found.jwks_uri)), issuers: [found.issuer, v1.issuer] });
}

// principal|client: users, groups and whole tenants alike.
const assigned = new Set(ASSIGNMENTS.split(','));

const verified = new LRUCache({ max: 20_000 });
const issued = new LRUCache({ max: 100_000 });
const exchanges = new Map();

/** The claims of a token whose signature is good: remembered by its SHA-256. */
async function claimsOf(token) {
  const digest = createHash('sha256').update(token).digest('base64');
  const known = verified.get(digest);
  if (known) return known;
  let unverified;
  try {
    unverified = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url'));
  } catch {
    throw new Refused(401, 'InvalidToken', 'Malformed');
  }
  const tenant = tenants.get(unverified.tid);
  if (!tenant) throw new Refused(401, 'InvalidToken', unverified.tid ? 'UnknownTenant' : 'MissingClaim');
  try {
    // The signature alone: all else is checked at each request, below.
    const { payload } = await compactVerify(token, tenant.keys, { algorithms: ['RS256'] });
    const claims = JSON.parse(new TextDecoder().decode(payload));
    verified.set(digest, claims);
    return claims;
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) throw new Refused(401, 'InvalidToken', 'InvalidSignature');
    if (error instanceof errors.JWKSNoMatchingKey) throw new Refused(401, 'InvalidToken', 'UnknownKey');
    throw new Refused(401, 'InvalidToken', 'Malformed');
  }
}

function check(claims) {
  const { iss, aud, exp, nbf, tid, oid, scp, idtyp } = claims;
  const client = claims.azp ?? claims.appid;
  const now = Date.now() / 1000;
  if (!tenants.get(tid).issuers.includes(iss)) throw new Refused(401, 'InvalidToken', 'InvalidIssuer');
  if (!AUDIENCES.includes(aud)) throw new Refused(401, 'InvalidToken', 'InvalidAudience');
  if (!(exp + SKEW > now)) throw new Refused(401, 'InvalidToken', 'Expired');
  if (nbf !== undefined && nbf - SKEW > now) throw new Refused(401, 'InvalidToken', 'NotYetValid');
  if (!scp || (idtyp ?? 'user') !== 'user' || claims.cnf) throw new Refused(401, 'InvalidToken', 'NotDelegated');
  if (!oid || !client) throw new Refused(401, 'InvalidToken', 'MissingClaim');
  const scopes = scp.split(' ').sort();
  if (!scopes.some((scope) => SCOPES.has(scope))) throw new Refused(403, 'InsufficientScope');
  return { tenant: tid, user: oid, client, scopes, exp: exp * 1000, groups: claims.groups ?? [] };
}

function authorize({ user, groups, tenant, client }) {
  if (assigned.has(`${user}|${client}`)) return 'user';
  for (const group of groups) if (assigned.has(`${group}|${client}`)) return 'group';
  if (assigned.has(`${tenant}|${client}`)) return 'tenant';
  throw new Refused(403, 'NotAssigned', 'NoAssignment');
}

async function exchange(token) {
  const url = `${ENDPOINT}/access/entra/:exchangeAccessToken?api-version=${API_VERSION}`;
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const answer = await fetch(url, { method: 'POST', headers, body: '{}', signal: AbortSignal.timeout(5000) });
  if (answer.status === 401) throw new Refused(401, 'InvalidToken', 'RejectedUpstream');
  if (answer.status === 403) throw new Refused(403, 'ExchangeForbidden');
  if (!answer.ok) throw new Refused(503, 'UpstreamUnavailable');
  const { identity, accessToken } = await answer.json();
  return { ends: Date.parse(accessToken.expiresOn), body: { identity, accessToken } };
}

async function tokenFor(token, caller) {
  const key = `${caller.tenant}|${caller.user}|${caller.client}|${caller.scopes.join(' ')}`;
  const known = issued.get(key);
  if (known && known.ends > Date.now() + MARGIN && caller.exp > known.ends - MIN_GAIN) return ['hit', known];
  const waiting = exchanges.get(key);
  if (waiting) return ['shared', await waiting];
  const begun = exchange(token).finally(() => exchanges.delete(key));
  exchanges.set(key, begun);
  const fresh = await begun;
  issued.set(key, fresh);
  return ['miss', fresh];
}

app.addHook('onRequest', async (request, reply) => {
  reply.header('x-ms-request-id', request.id).header('x-content-type-options', 'nosniff').header('cache-control', 'no-store').header('vary', 'origin');
});

app.addHook('onResponse', async (request, reply) => {
  const status = reply.statusCode;
  const route = request.routeOptions.url;
  durations.observe({ method: request.method, status, route }, reply.elapsedTime / 1000);
  const line = { method: request.method, route, status, duration_ms: reply.elapsedTime, request_id: request.id };
  if (request.failure) log.warn({ ...line, code: request.failure.code, inner_code: request.failure.inner }, 'request');
  else log.info(line, 'request');
});

app.setErrorHandler((error, request, reply) => {
  request.failure = error instanceof Refused ? error : new Refused(500, 'InternalError');
  const { status, code, inner } = request.failure;
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="acs-token-broker", error="invalid_token"');
  reply.code(status).header('x-ms-error-code', code);
  return { error: { code, message: 'The token was refused.', ...(inner && { innererror: { code: inner } }) } };
});

app.post('/token', async (request) => {
  const authorization = request.headers.authorization ?? '';
  if (!/^bearer [\x21-\x7e]+$/i.test(authorization)) throw new Refused(401, 'AuthenticationRequired');
  const token = authorization.slice(7);
  const caller = check(await claimsOf(token));
  const kind = authorize(caller);
  const [outcome, { body }] = await tokenFor(token, caller);
  log.info(
    {
      decision: 'issued', tenant: caller.tenant, user: createHash('sha256').update(caller.tenant + caller.user).digest('hex'),
      client: caller.client, assignment: kind, outcome, scopes: caller.scopes.join(' '), request_id: request.id,
    },
    'token',
  );
  return body;
});

console.log(`node ${await app.listen({ host: '127.0.0.1', port: 0 })}`);
