// The corpus `tests/corpus/v1` that the server and all clients share.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { bucket, Client, insert } from '@changeover/client';
import { identity } from '../dist/details.js';
import { Kept } from '../dist/flags.js';
import { canonical, parseExact } from '../dist/json.js';
import { corpus, FakeServer, notes, RealServer } from './support.mjs';

function client(t, server, settings = {}) {
  const made = new Client({ url: server.url, token: 'co_x', events: false, logger: notes(), ...settings });
  t.after(() => made.close());
  return made;
}

describe('evaluations', () => {
  const own = corpus('clients/evaluations.json', parseExact);
  const shared = corpus('evaluations.json', parseExact);
  // A JavaScript number cannot hold them: the nearest one is served.
  const nearest = (value) => (typeof value === 'bigint' ? Number(value) : value);
  let server, asked;
  before(async () => {
    server = await RealServer.start();
    await server.load(shared);
    await server.load(own);
    asked = new Client({ url: server.url, token: await server.token('evaluate') });
  });
  after(async () => {
    await asked?.close();
    await server?.remove();
  });

  const said = ({ value, variant, reason, errorCode }) => ({ value, variant: variant ?? null, reason, error: errorCode ?? null });

  for (const cached of [true, false]) {
    test(`as a caller asks, ${cached ? 'kept' : 'asked now'}`, async () => {
      for (const { flag, ask, default: fallback, context, ...wanted } of own.cases) {
        const details = await asked.details(ask, flag, fallback, context, { cached });
        assert.deepEqual(said(details), { ...wanted, value: nearest(wanted.value) }, canonical([flag, ask, context]));
        if (details.errorCode === undefined) assert.notEqual(details.variant, undefined);
      }
    });
  }

  test('without waiting', async () => {
    for (const { flag, ask, default: fallback, context, ...wanted } of own.cases) {
      await asked.load(context);
      assert.deepEqual(said(asked.peek(ask, flag, fallback, context)), { ...wanted, value: nearest(wanted.value) }, canonical([flag, ask, context]));
    }
  });

  test('as the server is held to', async () => {
    const types = new Map(shared.flags.map(({ key, type }) => [key, type]));
    for (const one of shared.cases) {
      const details = await asked.details(types.get(one.flag), one.flag, null, one.context);
      assert.equal(details.errorCode, one.error, canonical(one));
      if (one.error !== undefined) continue;
      const { value, variant, reason, metadata } = details;
      const wanted = { value: nearest(one.value), variant: one.variant, reason: one.reason, rule: one.rule ?? undefined, bucket: one.bucket };
      assert.deepEqual({ value, variant, reason, rule: metadata.rule, bucket: metadata.bucket }, wanted, canonical(one));
    }
  });
});

test('buckets', () => {
  const vectors = corpus('buckets.json');
  assert.ok(vectors.length > 100);
  for (const one of vectors) assert.equal(bucket(one.seed, one.value), one.bucket, JSON.stringify(one));
});

/** No JSON, and equal to those with the same number. */
class Thing {
  constructor(number) {
    this.number = number;
  }
}

function valueOf(written) {
  if (written?.$object !== undefined) return new Thing(written.$object);
  return written?.$text === undefined ? written : 'x'.repeat(written.$text);
}

function fail(name) {
  const error = new Error(name);
  error.name = name;
  throw error;
}

const bad = () => fail('Bad');
const COMPARES = { equal: (old, candidate) => old === candidate, within_1: (old, candidate) => Math.abs(old - candidate) <= 1, fails: bad };
const IGNORES = { always: () => true, never: () => false, fails: bad, new_is_null: (_, candidate) => candidate === null };

describe('migrators', () => {
  const { traces, stages, table } = corpus('clients/migrator.json');

  for (const isAsync of [true, false]) {
    test(`traces, functions ${isAsync ? 'that wait' : 'that return at once'}`, async (t) => {
      const made = client(t, { url: 'http://127.0.0.1:1' });
      const observed = [];
      made.observations.add = (path, observation) => observed.push([path, observation]);
      for (const trace of traces) {
        observed.length = 0;
        const calls = [];
        const result = await run(made, trace, calls, isAsync);
        assert.deepEqual(trace.together ? calls.toSorted() : calls, trace.together ? trace.calls.toSorted() : trace.calls, trace.name);
        const wanted = trace.result.raises === undefined ? { returns: valueOf(trace.result.returns) } : trace.result;
        assert.deepEqual(result, wanted, trace.name);
        if (trace.observation === null) assert.deepEqual(observed, [], trace.name);
        else checkObservation(trace, observed);
      }
      assert.ok(traces.length > 200);
    });
  }

  function run(made, trace, calls, isAsync) {
    const met = [];
    let meet;
    const both = new Promise((resolve) => (meet = resolve));
    const act = (side) => {
      calls.push(`${side}.${trace.operation}`);
      return trace[side].raises === undefined ? valueOf(trace[side].returns) : fail(trace[side].raises);
    };
    const work = (side) => async (payload) => {
      assert.equal(payload, 'payload');
      // Goes on only if the other one has begun too.
      if (trace.together && met.push(side) === 2) meet();
      if (trace.together) await both;
      return act(side);
    };
    const plain = (side) => (payload) => (assert.equal(payload, 'payload'), act(side));
    const name = trace.operation === 'read' ? 'Read' : 'Write';
    const draws = [trace.draw, trace.first === 'old' ? 0 : 0.9];
    made.chance.random = () => draws.shift();
    const migrator = made.migrator('shop-flag', {
      [`old${name}`]: (isAsync ? work : plain)('old'),
      [`new${name}`]: (isAsync ? work : plain)('new'),
      name: 'shop',
      change: 'billing',
      order: trace.order,
      sample: trace.sample,
      values: trace.values,
      ...(trace.compare === null ? {} : { compare: COMPARES[trace.compare] }),
      ignore: trace.ignore.map((one) => IGNORES[one]),
    });
    const items = new Map([['shop-flag', { key: 'shop-flag', value: trace.stage, reason: 'STATIC' }]]);
    made.flags.kept.set(identity('u'), new Kept(items, undefined, performance.now() + 1e9, 1));
    return migrator[trace.operation]('u', 'payload').then((returns) => ({ returns }), (error) => ({ raises: error.name }));
  }

  function checkObservation(trace, observed) {
    assert.equal(observed.length, 1, trace.name);
    const [path, sent] = observed[0];
    assert.equal(path, '/api/v1/changes/billing/observations');
    const { id, at, ...observation } = JSON.parse(JSON.stringify(sent));
    assert.ok(id && !Number.isNaN(Date.parse(at)));
    for (const side of ['old', 'new']) {
      assert.ok(Number.isInteger(observation[side].duration_us) && observation[side].duration_us >= 0);
      delete observation[side].duration_us;
    }
    assert.deepEqual(observation, trace.observation, trace.name);
  }

  test('the table of stages', async () => {
    const { READS, WRITES } = await import('../dist/migrator.js');
    for (const [stage, { read, write }] of Object.entries(table)) assert.deepEqual([READS[stage], WRITES[stage]], [read, write]);
  });

  test('stages', async (t) => {
    for (const one of stages) {
      const made = client(t, { url: 'http://127.0.0.1:1' });
      const migrator = made.migrator('f', { defaultStage: one.default_stage });
      const answers = [...one.answers];
      made.flags.details = async (asked) => {
        const { value = asked.fallback, error } = answers.shift();
        return { value, reason: 'STATIC', errorCode: error, metadata: {} };
      };
      const found = [];
      for (const answer of one.answers) found.push(await migrator.stage(answer.context ?? 'a'));
      assert.deepEqual(found, one.stages);
    }
  });
});

describe('errors', () => {
  const { mappings, retries, evaluations } = corpus('clients/errors.json');

  async function serve(t, answer) {
    const server = await FakeServer.start(answer);
    t.after(() => server.close());
    return server;
  }

  test('mappings', async (t) => {
    let current;
    const server = await serve(t, () => current);
    const made = client(t, server);
    made.chance.sleep = async () => undefined;
    for (const one of mappings) {
      current = one;
      server.requests.length = 0;
      const error = await made.writes('billing').run([insert('users', { name: 'Ada' })]).then(() => assert.fail(JSON.stringify(one)), (raised) => raised);
      const { kind, code = null, detail, faults } = error;
      assert.deepEqual({ kind, code, faults }, { kind: one.kind, code: one.code, faults: one.faults }, JSON.stringify(one));
      if (one.detail !== null) assert.equal(detail, one.detail);
      assert.equal(server.requests.length, one.retried ? 4 : 1, JSON.stringify(one));
      assert.equal(new Set(server.requests.map(({ headers }) => headers['idempotency-key'])).size, 1);
    }
  });

  test('retries', async (t) => {
    for (const one of retries) {
      const answers = [...one.answers];
      const server = await serve(t, () => {
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        if (answer.status === undefined) return answer.closed ? 'closed' : 'silent';
        const headers = answer.retry_after === undefined ? {} : { 'Retry-After': String(answer.retry_after) };
        return { status: answer.status, headers, body: answer.code === undefined ? {} : { code: answer.code } };
      });
      const made = client(t, server, { timeoutMs: 500 });
      const pauses = [];
      made.chance.sleep = async (ms) => void pauses.push(ms / 1000);
      const result = await made.writes('billing').run([]).then(() => 'ok', ({ kind }) => kind);
      assert.deepEqual([result, server.requests.length, pauses.length], [one.result, one.attempts, one.waits.length], one.name);
      for (const [at, [least, most]] of one.waits.entries()) assert.ok(least <= pauses[at] && pauses[at] <= most, `${one.name}: ${pauses}`);
    }
  });

  test('evaluations', async (t) => {
    for (const one of evaluations) {
      const server = await serve(t, () => ({ status: one.status, headers: { 'Content-Type': 'application/json' }, body: one.body }));
      const said = ({ value, reason, errorCode }) => ({ value, reason, error: errorCode ?? null });
      const details = await client(t, server).details('string', 'f', 'd', 'u', { cached: !one.one });
      assert.deepEqual(said(details), { value: one.value, reason: one.reason, error: one.error }, one.name);
      if (one.kept === null) continue;
      const made = client(t, server);
      const items = new Map([['f', { key: 'f', value: 'kept', variant: 'k', reason: 'STATIC' }]]);
      made.flags.kept.set(identity('u'), new Kept(items, undefined, -Infinity, 1));
      assert.deepEqual(said(await made.details('string', 'f', 'd', 'u')), one.kept, one.name);
    }
  });
});

describe('routing', () => {
  const { sides, allocations } = corpus('clients/routing.json');
  let server, answer, made;
  before(async () => {
    server = await FakeServer.start(() => answer);
    made = new Client({ url: server.url, token: 'co_x', events: false });
  });
  after(async () => {
    await made?.close();
    await server?.close();
  });

  test('sides', async () => {
    for (const one of sides) {
      server.requests.length = 0;
      answer = { status: 200, headers: { 'Content-Type': 'application/x-ndjson' }, body: one.answer.map((line) => `${JSON.stringify(line)}\n`).join('') };
      const options = { record: one.record, ...(one.period === null ? {} : { period: one.period }) };
      const found = [];
      for await (const { side, error } of made.sidesOf('billing', one.users, options)) {
        found.push(error === undefined ? { side } : { error: error.kind, ...(error.detail === undefined ? {} : { detail: error.detail }) });
      }
      assert.deepEqual(found, one.result, one.name);
      assert.equal(server.requests.length, one.users.length === 0 ? 0 : 1, one.name);
      for (const request of server.requests) {
        const url = new URL(request.path, server.url);
        assert.equal(url.pathname, '/api/v1/changes/billing/assignments/query');
        assert.deepEqual(Object.fromEntries(url.searchParams), one.query, one.name);
        assert.deepEqual(request.body.trim().split('\n').map((line) => JSON.parse(line)), one.sent, one.name);
      }
    }
  });

  test('allocations', async () => {
    for (const one of allocations) {
      answer = { status: 200, headers: { 'Content-Type': 'application/json' }, body: one.answer };
      const { chargeId, groupId, ...rest } = await made.allocationOf('billing', one.charge);
      assert.deepEqual({ charge_id: chargeId, group_id: groupId, ...rest }, one.result, one.name);
    }
  });
});
