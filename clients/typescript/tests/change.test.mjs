// What is about a change: observations, sides, allocations, writes, middleware; against the real server, and without its database.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createListener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import express from 'express';
import { ChangeoverError, Client, insert, minted, remove, update, upsert } from '@changeover/client';
import { changeoverSide } from '@changeover/client/express';
import { FakeServer, notes, Proxy, RealServer, sleep, until } from './support.mjs';

const CHANGE = 'billing-allocation';
let server, client;
before(async () => {
  server = await RealServer.start({ stage: 'live' });
  const sides = { type: 'string', variants: { old: 'old', new: 'new' }, default_variant: 'old', off_variant: 'old', rules: [] };
  await server.request('POST', '/api/v1/flags', { key: CHANGE, ...sides });
  client = new Client({ url: server.url, token: server.admin, logger: notes() });
});
after(async () => {
  await client?.close();
  await server?.remove();
});

function open(t, of, settings = {}) {
  const made = new Client({ url: of.url, token: of.admin ?? 'co_x', logger: notes(), ...settings });
  t.after(() => made.close());
  return made;
}

async function fakeOf(t, answer) {
  const fake = await FakeServer.start(answer);
  t.after(() => fake.close());
  return fake;
}

describe('observations', () => {
  const summary = async (of, subject) => new Map((await of.request('GET', `/api/v1/${subject}/observations`)).items.map((one) => [one.name, one]));

  test('what a migrator observes is counted', async (t) => {
    await server.flag('ledger-stage', 'shadow');
    let candidate = { total: 12.5 };
    const logger = notes();
    const own = open(t, server, { logger });
    const migrator = own.migrator('ledger-stage', {
      oldRead: () => ({ total: 12.5 }),
      newRead: async () => candidate,
      oldWrite: () => 'written',
      newWrite: () => {
        throw new RangeError('no');
      },
      change: CHANGE,
      name: 'ledger',
    });
    assert.deepEqual(await migrator.read('7'), { total: 12.5 });
    candidate = { total: 13 };
    assert.deepEqual(await migrator.read('7'), { total: 12.5 });
    assert.equal(await migrator.write('7'), 'written');
    assert.match(logger.told[0][0], /one side only/);
    assert.equal(await own.flush(10_000), true);
    const found = await summary(server, `changes/${CHANGE}`);
    const [read, write] = [found.get('ledger:read'), found.get('ledger:write')];
    assert.deepEqual([read.compared, read.mismatches, write.errors_old, write.errors_new], [2, 1, 0, 1]);
    assert.deepEqual(own.stats(), { sent: 3, dropped: 0, refused: 0, mismatches: 0, ignored: 0, pending: 0 });
  });

  test('they go out by themselves', async (t) => {
    await server.flag('itself', 'live');
    const own = open(t, server);
    await own.migrator('itself', { oldRead: () => 1, newRead: () => 1 }).read('7');
    assert.equal(own.stats().pending, 1);
    await until(() => own.stats().sent === 1, 'it is sent');
  });

  test('they wait while the server is away and are counted once', async (t) => {
    const of = await RealServer.start();
    t.after(() => of.remove());
    await of.flag('stage', 'live');
    const own = open(t, of, { observationsMax: 30 });
    const migrator = own.migrator('stage', { oldRead: () => 1, newRead: () => 1, order: 'concurrent' });
    assert.equal(await migrator.read('7'), 1);
    assert.equal(await own.flush(10_000), true);
    await of.kill();
    for (let n = 0; n < 50; n++) assert.equal(await migrator.read('7'), 1);
    assert.equal(await own.flush(300), false);
    assert.deepEqual([own.stats().pending, own.stats().dropped], [30, 20]);
    await of.serve(of.address);
    await until(() => own.flush(1_000), 'all are sent');
    assert.deepEqual([own.stats().sent, own.stats().refused], [31, 0]);
    const found = await summary(of, 'flags/stage');
    assert.deepEqual([...found.values()].map(({ name, compared }) => [name, compared]), [['stage:read', 31]]);
  });

  test('many go in batches, each of one place', async (t) => {
    const item = (key) => ({ key, value: 'live', variant: 'v', reason: 'STATIC' });
    const fake = await fakeOf(t, ({ path }) => ({ status: 200, body: path.includes('ofrep') ? { flags: [item('a'), item('b')] } : { refused: [] } }));
    const own = open(t, fake, { events: false });
    const large = 'x'.repeat(30_000);
    const migrators = ['a', 'b'].map((key) => own.migrator(key, { oldRead: () => large, newRead: () => large }));
    for (let n = 0; n < 100; n++) await migrators[n % 2].read('7');
    assert.equal(await own.flush(20_000), true);
    assert.deepEqual([own.stats().sent, own.stats().pending, own.stats().dropped], [100, 0, 0]);
    const posted = fake.requests.filter(({ path }) => path.endsWith('/observations'));
    assert.ok(posted.length >= 7 && posted.every(({ body }) => Buffer.byteLength(body) <= 900 << 10));
    for (const { path, body } of posted) {
      const key = path.split('/')[4];
      assert.ok(body.split('\n').every((line) => JSON.parse(line).operation === `${key}:read`));
    }
  });

  test('what the server refuses is counted', async (t) => {
    const own = open(t, server);
    await own.migrator('no-such-flag', { oldRead: () => 1, newRead: () => 1, defaultStage: 'shadow', name: 'no/such flag' }).read('7');
    assert.equal(await own.flush(10_000), true);
    assert.equal(own.stats().refused, 1);
  });

  test('a cancelled read is no failure of a side', async (t) => {
    await server.flag('cancelled', 'live');
    const own = open(t, server);
    const waiting = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const migrator = own.migrator('cancelled', { oldRead: waiting, newRead: waiting, order: 'concurrent' });
    const controller = new AbortController();
    const reading = migrator.read('7', controller.signal);
    setTimeout(() => controller.abort(), 20);
    await assert.rejects(reading, { name: 'AbortError' });
    assert.equal(own.stats().pending, 0);
  });

  test('what cannot be right is told at once', () => {
    for (const wrong of [{ order: 'sideways' }, { sample: 2 }, { sample: NaN }, { defaultStage: 'toString' }, { oldRead: () => 1 }, { newWrite: () => 1 }]) {
      assert.throws(() => client.migrator('f', wrong), (error) => error instanceof TypeError || error instanceof RangeError, JSON.stringify(wrong));
    }
    return assert.rejects(client.migrator('f', {}).read('7'), /was given no oldRead/);
  });
});

describe('routing', () => {
  const values = async (answers) => {
    const found = [];
    for await (const answer of answers) found.push(answer);
    return found;
  };

  test('sides are asked, recorded and kept', async () => {
    assert.equal(await client.sideOf(CHANGE, 7), 'old');
    const few = await values(client.sidesOf(CHANGE, ['1', 'nobody', 2], { period: '2030-01', record: false }));
    assert.deepEqual(few.map(({ user, side }) => [user, side]), [['1', 'old'], ['nobody', 'old'], ['2', 'old']]);
    const users = Array.from({ length: 1_200 }, (_, number) => String(number + 1));
    async function* arriving() {
      yield* users;
    }
    const many = await values(client.sidesOf(CHANGE, arriving(), { period: '2030-01', record: false }));
    assert.deepEqual(many.map(({ user }) => user), users);
    await assert.rejects(client.sideOf(CHANGE, 7, { period: '2030-13' }), { kind: 'invalid' });
    await assert.rejects(client.sideOf('no-such-change', 7), { kind: 'not_found', code: 'change_not_found' });
    assert.equal(await client.sideOf('no-such-change', 7, { default: 'old' }), 'old');
  });

  test('an allocation', async () => {
    const found = await client.allocationOf(CHANGE, 5);
    assert.deepEqual([found.chargeId, found.side, found.parts.length >= 1], ['5', 'old', true]);
    await assert.rejects(client.allocationOf(CHANGE, 999_999), { kind: 'not_found', code: 'charge_not_found' });
  });

  test('a server that is away', async (t) => {
    const fake = await FakeServer.start(() => ({ status: 200, body: '{"line":1,"user":"7","side":"new","group":"1","because":"recorded"}\n' }));
    const own = open(t, fake, { sideMaxAgeMs: 0, events: false });
    own.chance.sleep = async () => undefined;
    assert.equal(await own.sideOf(CHANGE, 7), 'new');
    await fake.close();
    assert.equal(await own.sideOf(CHANGE, 7), 'new', 'the last known one');
    assert.equal(await own.sideOf(CHANGE, 8, { default: 'old' }), 'old');
    await assert.rejects(own.sideOf(CHANGE, 8), { kind: 'connection' });
  });

  test('on a request\'s path a server that hangs costs one caller one timeout', async (t) => {
    const fake = await fakeOf(t, () => 'silent');
    const own = open(t, fake, { timeoutMs: 300, events: false });
    assert.equal(await own.sideOf(CHANGE, 1, { default: 'old' }), 'old');
    own.flags.availability.until = performance.now() + 60_000;
    for (let user = 0; user < 100; user++) assert.equal(await own.sideOf(CHANGE, user, { default: 'new' }), 'new');
    assert.equal(fake.requests.length, 1);
  });

  test('a caller\'s signal ends it, and nothing else', async (t) => {
    const fake = await fakeOf(t, () => 'silent');
    const own = open(t, fake, { events: false });
    const signal = AbortSignal.timeout(50);
    await assert.rejects(own.sideOf(CHANGE, 1, { signal }), { name: 'TimeoutError' });
    await assert.rejects(own.writes(CHANGE).run([], { signal }), { name: 'TimeoutError' });
  });

  test('Express', async (t) => {
    const own = open(t, server);
    const app = express();
    app.use('/user', changeoverSide(own, CHANGE, (request) => request.get('x-user')));
    app.use('/late', changeoverSide(own, CHANGE, async () => (await sleep(5), 7)));
    app.use('/broken', changeoverSide(own, CHANGE, () => { throw new Error('who?'); }));
    app.use('/new', changeoverSide({ sideOf: async () => 'new' }, CHANGE, () => 7));
    app.use((request, response) => void response.send(request.changeover.side));
    const listening = createServer(app);
    await new Promise((resolve) => listening.listen(0, '127.0.0.1', resolve));
    t.after(() => listening.close());
    for (const [path, wanted] of [['user', 'old'], ['late', 'old'], ['broken', 'old'], ['new', 'new']]) {
      for (const headers of [{}, { 'x-user': '7' }]) {
        const answer = await fetch(`http://127.0.0.1:${listening.address().port}/${path}`, { headers });
        assert.deepEqual([await answer.text(), answer.headers.get('x-changeover-side')], [wanted, wanted], path);
      }
    }
  });
});

describe('writes', () => {
  test('a write reaches both models once', async () => {
    const writes = client.writes(CHANGE);
    const idempotencyKey = crypto.randomUUID();
    const operations = [
      insert('users', { name: 'Ada', company: 'Ada Ltd' }),
      insert('videos', { user_id: minted(0, 'id'), title: 'First' }, { user_id: minted(0, 'id'), title: 'Second' }),
    ];
    const first = await writes.run(operations, { idempotencyKey });
    const again = await writes.run(operations, { idempotencyKey });
    assert.deepEqual([first.isReplayed, again.isReplayed, again.operations], [false, true, first.operations]);
    assert.equal(first.operations[1].rows.length, 2);
    assert.ok(first.translated.length > 0);
    const { id } = first.operations[0].rows[0];
    await writes.run([update('users', { id }, { name: 'Ada L.' }, { name: 'Ada' })]);
    await assert.rejects(writes.run([update('users', { id }, { name: 'X' }, { name: 'Ada' })]), { kind: 'precondition_failed', code: 'row_differs' });
    await assert.rejects(writes.run([insert('users', { nome: 'Ada' })]), (error) => {
      assert.ok(error instanceof ChangeoverError);
      assert.deepEqual([error.kind, error.code, error.faults[0].operation], ['invalid', 'invalid_write', 0]);
      return true;
    });
    await assert.rejects(writes.run([insert('users', { id, name: 'Ada', company: 'B' })]), { kind: 'conflict', code: 'unique_violation' });
    await assert.rejects(writes.run([remove('users', { id: 999_999 })]), { kind: 'not_found' });
    await writes.run([upsert('users', { id, name: 'Ada', company: 'C' }, { by: ['id'] })]);
    const dry = await writes.run([insert('users', { name: 'Nobody', company: 'N' })], { dryRun: true });
    assert.equal(dry.operations[0].rows[0].name, 'Nobody');
    assert.ok('tables' in (await writes.schema()));
  });

  test('integers beyond 2^53 keep their digits', async () => {
    const id = 9007199254740993n;
    const { operations } = await client.writes(CHANGE).run([insert('users', { id, name: '9007199254740993', company: 'B' })], { dryRun: true });
    assert.deepEqual([operations[0].rows[0].id, operations[0].rows[0].name], [id, '9007199254740993']);
  });

  test('a write whose answer is lost is done once', async (t) => {
    let isFirst = true;
    const { hostname, port } = new URL(server.url);
    const proxy = await Proxy.start(hostname, Number(port), () => isFirst && !(isFirst = false));
    t.after(() => proxy.close());
    const own = open(t, { url: proxy.url, admin: server.admin }, { events: false });
    const { isReplayed } = await own.writes(CHANGE).run([insert('users', { name: `once-${crypto.randomUUID()}`, company: 'O' })]);
    assert.equal(isReplayed, true);
  });

  test('a role that may not', async (t) => {
    const own = open(t, { url: server.url, admin: await server.token('evaluate') }, { events: false });
    await assert.rejects(own.writes(CHANGE).run([insert('users', { name: 'A' })]), { kind: 'forbidden' });
  });
});

/** A cluster of its own. */
class Postgres {
  static programs() {
    const versions = '/usr/lib/postgresql';
    const found = existsSync(versions) ? readdirSync(versions).sort((a, b) => Number(a) - Number(b)) : [];
    return found.map((version) => join(versions, version, 'bin')).filter((one) => existsSync(join(one, 'initdb'))).at(-1);
  }

  static async start() {
    const postgres = new Postgres();
    postgres.directory = mkdtempSync(join(tmpdir(), 'changeover-pg-'));
    postgres.as = {};
    if (process.getuid() === 0) {
      const [uid, gid] = ['-u', '-g'].map((which) => Number(execFileSync('id', [which, 'postgres'], { encoding: 'utf8' })));
      chownSync(postgres.directory, uid, gid);
      postgres.as = { uid, gid };
    }
    const free = createListener();
    await new Promise((resolve) => free.listen(0, '127.0.0.1', resolve));
    postgres.port = free.address().port;
    await new Promise((resolve) => free.close(resolve));
    const data = join(postgres.directory, 'data');
    postgres.run('initdb', '-D', data, '-U', 'postgres', '-A', 'trust', '-N');
    const options = `-p ${postgres.port} -c listen_addresses=127.0.0.1 -c fsync=off -c unix_socket_directories=${postgres.directory}`;
    postgres.run('pg_ctl', '-D', data, '-l', join(postgres.directory, 'log'), '-w', '-o', options, 'start');
    return postgres;
  }

  run(program, ...args) {
    execFileSync(join(Postgres.programs(), program), args, { ...this.as, cwd: this.directory, stdio: 'ignore' });
  }

  stop() {
    this.run('pg_ctl', '-D', join(this.directory, 'data'), '-m', 'immediate', 'stop');
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const without = Postgres.programs() === undefined ? 'PostgreSQL is not here: NOT TESTED' : false;
if (without && process.env.CI === 'true') throw new Error(without);

test('without its database: flags go on, and the rest says so', { skip: without }, async (t) => {
  const postgres = await Postgres.start();
  t.after(() => postgres.stop());
  const proxy = await Proxy.start('127.0.0.1', postgres.port);
  t.after(() => proxy.close());
  const of = await RealServer.start({ databaseUrl: `postgres://postgres@127.0.0.1:${proxy.port}/postgres` });
  t.after(() => of.remove());
  await of.flag('f', 'v');
  const own = open(t, of);
  assert.equal(await own.string('f', '?', '1'), 'v');
  proxy.cut();
  const { value, errorCode } = await own.details('string', 'f', '?', 'another', { cached: false });
  assert.deepEqual([value, errorCode], ['v', undefined]);
  assert.equal(await own.string('f', '?', 'one more'), 'v');
  const hasty = open(t, of, { timeoutMs: 500, events: false });
  hasty.chance.sleep = async () => undefined;
  await assert.rejects(hasty.writes(CHANGE).run([insert('users', { name: 'A' })]), (error) => error instanceof ChangeoverError && error.isRetried);
  assert.equal(await hasty.sideOf(CHANGE, 7, { default: 'old' }), 'old');
  proxy.mend();
  await until(() => of.flag('f', 'w').then(() => true, () => false), 'the database is back');
  await until(async () => (await own.string('f', '?', '1')) === 'w', 'the new value');
});
