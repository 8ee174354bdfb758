// Writes over HTTP, for code that does not reach the application's database: both models in one transaction, once.

import { parsed, type Calls } from './calls.js';
import { ChangeoverError, isObject } from './errors.js';
import { parseExact } from './json.js';

/** What an earlier operation of the same request stored in a column, such as a minted id. */
export interface Minted {
  readonly operation: number;
  readonly row: number;
  readonly column: string;
}

/** Column → value. A bigint is sent with all its digits, a Date as its instant. */
export type Row = Readonly<Record<string, unknown>>;

interface Rows {
  readonly row?: Row;
  readonly rows?: readonly Row[];
}

export interface Insert extends Rows {
  readonly insert: string;
}

export interface Upsert extends Rows {
  readonly upsert: string;
  readonly by?: readonly string[];
}

export interface Update {
  readonly update: string;
  readonly where: Row;
  readonly set: Row;
  readonly if?: Row;
}

export interface Remove {
  readonly delete: string;
  readonly where: Row;
  readonly if?: Row;
}

export type Operation = Insert | Upsert | Update | Remove;

/** Inserts rows; columns that are left out get their defaults. */
export function insert(table: string, ...rows: readonly Row[]): Insert {
  return { insert: table, ...rowsOf(rows) };
}

/** Inserts rows, or updates those with the same key: the columns `by`, or the first key that the row has whole. */
export function upsert(table: string, rows: Row | readonly Row[], options: { readonly by?: readonly string[] } = {}): Upsert {
  return { upsert: table, ...rowsOf(isRows(rows) ? rows : [rows]), ...options };
}

/** Updates one row, if its columns hold what `onlyIf` says (otherwise: kind `precondition_failed`). */
export function update(table: string, where: Row, set: Row, onlyIf?: Row): Update {
  return { update: table, where, set, ...(onlyIf === undefined ? {} : { if: onlyIf }) };
}

/** Deletes one row. */
export function remove(table: string, where: Row, onlyIf?: Row): Remove {
  return { delete: table, where, ...(onlyIf === undefined ? {} : { if: onlyIf }) };
}

/** As a value: what an earlier operation of the same request stored in a column. Counted from 0. */
export function minted(operation: number, column: string, row = 0): Minted {
  return { operation, row, column };
}

function isRows(rows: Row | readonly Row[]): rows is readonly Row[] {
  return Array.isArray(rows);
}

function rowsOf(rows: readonly Row[]): Rows {
  const [only] = rows;
  return rows.length === 1 && only !== undefined ? { row: only } : { rows };
}

export interface Written {
  readonly rows: readonly Row[];
  readonly [name: string]: unknown;
}

export interface WriteResult {
  /** Each operation's rows as they were stored. Integers beyond 2^53 are bigints. */
  readonly operations: readonly Written[];
  /** For each block that the rows drive or feed: the keys whose target rows changed. */
  readonly translated: readonly Readonly<Record<string, unknown>>[];
  /** Keys whose translation failed and that wait for the worker. */
  readonly pending: readonly Readonly<Record<string, unknown>>[];
  /** It had been done before, under the same idempotency key; this is the answer of then. */
  readonly isReplayed: boolean;
  readonly idempotencyKey: string;
}

export interface WriteOptions {
  /** Does everything, answers, and rolls back. */
  readonly dryRun?: boolean;
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

/** Writes on the tables of a change. Made by `Client.writes`. */
export class Writes {
  readonly #calls: Calls;
  readonly #path: string;
  readonly #mint: () => string;

  /** @internal */
  constructor(calls: Calls, change: string, mint: () => string) {
    this.#calls = calls;
    this.#path = `/api/v1/changes/${encodeURIComponent(change)}/writes`;
    this.#mint = mint;
  }

  /**
   * Does all operations, in order, or none.
   *
   * However often it is sent, it is done once: an idempotency key is made unless one is given. Throws `ChangeoverError`; after the kinds
   * `timeout`, `connection` and `unavailable` it is unknown whether it was done: run it again with the same key, within 24 hours.
   */
  async run(operations: readonly Operation[], options: WriteOptions = {}): Promise<WriteResult> {
    const idempotencyKey = options.idempotencyKey ?? this.#mint();
    const body = { operations, ...(options.dryRun === true ? { dry_run: true } : {}) };
    const headers = { 'Idempotency-Key': idempotencyKey };
    const answer = await this.#calls.answer('POST', this.#path, body, { headers, signal: options.signal });
    const found = parsed(answer, parseExact);
    if (!isObject(found)) throw new ChangeoverError('unexpected', 'the answer is no object', { status: answer.status });
    return {
      operations: listAt(found, 'operations') as readonly Written[],
      translated: listAt(found, 'translated'),
      pending: listAt(found, 'pending'),
      isReplayed: answer.headers.get('idempotency-replayed') === 'true',
      idempotencyKey,
    };
  }

  /** The tables that may be written now, their keys, and each row as a JSON Schema. */
  async schema(options: { readonly signal?: AbortSignal } = {}): Promise<Readonly<Record<string, unknown>>> {
    const found = await this.#calls.json('GET', this.#path, undefined, options);
    if (!isObject(found)) throw new ChangeoverError('unexpected', 'the answer is no object', { status: 200 });
    return found;
  }
}

function listAt(answer: Record<string, unknown>, name: string): readonly Record<string, unknown>[] {
  const found = answer[name];
  return Array.isArray(found) ? (found as unknown[]).filter(isObject) : [];
}
