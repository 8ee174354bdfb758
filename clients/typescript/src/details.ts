// What an evaluation is told, and what comes out of it. No I/O.

import { isObject } from './errors.js';
import { canonical, copyOf, NotJson } from './json.js';

/** Attributes of whom or what a flag is asked for. */
export interface ContextObject {
  readonly targetingKey?: string | number | bigint | undefined;
  readonly [attribute: string]: unknown;
}

/** An object with `targetingKey` and attributes, or a text or number that stands for one with that key alone. */
export type Context = ContextObject | string | number | bigint | null | undefined;

export type ErrorCode =
  | 'FLAG_NOT_FOUND'
  | 'PARSE_ERROR'
  | 'TARGETING_KEY_MISSING'
  | 'INVALID_CONTEXT'
  | 'TYPE_MISMATCH'
  | 'PROVIDER_NOT_READY'
  | 'GENERAL';

const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'FLAG_NOT_FOUND',
  'PARSE_ERROR',
  'TARGETING_KEY_MISSING',
  'INVALID_CONTEXT',
  'TYPE_MISMATCH',
  'PROVIDER_NOT_READY',
  'GENERAL',
]);

/** The types of flags, and what each is in JavaScript. */
export interface FlagTypes {
  boolean: boolean;
  string: string;
  /** A number without a fraction. One beyond 2^53 is the nearest number that JavaScript has. */
  integer: number;
  float: number;
  object: Record<string, unknown>;
}

export type FlagType = keyof FlagTypes;
const TYPES: readonly string[] = ['boolean', 'string', 'integer', 'float', 'object'] satisfies FlagType[];

/** A value and how it came about. */
export interface Details<T> {
  readonly value: T;
  /** The variant that was served; undefined if the value is the default that the caller gave. */
  readonly variant: string | undefined;
  /** STATIC, DEFAULT, TARGETING_MATCH, SPLIT or DISABLED, as the server says; STALE: the last known one, and the server cannot be asked; ERROR. */
  readonly reason: string;
  /** What went wrong, in OpenFeature's words; undefined if nothing did. */
  readonly errorCode: ErrorCode | undefined;
  readonly errorMessage: string | undefined;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface Asked<T> {
  readonly key: string;
  readonly fallback: T;
  readonly type: string;
}

/** An item of an OFREP answer. */
export type Item = Readonly<Record<string, unknown>>;
export type Items = ReadonlyMap<string, Item>;

const NOTHING: Readonly<Record<string, unknown>> = Object.freeze({});

/** The context as JSON, the same for equal contexts. Throws `NotJson` if it is no context. */
export function identity(context: unknown): string {
  switch (typeof context) {
    case 'string':
    case 'number':
    case 'bigint':
      return `{"targetingKey":${canonical(context)}}`;
    case 'undefined':
      return '{}';
    case 'object':
      if (context === null) return '{}';
      if (!isObject(context)) throw new NotJson('a context is an object, a text or a number, not an array');
      return objectText(context);
    default:
      throw new NotJson(`a context is an object, a text or a number, not a ${typeof context}`);
  }
}

function objectText(context: Record<string, unknown>): string {
  const text = canonical(context);
  // A class may turn into something else, as a Date does.
  if (!text.startsWith('{')) throw new NotJson('a context is an object, a text or a number');
  return text;
}

export function isType(type: string): type is FlagType {
  return TYPES.includes(type);
}

export function failed<T>(value: T, code: string, message: string): Details<T> {
  const errorCode = CODES.has(code) ? (code as ErrorCode) : 'GENERAL';
  return { value, variant: undefined, reason: 'ERROR', errorCode, errorMessage: message, metadata: NOTHING };
}

/** What an item says to a caller who asked so; `item` is undefined if there is none. */
export function detailsOf<T>(item: Item | undefined, asked: Asked<T>): Details<T> {
  if (item === undefined) return failed(asked.fallback, 'FLAG_NOT_FOUND', `there is no flag ${JSON.stringify(asked.key)}`);
  const code = item['errorCode'];
  if (code !== undefined && code !== null) return failed(asked.fallback, String(code), String(item['errorDetails'] ?? code));
  const variant = typeof item['variant'] === 'string' ? item['variant'] : undefined;
  const reason = typeof item['reason'] === 'string' ? item['reason'] : 'UNKNOWN';
  const metadata = isObject(item['metadata']) ? item['metadata'] : NOTHING;
  const found = item['value'];
  if (found === undefined) return { value: asked.fallback, variant, reason, errorCode: undefined, errorMessage: undefined, metadata };
  if (!fits(found, asked.type)) {
    const shown = JSON.stringify(found).slice(0, 80);
    return failed(asked.fallback, 'TYPE_MISMATCH', `flag ${JSON.stringify(asked.key)} has the value ${shown}, which is no ${asked.type}`);
  }
  const value = (typeof found === 'object' ? copyOf(found) : found) as T;
  return { value, variant, reason, errorCode: undefined, errorMessage: undefined, metadata };
}

function fits(value: unknown, type: string): boolean {
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'float') return typeof value === 'number' && Number.isFinite(value);
  return type === 'object' ? isObject(value) : typeof value === type;
}

/** An answer for all flags, by key; undefined if it is none. Metadata is shared by all who ask, so nobody may change it. */
export function itemsOf(answer: unknown): Items | undefined {
  const flags = isObject(answer) ? answer['flags'] : undefined;
  if (!Array.isArray(flags)) return undefined;
  const items = new Map<string, Item>();
  for (const item of flags as unknown[]) {
    if (!isObject(item) || typeof item['key'] !== 'string') continue;
    if (isObject(item['metadata'])) Object.freeze(item['metadata']);
    items.set(item['key'], item);
  }
  return items;
}
