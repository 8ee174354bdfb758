// Workers against the real server: one at a time, paused, resumed, and without the server.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client } from '@changeover/client';
import { FakeServer, notes, RealServer, sleep, until } from './support.mjs';

let server, client;
before(async () => {
  server = await RealServer.start();
  client = new Client({ url: server.url, token: await server.token('evaluate'), events: false });
});
after(async () => {
  await client?.close();
  await server?.remove();
});

const put = (worker, settings = {}, of = server) => of.request('PUT', `/api/v1/gates/${worker}`, settings);
const turn = (worker, to) => server.request('POST', `/api/v1/gates/${worker}/${to}`, { reason: 'a test' });

test('what work returns is returned, and the lease is given back', async () => {
  await put('once', { single_instance: true });
  const tokens = [];
  for (let n = 0; n < 2; n++) tokens.push(await client.gate('once').run((lease) => lease.fencingToken));
  assert.ok(tokens[0] < tokens[1]);
  await assert.rejects(client.gate('once').run(() => { throw new RangeError('a failure'); }), RangeError);
  assert.ok((await client.gate('once').run(async (lease) => lease.fencingToken)) > tokens[1] + 1);
});

test('one instance runs and the next one follows', async () => {
  await put('single', { single_instance: true, lease_seconds: 2 });
  let atWork = 0;
  let most = 0;
  const done = [];
  const work = async (lease) => {
    atWork += 1;
    most = Math.max(most, atWork);
    for (let n = 0; n < 3; n++) await lease.wait(400);
    atWork -= 1;
    if (lease.isAllowed) done.push(lease.fencingToken);
  };
  await Promise.all([client.gate('single').run(work), client.gate('single').run(work)]);
  assert.deepEqual([most, done.length, new Set(done).size], [1, 2, 2]);
});

test('a heartbeat keeps it', async () => {
  await put('long', { single_instance: true, lease_seconds: 3 });
  assert.equal(await client.gate('long').run((lease) => lease.wait(3_500)), true);
});

test('a pause ends it, and a resume begins anew', async (t) => {
  await put('paused', { single_instance: true, lease_seconds: 2 });
  const begun = [];
  const ended = [];
  const hasty = new Client({ url: server.url, token: server.admin, events: false, logger: notes() });
  t.after(() => hasty.close());
  hasty.chance.sleep = () => sleep(50);
  const gate = hasty.gate('paused');
  const running = gate.run(async (lease) => {
    begun.push(lease.fencingToken);
    await new Promise((resolve) => lease.signal.addEventListener('abort', resolve));
    ended.push(lease.fencingToken);
    lease.signal.throwIfAborted();
  });
  await until(() => begun.length === 1, 'the work begins');
  await turn('paused', 'pause');
  await until(() => ended.length === 1, 'the work ends');
  await turn('paused', 'resume');
  await until(() => begun.length === 2, 'the work begins anew');
  assert.ok(begun[0] < begun[1]);
  gate.stop();
  assert.equal(await running, undefined);
});

test('a worker of which many may run', async () => {
  await put('many');
  const found = await client.gate('many').run((lease) => [lease.fencingToken, lease.isAllowed]);
  assert.deepEqual(found, [undefined, true]);
});

test('a gate that is not there is waited for', async (t) => {
  const patient = new Client({ url: server.url, token: server.admin, events: false, logger: notes() });
  t.after(() => patient.close());
  const pauses = [];
  patient.chance.sleep = (ms) => (pauses.push(ms), sleep(20));
  const running = patient.gate('later').run((lease) => lease.isAllowed);
  await until(() => pauses.length > 2, 'it is waited for');
  assert.ok(pauses.every((ms) => ms >= 1_000 && ms <= 5_000), `${pauses}`);
  await put('later');
  assert.equal(await running, true);
});

test('a server that is away ends the lease in time', async (t) => {
  const own = await RealServer.start();
  t.after(() => own.remove());
  await put('w', { single_instance: true, lease_seconds: 2 }, own);
  const alone = new Client({ url: own.url, token: own.admin, events: false, logger: notes() });
  t.after(() => alone.close());
  const gate = alone.gate('w');
  let took;
  await gate.run(async (lease) => {
    await own.kill();
    const began = performance.now();
    while (await lease.wait(50));
    took = performance.now() - began;
    gate.stop();
  });
  assert.ok(took < 2_000, `${took}`);
});

test('stopped while it waits, it asks for nothing more', async () => {
  const gate = client.gate('nobody');
  const running = gate.run(() => assert.fail('it ran'));
  await sleep(50);
  gate.stop();
  assert.equal(await running, undefined);
  assert.equal(await gate.run(() => assert.fail('it ran')), undefined);
});

test('a role that may not is told, and one gate runs one worker', async (t) => {
  const wrong = new Client({ url: server.url, token: 'co_wrong', events: false });
  t.after(() => wrong.close());
  await assert.rejects(wrong.gate('once').run(() => undefined), { kind: 'unauthenticated' });
  await put('twice');
  const gate = client.gate('twice');
  await gate.run(() => assert.rejects(gate.run(() => undefined), TypeError));
});

test('a lease counts from before it was asked for', async (t) => {
  const fake = await FakeServer.start(async ({ path }) => {
    if (!path.endsWith('/lease')) return { status: 204 };
    await sleep(600);
    return { status: 201, body: { fencing_token: 7, lease_seconds: 1, heartbeat_after_seconds: 30 } };
  });
  t.after(() => fake.close());
  const made = new Client({ url: fake.url, token: 'co_x', events: false });
  t.after(() => made.close());
  const lease = await made.gate('w').leased();
  const began = performance.now();
  await new Promise((resolve) => (lease.isAllowed ? lease.signal.addEventListener('abort', resolve) : resolve()));
  assert.ok(performance.now() - began < 350);
  assert.equal(lease.isAllowed, false);
  assert.equal(await lease.wait(10), false);
});
