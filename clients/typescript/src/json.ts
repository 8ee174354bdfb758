// JSON as this package needs it: one text for equal values, integers of any size, and what is plain JSON at all.

import { isObject } from './errors.js';

/** It is no JSON. */
export class NotJson extends TypeError {
  override readonly name = 'NotJson';
}

const DEPTH_MAX = 200;

/**
 * A value as JSON, the same text for equal values whatever the order of their keys. As `JSON.stringify` otherwise (`toJSON` counts,
 * undefined properties are left out), but a bigint is written with its digits, and what has no JSON throws `NotJson`.
 */
export function canonical(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw new NotJson(`${value} is no JSON`);
      return Object.is(value, -0) ? '0' : String(value);
    case 'boolean':
    case 'bigint':
      return String(value);
    case 'object':
      return value === null ? 'null' : writeObject(value, depth);
    default:
      throw new NotJson(`${value === undefined ? 'undefined' : `a ${typeof value}`} is no JSON`);
  }
}

function writeObject(value: object, depth: number): string {
  // A cycle ends here as well.
  if (depth > DEPTH_MAX) throw new NotJson('it is nested too deeply');
  if ('toJSON' in value && typeof value.toJSON === 'function') return write(value.toJSON(''), depth + 1);
  if (Array.isArray(value)) return `[${value.map((one) => (one === undefined ? 'null' : write(one, depth + 1))).join(',')}]`;
  if (value instanceof Map || value instanceof Set || value instanceof Promise) throw new NotJson(`a ${value.constructor.name} is no JSON`);
  const parts: string[] = [];
  const entries = value as Record<string, unknown>;
  for (const key of Object.keys(value).sort()) {
    const one = entries[key];
    if (one !== undefined) parts.push(`${JSON.stringify(key)}:${write(one, depth + 1)}`);
  }
  return `{${parts.join(',')}}`;
}

const INTEGER = '\u0000integer:';

/** JSON whose integers beyond 2^53 become bigints rather than other numbers. */
export function parseExact(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
    /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? JSON.stringify(INTEGER + token) : token,
  );
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith(INTEGER) ? BigInt(value.slice(INTEGER.length)) : value,
  );
}

/** Whether a value is JSON as it stands: nothing is left out or becomes something else when it is sent. */
export function isPlainJson(value: unknown, depth = 0): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true;
    case 'number':
      return Number.isFinite(value);
    case 'object': {
      if (value === null) return true;
      if (depth > 30) return false;
      if (Array.isArray(value)) return value.every((one) => isPlainJson(one, depth + 1));
      return isPlain(value) && Object.values(value).every((one) => one === undefined || isPlainJson(one, depth + 1));
    }
    default:
      return false;
  }
}

function isPlain(value: object): boolean {
  if ('toJSON' in value) return false;
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === null || prototype === Object.prototype) return true;
  // An object of another realm has another `Object.prototype`.
  return Object.getPrototypeOf(prototype) === null && prototype.constructor?.name === 'Object';
}

/** A copy of parsed JSON: what a caller does with it must not change what others get. */
export function copyOf<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copyOf) as T;
  if (!isObject(value)) return value;
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    // A key `__proto__` is a key like others in JSON.
    if (key === '__proto__') Object.defineProperty(copy, key, { value: copyOf(value[key]), enumerable: true, configurable: true, writable: true });
    else copy[key] = copyOf(value[key]);
  }
  return copy as T;
}

const encoder = new TextEncoder();

export function bytesOf(text: string): number {
  return encoder.encode(text).length;
}
