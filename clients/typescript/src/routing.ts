// On which side a user is, many users at once, and who pays a charge.

import type { Availability } from './availability.js';
import { parsed, type Calls } from './calls.js';
import { ChangeoverError, isObject } from './errors.js';
import type { Logger } from './log.js';
import { Lru } from './lru.js';
import type { Side } from './migrator.js';

const SIDES_MAX = 10_000;
const LAST_KNOWN_MS_MAX = 3_600_000;
const BATCH_LINES = 500;
const WARN_PAUSE_MS = 60_000;

export type UserId = string | number | bigint;

export interface SidesOptions {
  /** Such as `2026-12`; default: the running one. */
  readonly period?: string | undefined;
  /** False: a first question's answer is not recorded. */
  readonly record?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SideOptions extends SidesOptions {
  /** With it the server is asked once and nothing is thrown for it. */
  readonly default?: Side | undefined;
}

/** What is said about one of many users: a side, or what is wrong with the question. */
export type SideAnswer =
  | { readonly user: string; readonly side: Side; readonly group: string | null; readonly because: string | null; readonly error?: undefined }
  | { readonly user: string; readonly side?: undefined; readonly error: ChangeoverError };

export interface Part {
  readonly payer: string | null;
  /** A text with every digit that the database has. */
  readonly amount: string;
}

/** Who pays a charge, by the model that is in force for it. */
export interface Allocation {
  readonly chargeId: string;
  readonly period: string | null;
  readonly currency: string | null;
  readonly side: Side;
  readonly groupId: string | null;
  readonly parts: readonly Part[];
}

interface KeptSide {
  readonly side: Side;
  readonly at: number;
}

interface Question {
  readonly change: string;
  readonly period: string | undefined;
  readonly record: boolean;
  readonly signal: AbortSignal | undefined;
  readonly attempts: number | undefined;
}

export interface RoutingSettings {
  readonly maxAgeMs: number;
  readonly timeoutMs: number;
}

export class Routing {
  readonly #calls: Calls;
  readonly #availability: Availability;
  readonly #settings: RoutingSettings;
  readonly #log: Logger;
  readonly #kept = new Lru<KeptSide>(SIDES_MAX);
  readonly #asking = new Map<string, Promise<Side>>();
  #warnedAt = -Infinity;

  constructor(calls: Calls, availability: Availability, settings: RoutingSettings, log: Logger) {
    this.#calls = calls;
    this.#availability = availability;
    this.#settings = settings;
    this.#log = log;
  }

  async sideOf(change: string, user: UserId, options: SideOptions): Promise<Side> {
    const { period, record = true, signal, default: fallback } = options;
    const key = JSON.stringify([change, String(user), period ?? null, record]);
    const kept = this.#kept.peek(key);
    if (kept !== undefined && performance.now() - kept.at <= this.#settings.maxAgeMs) return kept.side;
    try {
      const question = { change, period, record, signal, attempts: fallback === undefined ? undefined : 1 };
      const side = await (fallback === undefined ? this.#ask(question, user) : this.#askOnce(question, user, key));
      this.#kept.set(key, { side, at: performance.now() });
      return side;
    } catch (error) {
      if (!(error instanceof ChangeoverError)) throw error;
      const last = this.#kept.peek(key);
      if (last !== undefined && error.isRetried && performance.now() - last.at <= LAST_KNOWN_MS_MAX) return last.side;
      if (fallback === undefined) throw error;
      this.#warn(change, error);
      return fallback;
    }
  }

  async #ask(question: Question, user: UserId): Promise<Side> {
    const [answer] = await this.#batch(question, [String(user)]);
    if (answer?.side === undefined) throw answer?.error ?? new ChangeoverError('unexpected', 'the answer names no side');
    return answer.side;
  }

  /** On a request's path: as with evaluations, a server that hangs costs one caller its time, not each of them. */
  #askOnce(question: Question, user: UserId, key: string): Promise<Side> {
    const under = this.#asking.get(key);
    if (under !== undefined && question.signal === undefined) return under;
    const asking = this.#guarded(question, user);
    if (question.signal !== undefined) return asking;
    const done = asking.finally(() => this.#asking.delete(key));
    this.#asking.set(key, done);
    return done;
  }

  async #guarded(question: Question, user: UserId): Promise<Side> {
    if (!this.#availability.mayBeAsked()) throw new ChangeoverError('connection', this.#availability.failure.message);
    try {
      const side = await this.#ask(question, user);
      this.#availability.answered();
      return side;
    } catch (error) {
      if (!(error instanceof ChangeoverError)) this.#availability.givenUp();
      else if (error.isRetried) this.#availability.failed({ code: 'PROVIDER_NOT_READY', message: error.message }, error.retryAfterMs);
      else this.#availability.answered();
      throw error;
    }
  }

  #warn(change: string, error: ChangeoverError): void {
    if (performance.now() - this.#warnedAt < WARN_PAUSE_MS) return;
    this.#warnedAt = performance.now();
    this.#log.warn(`changeover: a side of ${change} is not known, the default is taken`, error);
  }

  async *sidesOf(change: string, users: Iterable<UserId> | AsyncIterable<UserId>, options: SidesOptions): AsyncGenerator<SideAnswer, void, undefined> {
    const question = { change, period: options.period, record: options.record ?? true, signal: options.signal, attempts: undefined };
    let batch: string[] = [];
    for await (const user of users) {
      batch.push(String(user));
      if (batch.length < BATCH_LINES) continue;
      yield* await this.#batch(question, batch);
      batch = [];
    }
    if (batch.length > 0) yield* await this.#batch(question, batch);
  }

  async #batch({ change, period, record, signal, attempts }: Question, users: readonly string[]): Promise<SideAnswer[]> {
    const query = new URLSearchParams({ ...(period === undefined ? {} : { period }), ...(record ? {} : { record: 'false' }) }).toString();
    const path = `/api/v1/changes/${encodeURIComponent(change)}/assignments/query${query === '' ? '' : `?${query}`}`;
    const body = users.map((user) => `${JSON.stringify({ user })}\n`).join('');
    const timeoutMs = users.length === 1 ? undefined : 5 * this.#settings.timeoutMs;
    const headers = { 'Content-Type': 'application/x-ndjson' };
    const answer = await this.#calls.send('POST', path, { headers, body, timeoutMs, signal, ...(attempts === undefined ? {} : { attempts }) });
    const lines = new Map<unknown, Record<string, unknown>>();
    for (const text of answer.body.split('\n')) {
      if (text.trim() === '') continue;
      const line = parsed({ ...answer, status: 200, body: text });
      if (isObject(line)) lines.set(line['line'], line);
    }
    return users.map((user, at) => answerOf(user, lines.get(at + 1)));
  }

  async allocationOf(change: string, charge: UserId, options: { readonly signal?: AbortSignal | undefined }): Promise<Allocation> {
    const path = `/api/v1/changes/${encodeURIComponent(change)}/charges/${encodeURIComponent(String(charge))}/explain`;
    const answer = await this.#calls.json('GET', path, undefined, options);
    const found = isObject(answer) ? allocationOf(answer) : undefined;
    if (found === undefined) throw new ChangeoverError('unexpected', 'the answer is no charge\'s story', { status: 200 });
    return found;
  }
}

function answerOf(user: string, line: Record<string, unknown> | undefined): SideAnswer {
  if (line === undefined) return { user, error: new ChangeoverError('connection', 'the answers broke off') };
  if (line['error'] !== undefined) {
    const detail = String(line['error']);
    return { user, error: new ChangeoverError('invalid', detail, { status: 200, detail }) };
  }
  const side = line['side'];
  if (!isSide(side)) return { user, error: new ChangeoverError('unexpected', `${JSON.stringify(side)} is no side`, { status: 200 }) };
  return { user, side, group: textOf(line['group']), because: textOf(line['because']) };
}

function allocationOf(answer: Record<string, unknown>): Allocation | undefined {
  const { charge_id: chargeId, queries, facts } = answer;
  if (typeof chargeId !== 'string' || !Array.isArray(queries)) return undefined;
  const rowsOf = (name: string): unknown => (queries as unknown[]).filter(isObject).find((query) => query['query'] === name)?.['rows'];
  const rows = rowsOf('effective') ?? rowsOf('old');
  if (!Array.isArray(rows) || !(rows as unknown[]).every(isObject)) return undefined;
  const charge = isObject(facts) && isObject(facts['charge']) ? facts['charge'] : {};
  const [first] = rows as Record<string, unknown>[];
  const side = first?.['side'] ?? 'old';
  if (!isSide(side)) return undefined;
  const parts = (rows as Record<string, unknown>[]).map((row) => ({ payer: textOf(row['payer']), amount: String(row['amount']) }));
  return { chargeId, period: textOf(charge['period']), currency: textOf(charge['currency']), side, groupId: textOf(first?.['group_id']), parts };
}

export function isSide(side: unknown): side is Side {
  return side === 'old' || side === 'new';
}

function textOf(value: unknown): string | null {
  return value === undefined || value === null ? null : String(value);
}
