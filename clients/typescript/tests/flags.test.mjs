// Flags against the real server: killed, restarted, slow, without its database; many tasks; changes; what is on disk.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from '@changeover/client';
import { Client as WebClient } from '@changeover/client/web';
import { identity } from '../dist/details.js';
import { FakeServer, notes, RealServer, sleep, until } from './support.mjs';

let server, token;
before(async () => {
  server = await RealServer.start();
  await server.createFlags();
  token = await server.token('evaluate');
});
after(() => server?.remove());

function open(t, settings = {}, of = server) {
  const client = new Client({ url: of.url, token: of === server ? token : (of.admin ?? 'co_x'), logger: notes(), ...settings });
  t.after(() => client.close());
  return client;
}

async function fakeOf(t, answer) {
  const fake = await FakeServer.start(answer);
  t.after(() => fake.close());
  return fake;
}

const hears = (client) => until(() => client.flags.hasEvents, 'a stream is open');
const keptOf = (client, context) => client.flags.kept.peek(identity(context));

describe('changes', () => {
  test('a change is seen within a second, and nobody needs to ask for it', async (t) => {
    await server.flag('news', 'old');
    const client = open(t);
    const contexts = Array.from({ length: 20 }, (_, number) => ({ targetingKey: String(number) }));
    const values = () => Promise.all(contexts.map((context) => client.string('news', '?', context)));
    assert.deepEqual(new Set(await values()), new Set(['old']));
    await hears(client);
    for (const value of ['new', 'newer']) {
      await server.flag('news', value);
      const told = performance.now();
      while ((await values()).some((one) => one !== value)) {
        assert.ok(performance.now() - told < 1_000, 'the change is not seen after a second');
        await sleep(2);
      }
    }
    await server.flag('news', 'newest');
    await until(() => contexts.every((context) => keptOf(client, context).items.get('news').value === 'newest'), 'the renewal');
    const { reason, errorCode } = await client.details('string', 'news', '?', contexts[0]);
    assert.deepEqual([reason, errorCode], ['STATIC', undefined]);
  });

  test('without events an answer is renewed when it is old', async (t) => {
    await server.flag('ageing', 'old');
    const client = open(t, { events: false, maxAgeMs: 200 });
    assert.equal(await client.string('ageing', '?', '1'), 'old');
    await server.flag('ageing', 'new');
    await until(async () => (await client.string('ageing', '?', '1')) === 'new', 'the new value');
    assert.equal((await client.details('string', 'ageing', '?', '1', { cached: false })).value, 'new');
  });

  test('an idle context is asked anew after a change', async (t) => {
    await server.flag('idle', 'old');
    const client = open(t);
    assert.equal(await client.string('idle', '?', '1'), 'old');
    await hears(client);
    keptOf(client, '1').used -= 100_000;
    const { generation } = client.flags;
    await server.flag('idle', 'new');
    await until(() => client.flags.generation > generation, 'the change is told');
    assert.equal(await client.string('idle', '?', '1'), 'new');
  });

  test('a listener hears of changes until it ends, and one that fails breaks nothing', async (t) => {
    await server.flag('heard', 'old');
    const client = open(t);
    let heard = 0;
    client.onChange(() => {
      throw new Error('a listener');
    });
    const end = client.onChange(() => (heard += 1));
    await client.string('heard', '?', '1');
    await hears(client);
    await until(() => heard > 0, 'the first event');
    heard = 0;
    await server.flag('heard', 'new');
    await until(() => heard > 0, 'the change');
    end();
    heard = 0;
    const { generation } = client.flags;
    await server.flag('heard', 'newer');
    await until(() => client.flags.generation > generation, 'the next change');
    assert.equal(heard, 0);
  });

  test('where the server offers its stream, no token is sent there', async (t) => {
    await server.flag('offered', 'old');
    const asked = [];
    const noting = (url, init) => (asked.push([new URL(url).pathname, init.headers]), fetch(url, init));
    const client = new WebClient({ url: server.url, token, logger: null, fetch: noting });
    t.after(() => client.close());
    assert.equal(await client.string('offered', '?', '1'), 'old');
    await hears(client);
    await server.flag('offered', 'new');
    await until(async () => (await client.string('offered', '?', '1')) === 'new', 'the new value');
    const streams = asked.filter(([path]) => path === '/ofrep/v1/events');
    assert.ok(streams.length > 0 && streams.every(([, headers]) => Object.keys(headers).length === 0));
  });
});

describe('many', () => {
  test('ten thousand evaluations from fifty tasks', async (t) => {
    const client = open(t);
    const task = async (number) => {
      const values = [];
      for (let n = 0; n < 200; n++) values.push(await client.boolean('conformance-boolean', false, { targetingKey: String((number + n) % 40) }));
      return values;
    };
    const values = (await Promise.all(Array.from({ length: 50 }, (_, number) => task(number)))).flat();
    assert.deepEqual([values.length, new Set(values)], [10_000, new Set([true])]);
    assert.equal(client.flags.kept.size, 40);
  });

  test('tasks that need the same answer make one request', async (t) => {
    const body = { flags: [{ key: 'f', value: 'v', variant: 'x', reason: 'STATIC' }] };
    const fake = await fakeOf(t, () => sleep(100).then(() => ({ status: 200, body })));
    const client = open(t, { events: false }, fake);
    const values = await Promise.all(Array.from({ length: 50 }, () => client.string('f', '?', '1')));
    assert.deepEqual([new Set(values), fake.requests.length], [new Set(['v']), 1]);
  });

  test('what is kept is bounded', async (t) => {
    const client = open(t, { contextsMax: 10 });
    for (let number = 0; number < 50; number++) assert.equal(await client.boolean('conformance-boolean', false, number), true);
    const { kept } = client.flags;
    assert.equal(kept.size, 10);
    assert.equal(kept.weight, [...kept.entries()].reduce((sum, [, { bytes }]) => sum + bytes, 0));
    assert.deepEqual([...kept.entries()].map(([ident]) => ident), Array.from({ length: 10 }, (_, number) => identity(40 + number)));
  });

  test('without waiting: the default first, then what has come', async (t) => {
    const client = open(t);
    const first = client.peek('boolean', 'conformance-boolean', false, 'somebody');
    assert.deepEqual([first.value, first.reason, first.errorCode], [false, 'ERROR', 'PROVIDER_NOT_READY']);
    await until(() => client.peek('boolean', 'conformance-boolean', false, 'somebody').value, 'the value');
    assert.equal(await client.load('somebody else'), true);
    assert.equal(client.peek('boolean', 'conformance-boolean', false, 'somebody else').value, true);
    assert.equal(await client.load([]), false);
  });
});

describe('outages', () => {
  async function own(t, more) {
    const made = await RealServer.start({ more });
    t.after(() => made.remove());
    await made.flag('f', 'first');
    return made;
  }
  const said = ({ value, reason, errorCode }) => [value, reason, errorCode];

  test('a server that is killed and restarted', async (t) => {
    const of = await own(t);
    const client = open(t, {}, of);
    assert.equal(await client.string('f', '?', '1'), 'first');
    await hears(client);
    await of.kill();
    await until(() => !client.flags.hasEvents, 'the stream\'s end');
    assert.equal(await client.string('f', '?', '1'), 'first');
    assert.deepEqual(said(await client.details('string', 'f', '?', 'somebody else')), ['?', 'ERROR', 'PROVIDER_NOT_READY']);
    const kept = keptOf(client, '1');
    client.flags.kept.set(identity('1'), Object.assign(Object.create(Object.getPrototypeOf(kept)), kept, { at: kept.at - 100_000 }));
    assert.deepEqual(said(await client.details('string', 'f', '?', '1')), ['first', 'STALE', undefined]);
    await of.serve(of.address);
    await of.flag('f', 'second');
    await until(async () => (await client.string('f', '?', '1')) === 'second', 'the new value');
    await until(async () => (await client.string('f', '?', 'somebody else')) === 'second', 'the new value for others');
  });

  test('a start without the server serves what is on disk', async (t) => {
    const of = await own(t);
    const directory = mkdtempSync(join(tmpdir(), 'changeover-ts-state-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const statePath = join(directory, 'state.json');
    const context = { targetingKey: '1', secret: 's3cret' };
    const first = open(t, { statePath }, of);
    assert.equal(await first.string('f', '?', context), 'first');
    await first.close();
    assert.equal(statSync(statePath).mode & 0o777, 0o600);
    assert.ok(!readFileSync(statePath, 'utf8').includes('s3cret'));
    assert.deepEqual(readdirSync(directory), ['state.json']);
    await of.kill();
    const second = open(t, { statePath }, of);
    assert.deepEqual(said(await second.details('string', 'f', '?', context)), ['first', 'STALE', undefined]);
    assert.equal(await second.string('f', '?', '2'), '?');
    await second.close();
    await of.serve(of.address);
    assert.deepEqual(said(await open(t, { statePath }, of).details('string', 'f', '?', context)), ['first', 'STATIC', undefined]);
    for (const broken of ['', '{', '[]', '{"format":1}', JSON.stringify({ format: 1, url: 'http://elsewhere', contexts: {}, stages: {} }), JSON.stringify({ format: 1, url: of.url, contexts: { a: 1 }, stages: {} })]) {
      writeFileSync(statePath, broken);
      const logger = notes();
      assert.equal(await open(t, { statePath, logger }, of).string('f', '?', '1'), 'first');
      assert.equal(logger.told.length, 1, broken);
    }
  });

  test('the file is written a moment after a change, too, and where it cannot be, that is told', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'changeover-ts-state-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const statePath = join(directory, 'state.json');
    await open(t, { statePath }).boolean('conformance-boolean', false, '1');
    await until(() => existsSync(statePath), 'the file');
    const logger = notes();
    const client = open(t, { statePath: join(directory, 'nothing', 'state.json'), logger });
    assert.equal(await client.boolean('conformance-boolean', false, '1'), true);
    await client.close();
    assert.match(logger.told[0][0], /not written/);
  });

  test('the last known stage is kept on disk', async (t) => {
    const of = await own(t);
    await of.flag('phase', 'shadow');
    const directory = mkdtempSync(join(tmpdir(), 'changeover-ts-state-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const statePath = join(directory, 'state.json');
    const first = open(t, { statePath }, of);
    assert.equal(await first.migrator('phase', {}).stage('1'), 'shadow');
    await first.close();
    await of.kill();
    const second = open(t, { statePath }, of);
    assert.equal(await second.migrator('phase', {}).stage('a newcomer'), 'shadow');
    assert.equal(await second.migrator('another', {}).stage('a newcomer'), 'off');
  });

  test('a page keeps the last known answers in its storage', async (t) => {
    const of = await own(t);
    const entries = new Map();
    const storage = { getItem: (key) => entries.get(key) ?? null, setItem: (key, value) => void entries.set(key, value) };
    const page = () => {
      const client = new WebClient({ url: of.url, token: of.admin, storage, logger: null });
      t.after(() => client.close());
      return client;
    };
    const first = page();
    assert.equal(await first.string('f', '?', '1'), 'first');
    await first.close();
    assert.deepEqual([...entries.keys()], ['changeover']);
    await of.kill();
    const second = page();
    await second.load('1');
    assert.deepEqual(said(second.peek('string', 'f', '?', '1')), ['first', 'STALE', undefined]);
  });

  test('a server that hangs costs one caller one timeout, not each of them', async (t) => {
    const fake = await fakeOf(t, () => 'silent');
    const client = open(t, { timeoutMs: 500, events: false }, fake);
    const began = performance.now();
    assert.deepEqual(said(await client.details('boolean', 'f', true, '1')), [true, 'ERROR', 'PROVIDER_NOT_READY']);
    const took = performance.now() - began;
    assert.ok(took > 400 && took < 5_000, `${took}`);
    client.flags.availability.until = performance.now() + 60_000;
    for (let number = 0; number < 1000; number++) assert.equal(await client.boolean('f', true, number), true);
    assert.equal(fake.requests.length, 1);
    client.flags.availability.until = 0;
    await Promise.all(Array.from({ length: 20 }, (_, number) => client.boolean('f', true, number)));
    assert.equal(fake.requests.length, 2);
  });

  for (const [what, head, drops] of [
    ['that answers drop by drop', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n', 'X: y\r\n'],
    ['that sends its body drop by drop', 'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n', '          '],
  ]) {
    test(`a server ${what} is given up in time`, async (t) => {
      const sockets = new Set();
      const listener = createServer((socket) => {
        sockets.add(socket);
        const timer = setInterval(() => socket.write(drops), 50);
        socket.on('error', () => undefined).on('close', () => clearInterval(timer));
        socket.once('data', () => socket.write(head));
      });
      await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
      t.after(() => {
        for (const socket of sockets) socket.destroy();
        listener.close();
      });
      const client = open(t, { timeoutMs: 500, events: false }, { url: `http://127.0.0.1:${listener.address().port}` });
      const began = performance.now();
      const { errorCode, errorMessage } = await client.details('boolean', 'f', true, '1');
      assert.equal(errorCode, 'PROVIDER_NOT_READY', errorMessage);
      assert.match(errorMessage, /in 500 ms/);
      assert.ok(performance.now() - began < 5_000);
    });
  }

  test('half an answer is none', async (t) => {
    const listener = createServer((socket) => {
      socket.on('error', () => undefined).once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"flags":[]}'));
    });
    await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
    t.after(() => listener.close());
    const client = open(t, { events: false }, { url: `http://127.0.0.1:${listener.address().port}` });
    assert.equal((await client.details('boolean', 'f', true, '1')).errorCode, 'PROVIDER_NOT_READY');
  });

  test('a redirect is not followed, so the token stays here', async (t) => {
    const elsewhere = await fakeOf(t, () => ({ status: 200, body: { flags: [] } }));
    const fake = await fakeOf(t, () => ({ status: 307, headers: { Location: elsewhere.url } }));
    const client = open(t, { events: false }, fake);
    assert.equal((await client.details('boolean', 'f', true, '1')).errorCode, 'PROVIDER_NOT_READY');
    await assert.rejects(client.writes('x').schema(), { kind: 'unexpected', status: 307 });
    assert.equal(elsewhere.requests.length, 0);
  });

  test('a rate limit is heeded', async (t) => {
    const of = await own(t, ['--rate-limit-per-second', '5', '--rate-limit-burst', '40']);
    const client = open(t, { events: false }, of);
    const codes = [];
    for (let number = 0; number < 60; number++) codes.push((await client.details('string', 'f', '?', number)).errorCode);
    assert.deepEqual([codes[0], codes.at(-1)], [undefined, 'PROVIDER_NOT_READY']);
    await until(async () => (await client.string('f', '?', 'later')) === 'first', 'the limit\'s end');
  });

  test('a wrong token is told and breaks nothing', async (t) => {
    const client = open(t, { token: 'co_wrong' });
    const details = await client.details('boolean', 'conformance-boolean', false, '1');
    assert.deepEqual(said(details), [false, 'ERROR', 'GENERAL']);
    assert.match(details.errorMessage, /401/);
  });
});

describe('contexts and settings', () => {
  test('what is no context', async (t) => {
    const client = open(t);
    const circle = {};
    circle.itself = circle;
    const thrower = { get targetingKey() { throw new Error('a getter'); } };
    for (const context of [[], true, () => 1, Symbol('s'), new Date(), { a: () => 1 }, { a: NaN }, NaN, Infinity, circle, { a: new Map() }]) {
      const { value, errorCode } = await client.details('boolean', 'conformance-boolean', false, context);
      assert.deepEqual([value, errorCode], [false, 'INVALID_CONTEXT']);
      assert.equal(client.peek('boolean', 'conformance-boolean', false, context).errorCode, 'INVALID_CONTEXT');
    }
    assert.equal((await client.details('boolean', 'conformance-boolean', false, thrower)).errorCode, 'GENERAL');
    for (const [type, key] of [['text', 'conformance-boolean'], ['boolean', undefined], ['boolean', Symbol('s')], ['toString', 'x'], [Symbol('s'), 'x']]) {
      for (const cached of [true, false]) assert.equal((await client.details(type, key, true, '1', { cached })).value, true);
      assert.equal(client.peek(type, key, true, '1').value, true);
    }
    for (const context of [undefined, null, {}, '1', 1, 12345678901234567890n, 'Zoë 😀', { targetingKey: '1', n: { b: [1, null] }, nothing: undefined, at: new Date() }]) {
      assert.equal(await client.boolean('conformance-boolean', false, context), true);
    }
    assert.equal(identity({ b: 1, a: 2 }), identity({ a: 2, b: 1 }));
    assert.equal(identity('1'), identity({ targetingKey: '1' }));
    assert.notEqual(identity('1'), identity(1));
  });

  test('what a caller does with an object is his own', async (t) => {
    const client = open(t);
    const first = await client.object('conformance-object', {}, '1');
    for (const key of Object.keys(first)) delete first[key];
    assert.notDeepEqual(await client.object('conformance-object', {}, '1'), first);
    const { metadata } = await client.details('object', 'conformance-object', {}, '1');
    assert.throws(() => (metadata.configVersion = 0), TypeError);
  });

  test('settings that make no sense are told at once', () => {
    const right = { url: 'http://127.0.0.1:1', token: 'co_x' };
    for (const wrong of [{ url: '' }, { url: 'flags.example.com' }, { url: 'ftp://x' }, { url: 'http://user:pw@x' }, { url: 'http://x/?q' }, { token: '' }, { token: 'a b' }, { token: 'a\nb' }, { timeoutMs: 0 }, { timeoutMs: NaN }, { maxAgeMs: -1 }]) {
      assert.throws(() => new Client({ ...right, ...wrong }), (error) => error instanceof TypeError || error instanceof RangeError, JSON.stringify(wrong));
    }
  });

  test('after close the kept answers serve, and nothing is asked', async (t) => {
    const client = open(t);
    assert.equal(await client.boolean('conformance-boolean', false, '1'), true);
    await Promise.all([client.close(), client.close()]);
    assert.equal(await client.boolean('conformance-boolean', false, '1'), true);
    assert.equal(await client.boolean('conformance-boolean', false, 'another'), false);
  });

  test('a logger that fails breaks nothing', async (t) => {
    const fake = await fakeOf(t, () => 'closed');
    const client = open(t, { logger: { warn: bad, debug: bad } }, fake);
    function bad() {
      throw new Error('a logger');
    }
    assert.equal(await client.sideOf('x', 1, { default: 'old' }), 'old');
  });
});

test('a failure inside is told, and the server is asked again', async (t) => {
  const fake = await fakeOf(t, () => ({ status: 503 }));
  const logger = notes();
  const client = open(t, { logger, events: false }, fake);
  assert.equal(await client.boolean('f', true, '1'), true);
  client.flags.availability.until = 0;
  const body = { flags: [{ key: 'f', value: false, variant: 'v', reason: 'STATIC' }] };
  fake.answer = () => ({ status: 200, body });
  const { changed } = client.flags.state;
  client.flags.state.changed = () => { throw new Error('inside'); };
  await client.boolean('f', true, '2');
  assert.equal(logger.told.length, 1);
  client.flags.state.changed = changed;
  assert.equal(await client.boolean('f', true, '3'), false);
  assert.equal(logger.told.length, 1);
});
