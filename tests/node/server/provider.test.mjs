// npm `@openfeature/ofrep-provider`, as an application on Node has it, against a real server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature } from '@openfeature/server-sdk';

import { Server, SUBJECT, VALUES, details, until } from '../changeover.mjs';

let server;
before(async () => (server = await Server.start()));
after(() => server.remove());

let domains = 0;
async function client(headers, at = server) {
  const domain = `domain-${domains++}`;
  const provider = new OFREPProvider({ baseUrl: at.url, headers });
  await OpenFeature.setProviderAndWait(domain, provider);
  return OpenFeature.getClient(domain);
}
const bearer = (token) => [['Authorization', `Bearer ${token}`]];
const subject = { targetingKey: SUBJECT };

test('every type, zero values, rules and a disabled flag', async () => {
  const asked = await client(bearer(server.token));
  for (const [kind, key, fallback, value, reason] of VALUES) {
    const found = await details(asked, kind, key, fallback, subject);
    assert.deepEqual([found.value, found.reason, found.errorCode], [value, reason, undefined], key);
    assert.equal(typeof found.variant, 'string');
    assert.equal(typeof found.flagMetadata.flagVersion, 'number');
  }
});

test('attributes of the context', async () => {
  const asked = await client(bearer(server.token));
  const context = { ...subject, plan: 'pro', seats: 5, trial: true, account: { plan: 'pro' } };
  for (const key of ['text', 'number', 'boolean', 'nested', 'list', 'all']) {
    const found = await asked.getStringDetails(`conformance-by-${key}`, '?', context);
    assert.deepEqual([found.value, found.reason], ['yes', 'TARGETING_MATCH'], key);
  }
});

test('a missing flag, a missing key and another type serve the default', async () => {
  const asked = await client(bearer(server.token));
  for (const [key, context, code] of [
    ['conformance-missing', subject, 'FLAG_NOT_FOUND'],
    ['conformance-split', {}, 'TARGETING_KEY_MISSING'],
    ['conformance-string', subject, 'TYPE_MISMATCH'],
  ]) {
    const found = await asked.getBooleanDetails(key, true, context);
    assert.deepEqual([found.value, found.reason, found.errorCode], [true, 'ERROR', code], key);
  }
});

test('a wrong token serves the default; a right one may be an API key', async () => {
  for (const headers of [bearer('co_wrong'), [['X-API-Key', 'co_wrong']], []]) {
    const found = await (await client(headers)).getBooleanDetails('conformance-zero-boolean', true, subject);
    assert.deepEqual([found.value, found.reason, found.errorCode], [true, 'ERROR', 'GENERAL']);
  }
  const asked = await client([['X-API-Key', server.token]]);
  assert.equal(await asked.getBooleanValue('conformance-boolean', false, subject), true);
});

test('a change is seen by the next question', async () => {
  await server.serveText('greeting', 'Hello', 'POST');
  const asked = await client(bearer(server.token));
  assert.equal(await asked.getStringValue('greeting', '?', subject), 'Hello');
  await server.serveText('greeting', 'Kia ora');
  assert.equal(await asked.getStringValue('greeting', '?', subject), 'Kia ora');
});

test('a rate limit pauses the provider, and it goes on by itself', async () => {
  const limited = await Server.start('--rate-limit-per-second', '5', '--rate-limit-burst', '40');
  try {
    const asked = await client(bearer(limited.token), limited);
    const ask = () => asked.getBooleanDetails('conformance-boolean', false, subject);
    const paused = await until(async () => {
      const found = await ask();
      return found.errorCode && found;
    });
    assert.deepEqual([paused.value, paused.errorCode], [false, 'GENERAL']);
    assert.match((await ask()).errorMessage, /paused due to TooManyRequests until/);
    await until(async () => (await ask()).value);
  } finally {
    await limited.remove();
  }
});

test('a server that was restarted is asked again', async () => {
  const restarted = await Server.start();
  try {
    const asked = await client(bearer(restarted.token), restarted);
    assert.equal(await asked.getBooleanValue('conformance-boolean', false, subject), true);
    const address = new URL(restarted.url).host;
    await restarted.stop();
    const found = await asked.getBooleanDetails('conformance-boolean', false, subject);
    assert.deepEqual([found.value, found.reason, found.errorCode], [false, 'ERROR', 'GENERAL']);
    await restarted.serve(address);
    assert.equal(await asked.getBooleanValue('conformance-boolean', false, subject), true);
  } finally {
    await restarted.remove();
  }
});
