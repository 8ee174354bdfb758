// The OpenFeature providers with the SDKs that are published.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { OpenFeature as Server, ProviderEvents } from '@openfeature/server-sdk';
import { OpenFeature as Web, ProviderEvents as WebEvents } from '@openfeature/web-sdk';
import { Client } from '@changeover/client';
import { ChangeoverProvider } from '@changeover/client/openfeature-server';
import { ChangeoverProvider as WebProvider } from '@changeover/client/openfeature-web';
import { Client as WebClient } from '@changeover/client/web';
import { notes, RealServer, until } from './support.mjs';

let server;
before(async () => {
  server = await RealServer.start();
  await server.createFlags();
});
after(async () => {
  await Server.close();
  await Web.close();
  await server?.remove();
});

const KINDS = [
  ['boolean', 'conformance-boolean', false],
  ['string', 'conformance-string', '?'],
  ['number', 'conformance-integer', -1],
  ['number', 'conformance-float', -1],
  ['object', 'conformance-object', { '?': 1 }],
];
const METHODS = { boolean: 'getBooleanDetails', string: 'getStringDetails', number: 'getNumberDetails', object: 'getObjectDetails' };
const CONTEXT = { targetingKey: 'conformance-user', plan: 'pro' };

test('servers', async (t) => {
  const client = new Client({ url: server.url, token: server.admin, logger: notes() });
  t.after(() => client.close());
  await Server.setProviderAndWait('ours', new ChangeoverProvider(client));
  const flags = Server.getClient('ours');
  for (const [kind, key, fallback] of KINDS) {
    const details = await flags[METHODS[kind]](key, fallback, CONTEXT);
    const own = await client.details(kind === 'number' ? 'float' : kind, key, fallback, CONTEXT);
    assert.deepEqual([details.value, details.variant, details.reason, details.errorCode], [own.value, own.variant, 'STATIC', undefined], key);
    assert.equal(details.flagMetadata.flagVersion, own.metadata.flagVersion);
  }
  const missing = await flags.getBooleanDetails('nothing', true, CONTEXT);
  assert.deepEqual([missing.value, missing.reason, missing.errorCode], [true, 'ERROR', 'FLAG_NOT_FOUND']);
  const wrong = await flags.getStringDetails('conformance-boolean', '?', CONTEXT);
  assert.deepEqual([wrong.value, wrong.errorCode], ['?', 'TYPE_MISMATCH']);
  await until(() => client.flags.hasEvents, 'a stream is open');
  let changes = 0;
  flags.addHandler(ProviderEvents.ConfigurationChanged, () => (changes += 1));
  await server.flag('news', 'new');
  await until(() => changes > 0, 'the change');
});

test('pages', async (t) => {
  await server.flag('page', 'old');
  const client = new WebClient({ url: server.url, token: server.admin, logger: notes() });
  t.after(() => client.close());
  await Web.setContext(CONTEXT);
  await Web.setProviderAndWait('ours', new WebProvider(client));
  const flags = Web.getClient('ours');
  for (const [kind, key, fallback] of KINDS) {
    const details = flags[METHODS[kind]](key, fallback);
    const own = client.peek(kind === 'number' ? 'float' : kind, key, fallback, CONTEXT);
    assert.deepEqual([details.value, details.variant, details.reason, details.errorCode], [own.value, own.variant, 'STATIC', undefined], key);
  }
  assert.equal(flags.getBooleanDetails('nothing', true).errorCode, 'FLAG_NOT_FOUND');
  await until(() => client.flags.hasEvents, 'a stream is open');
  // Whoever is told reads at once, and finds the new value.
  const read = [];
  flags.addHandler(WebEvents.ConfigurationChanged, () => read.push(flags.getStringValue('page', '?')));
  await server.flag('page', 'new');
  await until(() => read.includes('new'), 'the change');
  await Web.setContext({ targetingKey: 'another' });
  assert.equal(flags.getStringDetails('page', '?').reason, 'STATIC');
});

test('without a server, a provider is ready all the same and serves defaults', async (t) => {
  const client = new WebClient({ url: 'http://127.0.0.1:1', token: 'co_x', logger: notes() });
  t.after(() => client.close());
  await Web.setProviderAndWait('nobody', new WebProvider(client));
  const details = Web.getClient('nobody').getBooleanDetails('f', true);
  assert.deepEqual([details.value, details.errorCode], [true, 'PROVIDER_NOT_READY']);
});
