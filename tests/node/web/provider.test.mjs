// npm `@openfeature/ofrep-web-provider`, as a page has it, against a real server. Node has neither EventSource nor localStorage: the
// first is npm `eventsource`, the second stays away.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature, ProviderEvents, ProviderStatus } from '@openfeature/web-sdk';
import { EventSource } from 'eventsource';

import { Server, SUBJECT, VALUES, details, until } from '../changeover.mjs';

globalThis.EventSource = EventSource;

let server;
before(async () => (server = await Server.start()));
after(() => server.remove());
afterEach(async () => {
  await OpenFeature.clearProviders();
  await OpenFeature.clearContexts();
});

let domains = 0;
/** A client of its own, and what its provider asked: statuses and tags, in order. */
async function client(options = {}, context = { targetingKey: SUBJECT }, at = server) {
  const domain = `domain-${domains++}`;
  const asked = [];
  const fetchImplementation = async (url, init) => {
    const request = new Request(url, init);
    const answer = await fetch(request);
    asked.push({ url: request.url, status: answer.status, sent: request.headers.get('if-none-match'), etag: answer.headers.get('etag') });
    return answer;
  };
  await OpenFeature.setContext(domain, context);
  const headers = [['Authorization', `Bearer ${at.token}`]];
  const provider = new OFREPWebProvider({ baseUrl: at.url, headers, fetchImplementation, ...options });
  await OpenFeature.setProviderAndWait(domain, provider);
  return { client: OpenFeature.getClient(domain), domain, asked };
}

test('every type, zero values, rules and a disabled flag, from one answer', async () => {
  const { client: page, asked } = await client({ changeDetection: 'none' });
  for (const [kind, key, fallback, value, reason] of VALUES) {
    const found = details(page, kind, key, fallback);
    assert.deepEqual([found.value, found.reason, found.errorCode], [value, reason, undefined], key);
    assert.equal(typeof found.variant, 'string');
    assert.equal(typeof found.flagMetadata.flagVersion, 'number');
  }
  assert.equal(asked.length, 1);
  assert.equal(globalThis.localStorage?.length ?? 0, 0);
});

test('a missing flag, a missing key and another type serve the default', async () => {
  const { client: page } = await client({ changeDetection: 'none' }, {});
  for (const [key, code] of [
    ['conformance-missing', 'FLAG_NOT_FOUND'],
    ['conformance-split', 'TARGETING_KEY_MISSING'],
    ['conformance-string', 'TYPE_MISMATCH'],
  ]) {
    const found = page.getBooleanDetails(key, true);
    assert.deepEqual([found.value, found.reason, found.errorCode], [true, 'ERROR', code], key);
  }
});

test('a wrong token is fatal, and serves the default', async () => {
  for (const headers of [[['Authorization', 'Bearer co_wrong']], []]) {
    await assert.rejects(client({ headers, changeDetection: 'none' }));
    const page = OpenFeature.getClient(`domain-${domains - 1}`);
    assert.equal(page.providerStatus, ProviderStatus.FATAL);
    assert.equal(page.getBooleanValue('conformance-zero-boolean', true), true);
  }
  const { client: page } = await client({ headers: [['X-API-Key', server.token]], changeDetection: 'none' });
  assert.equal(page.getBooleanValue('conformance-boolean', false), true);
});

test('another attribute of the same subject has its own answer, whatever tag is sent along', async () => {
  const { client: page, domain, asked } = await client({ changeDetection: 'none' }, { targetingKey: SUBJECT, plan: 'free' });
  assert.equal(page.getStringValue('conformance-by-text', '?'), 'no');
  await OpenFeature.setContext(domain, { targetingKey: SUBJECT, plan: 'pro' });
  assert.equal(page.getStringValue('conformance-by-text', '?'), 'yes');
  assert.deepEqual(asked.map(({ status }) => status), [200, 200]);
});

test('polling is answered 304 until something changes', async () => {
  await server.serveText('polled', 'before', 'POST');
  const { client: page, asked } = await client({ changeDetection: 'polling', pollInterval: 50 });
  assert.equal(page.getStringValue('polled', '?'), 'before');
  await until(() => asked.filter(({ status }) => status === 304).length >= 3);
  assert.ok(asked.slice(1).every(({ sent }) => sent === asked[0].etag));
  await server.serveText('polled', 'after');
  await until(() => page.getStringValue('polled', '?') === 'after');
});

test('a change is seen through the event stream', async () => {
  await server.serveText('streamed', 'before', 'POST');
  const { client: page, asked } = await client();
  const changed = [];
  page.addHandler(ProviderEvents.ConfigurationChanged, (event) => changed.push(...(event.flagsChanged ?? [])));
  // The stream's greeting makes the provider ask again.
  await until(() => asked.length >= 2);
  for (const text of ['first', 'second', 'third']) {
    await server.serveText('streamed', text);
    await until(() => page.getStringValue('streamed', '?') === text, () => `${text} is not seen: ${JSON.stringify(asked)}`);
  }
  assert.ok(changed.includes('streamed'));
  assert.ok(asked.some(({ url }) => url.includes('flagConfigEtag=')), 'the provider names what it was told of');
});

test('a rate limit leaves what is known in place', async () => {
  const limited = await Server.start('--rate-limit-per-second', '5', '--rate-limit-burst', '40');
  try {
    const { client: page, asked } = await client({ changeDetection: 'polling', pollInterval: 20 }, { targetingKey: SUBJECT }, limited);
    await until(() => asked.some(({ status }) => status === 429));
    assert.equal(page.getBooleanValue('conformance-boolean', false), true);
    const paused = asked.length;
    await until(() => asked.slice(paused).some(({ status }) => status === 304));
    await OpenFeature.clearProviders();
  } finally {
    await limited.remove();
  }
});

test('after a restart the stream is found again, and with it every change', async () => {
  const restarted = await Server.start();
  try {
    await restarted.serveText('greeting', 'before', 'POST');
    const { client: page, asked } = await client({}, { targetingKey: SUBJECT }, restarted);
    await until(() => asked.length >= 2);
    const stale = [];
    page.addHandler(ProviderEvents.Stale, () => stale.push(true));
    const address = new URL(restarted.url).host;
    await restarted.stop();
    await until(() => stale.length > 0);
    assert.equal(page.getStringValue('greeting', '?'), 'before', 'what is known stays in place');
    await restarted.serve(address);
    await restarted.serveText('greeting', 'while it was away');
    await until(() => page.getStringValue('greeting', '?') === 'while it was away');
    await restarted.serveText('greeting', 'after');
    await until(() => page.getStringValue('greeting', '?') === 'after');
    await OpenFeature.clearProviders();
  } finally {
    await restarted.remove();
  }
});
