// An authority of other authors: oidc-provider, with rotation on. It revokes the whole
// grant when a spent refresh token is presented.
//
// This file only stands in front of it: it takes JSON at /oauth/token, as bearerd sends,
// and passes it on as a form. Before that, some calls go wrong as FAULTS says. What goes
// wrong does so before the provider has seen the call, so nothing is rotated by it.

import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const CLIENT = 'bearerd-chaos';
const KINDS = ['reset', 'empty', 'unavailable', 'busy', 'garbage', 'refuse', 'slow'];
const counts = { calls: 0, rotations: 0, revoked: 0, families: 0, faults: {} };

const provider = new Provider('http://127.0.0.1', {
  clients: [{
    client_id: CLIENT,
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  }],
  rotateRefreshToken: true,
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  pkce: { required: () => true },
  ttl: { AccessToken: 3600, RefreshToken: 86400, Grant: 86400, IdToken: 3600 },
});
provider.on('refresh_token.consumed', () => { counts.rotations += 1; });
provider.on('grant.revoked', () => { counts.revoked += 1; });

const inner = createServer(provider.callback());
await new Promise((resolve) => { inner.listen(0, '127.0.0.1', resolve); });
const innerUrl = `http://127.0.0.1:${inner.address().port}/token`;

// A sign-in, without a browser: a grant, and its first refresh token.
async function login() {
  const client = await provider.Client.find(CLIENT);
  const accountId = `account-${counts.families += 1}`;
  const grant = new provider.Grant({ accountId, clientId: CLIENT });
  grant.addOIDCScope('openid offline_access');
  const grantId = await grant.save();
  const token = new provider.RefreshToken({
    accountId, client, grantId, gty: 'authorization_code', scope: 'openid offline_access',
    authTime: Math.floor(Date.now() / 1000), rotations: 0,
  });
  return { account_id: accountId, refresh_token: await token.save() };
}

let seed = Number(process.env.SEED ?? 1);
function random() {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return seed / 2147483648;
}

function fault() {
  if (random() >= Number(process.env.FAULTS ?? 0)) return null;
  return KINDS[Math.floor(random() * KINDS.length)];
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function respond(response, status, text, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(text);
}

async function token(request, response) {
  counts.calls += 1;
  const kind = fault();
  if (kind) counts.faults[kind] = (counts.faults[kind] ?? 0) + 1;
  if (kind === 'refuse') return request.socket.resetAndDestroy();
  const fields = JSON.parse(await body(request));
  switch (kind) {
    case 'reset': return request.socket.resetAndDestroy();
    case 'empty': return respond(response, 200, '');
    case 'garbage': return respond(response, 200, '{"access_token": "ey');
    case 'unavailable': return respond(response, 503, '{"error": "temporarily_unavailable"}');
    case 'busy': return respond(response, 429, '{}', { 'retry-after': '1' });
    case 'slow': await new Promise((resolve) => { setTimeout(resolve, 50); }); break;
    default:
  }
  const given = await fetch(innerUrl, { method: 'POST', body: new URLSearchParams(fields) });
  return respond(response, given.status, await given.text());
}

const front = createServer(async (request, response) => {
  if (request.url === '/oauth/token') return token(request, response);
  if (request.url === '/login') return respond(response, 200, JSON.stringify(await login()));
  return respond(response, 200, JSON.stringify(counts));
});
front.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${front.address().port}`, client_id: CLIENT }));
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
