// What needs no server: JSON, equality, events in pieces, hashes, and what is kept.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { isEqual } from '../dist/equal.js';
import { retryAfterMs } from '../dist/errors.js';
import { canonical, copyOf, isPlainJson, parseExact } from '../dist/json.js';
import { Lru } from '../dist/lru.js';
import { sha256 } from '../dist/sha256.js';
import { EventParser } from '../dist/sse.js';

test('a hash is the one that everybody else computes', () => {
  for (const length of [0, 1, 3, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1_000, 70_000]) {
    for (const letter of ['a', 'é', '😀']) {
      const text = letter.repeat(length);
      assert.equal(sha256(text), createHash('sha256').update(text).digest('hex'), `${length}`);
    }
  }
});

test('one text for equal values', () => {
  assert.equal(canonical({ b: [1, { d: null, c: 'é' }], a: undefined }), '{"b":[1,{"c":"é","d":null}]}');
  assert.equal(canonical({ at: new Date(0), id: 2n ** 64n, zero: -0 }), '{"at":"1970-01-01T00:00:00.000Z","id":18446744073709551616,"zero":0}');
  assert.equal(canonical(JSON.parse('{"__proto__":1}')), '{"__proto__":1}');
  for (const wrong of [() => 1, Symbol('s'), NaN, new Map(), [new Set()], undefined]) assert.throws(() => canonical(wrong), { name: 'NotJson' });
  const circle = [];
  circle.push(circle);
  assert.throws(() => canonical(circle), { name: 'NotJson' });
});

test('integers of any size', () => {
  const text = '{"a":9007199254740993,"b":"9007199254740993 \\" 9007199254740993","c":[-18446744073709551615,12345678901234567.5,1e20,9007199254740991],"d":"\\\\"}';
  assert.deepEqual(parseExact(text), {
    a: 9007199254740993n,
    b: '9007199254740993 " 9007199254740993',
    c: [-18446744073709551615n, 12345678901234567.5, 1e20, 9007199254740991],
    d: '\\',
  });
  assert.throws(() => parseExact('{"a":9007199254740993'), SyntaxError);
});

test('what is JSON as it stands', () => {
  for (const plain of [null, true, 'x', 1.5, [], {}, { a: [{ b: null }] }, Object.create(null), { a: undefined }]) assert.ok(isPlainJson(plain));
  for (const other of [undefined, NaN, 1n, () => 1, new Date(), new Map(), new (class Thing {})(), { a: { toJSON: () => 1 } }, [undefined], new Error('e')]) {
    assert.ok(!isPlainJson(other), String(other));
  }
});

test('a copy shares nothing', () => {
  const value = JSON.parse('{"a":[{"b":1}],"__proto__":{"c":2}}');
  const copy = copyOf(value);
  assert.deepEqual(Object.entries(copy), Object.entries(value));
  copy.a[0].b = 2;
  assert.equal(value.a[0].b, 1);
  assert.equal(copy.c, undefined);
});

test('equality', () => {
  class Money {
    constructor(amount) {
      this.amount = amount;
    }
  }
  class Secret {
    #value;
    constructor(value) {
      this.#value = value;
    }
    get value() {
      return this.#value;
    }
  }
  const circle = (n) => {
    const one = { n };
    one.itself = one;
    return one;
  };
  const equal = [
    [NaN, NaN], [0, -0], [1n, 1n], [[1, [2]], [1, [2]]], [{ a: 1, b: undefined }, { a: 1 }], [new Date(5), new Date(5)],
    [new Map([[1, { a: 1 }]]), new Map([[1, { a: 1 }]])], [new Set([{ a: 1 }]), new Set([{ a: 1 }])], [new Money(1), new Money(1)],
    [Uint8Array.of(1, 2), Uint8Array.of(1, 2)], [new URL('http://a/'), new URL('http://a/')], [new Error('e'), new Error('e')], [circle(1), circle(1)],
  ];
  const different = [
    [1, '1'], [null, undefined], [null, {}], [[], {}], [[1], [1, 2]], [{ a: 1 }, { b: 1 }], [{ a: 1 }, { a: 1, b: 2 }], [new Date(5), new Date(6)],
    [new Map([[1, 1]]), new Map([[2, 1]])], [new Set([1]), new Set([2])], [new Money(1), new Money(2)], [new Money(1), { amount: 1 }],
    [Uint8Array.of(1, 2), Uint8Array.of(1, 3)], [new URL('http://a/'), new URL('http://b/')], [new Error('e'), new Error('f')],
    [new Secret(1), new Secret(2)], [() => 1, () => 1], [circle(1), circle(2)],
  ];
  for (const [a, b] of equal) assert.ok(isEqual(a, b), `${String(a)} ${String(b)}`);
  for (const [a, b] of different) assert.ok(!isEqual(a, b) && !isEqual(b, a), `${String(a)} ${String(b)}`);
});

test('events, however they are cut', () => {
  const stream = '\ufeff:hello\r\nretry: 1480\r\n\r\nid: 1\nevent: message\ndata: {"a":\ndata:1}\n\r\ndata\n\ndata: x\rid: bad\0\r\rid: 2\ndata: last\n';
  const wanted = [{ id: '1', data: '{"a":\n1}' }, { id: '1', data: '' }, { id: '1', data: 'x' }];
  for (let size = 1; size <= stream.length; size++) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.slice(at, at + size)));
    assert.deepEqual(events, wanted, `in pieces of ${size}`);
    assert.equal(parser.retryMs, 1480);
  }
  const parser = new EventParser();
  assert.throws(() => { for (let n = 0; n < 100; n++) [...parser.push('x'.repeat(1_000))]; }, RangeError);
  assert.throws(() => [...new EventParser().push('data: x\n'.repeat(1_000))], RangeError);
});

test('what Retry-After says', () => {
  assert.equal(retryAfterMs('2'), 2_000);
  assert.equal(retryAfterMs(' 0 '), 0);
  assert.equal(retryAfterMs('Wed, 21 Oct 2015 07:28:00 GMT'), 0);
  assert.ok(retryAfterMs(new Date(Date.now() + 60_000).toUTCString()) > 50_000);
  for (const nonsense of [null, '', 'soon', '-5', '1.5', 'May 5']) assert.equal(retryAfterMs(nonsense), undefined, nonsense);
});

test('the least recently used goes first', () => {
  const lru = new Lru(3, 10, (weight) => weight);
  for (const key of ['a', 'b', 'c']) lru.set(key, 1);
  lru.touch('a');
  lru.set('d', 1);
  assert.deepEqual([...lru.entries()].map(([key]) => key), ['c', 'a', 'd']);
  lru.set('c', 2, false);
  assert.deepEqual([...lru.entries()].map(([key]) => key), ['c', 'a', 'd']);
  lru.set('e', 9);
  assert.deepEqual([[...lru.entries()], lru.weight], [[['d', 1], ['e', 9]], 10]);
  lru.set('f', 50);
  assert.deepEqual([[...lru.entries()], lru.weight, lru.size], [[['f', 50]], 50, 1]);
});
