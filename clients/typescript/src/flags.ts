// Evaluations: the answers of the contexts asked for lately are kept, served from memory and renewed off the caller's path.

import { Availability } from './availability.js';
import type { Chance } from './calls.js';
import { detailsOf, failed, identity, isType, itemsOf, type Asked, type Details, type Items } from './details.js';
import { ChangeoverError, isObject, retryAfterMs } from './errors.js';
import { bytesOf, NotJson } from './json.js';
import type { Logger } from './log.js';
import { Lru } from './lru.js';
import { State, type KeptAnswers, type StateStore } from './state.js';
import type { Answer, Transport } from './transport.js';

const BULK = '/ofrep/v1/evaluate/flags';
const BYTES_MAX = 32 << 20;
const RECENT_MS = 60_000;
const RENEWALS_AT_ONCE = 4;
const MAX_AGE_MS_WITHOUT_EVENTS = 10_000;
/** Renewals in a row, if another change is told of during each. */
const RENEWALS_MAX = 5;

/** A context's answers. */
export class Kept {
  used: number;
  /** A change was told of since. */
  isDue = false;
  isRenewing = false;
  isFromDisk = false;
  /** What every flag is answered: the context is wrong. */
  error: { code: string; message: string } | undefined;

  constructor(
    readonly items: Items,
    readonly etag: string | undefined,
    readonly at: number,
    readonly bytes: number,
  ) {
    this.used = at;
  }
}

export interface FlagsSettings {
  readonly maxAgeMs: number;
  readonly contextsMax: number;
  readonly store: StateStore | undefined;
}

export class Flags {
  readonly availability: Availability;
  readonly state: State;
  /** @internal */
  readonly kept: Lru<Kept>;
  /** @internal How often a change was told of. */
  generation = 0;
  hasEvents = false;
  onFirstAnswer: () => void = () => undefined;
  /** Where a page may listen to changes without a token, as the server offered it last. */
  streamUri: string | undefined;
  readonly #transport: Transport;
  readonly #maxAgeMs: number;
  readonly #log: Logger;
  readonly #fetching = new Map<string, Promise<Kept | undefined>>();
  readonly #waiting: [string, Kept][] = [];
  #renewals = 0;
  #told: string | undefined;
  #isClosed = false;

  constructor(transport: Transport, settings: FlagsSettings, chance: Chance, log: Logger) {
    this.#transport = transport;
    this.#maxAgeMs = settings.maxAgeMs;
    this.#log = log;
    this.availability = new Availability(chance);
    this.kept = new Lru(settings.contextsMax, BYTES_MAX, (kept) => kept.bytes);
    this.state = new State(settings.store, transport.url, log, () => this.#toSave());
  }

  // ── what callers ask ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Never throws and never rejects. */
  async details<T>(asked: Asked<T>, context: unknown, isCached = true): Promise<Details<T>> {
    try {
      if (!isType(asked.type)) return failed(asked.fallback, 'GENERAL', `there is no type ${JSON.stringify(asked.type)}`);
      const ident = identity(context);
      if (!isCached) return await this.#one(asked, ident);
      return this.#known(asked, ident) ?? (await this.#first(asked, ident));
    } catch (error) {
      return this.#broken(asked, error);
    }
  }

  /** What can be said without waiting: kept answers however old, those on disk, or the default. What is missing is asked for meanwhile. */
  peek<T>(asked: Asked<T>, context: unknown): Details<T> {
    try {
      if (!isType(asked.type)) return failed(asked.fallback, 'GENERAL', `there is no type ${JSON.stringify(asked.type)}`);
      const ident = identity(context);
      const known = this.#known(asked, ident);
      if (known !== undefined) return known;
      void this.#asked(ident);
      return this.#lastKnown(asked, ident);
    } catch (error) {
      return this.#broken(asked, error);
    }
  }

  /** Has the answers of a context asked for, if they are not there; false if they cannot be had. */
  async load(context: unknown): Promise<boolean> {
    const ident = identity(context);
    const kept = this.kept.peek(ident);
    if (kept !== undefined && this.#isServed(kept, performance.now())) return kept.error === undefined;
    const asked = await this.#asked(ident);
    return asked !== undefined && asked.error === undefined;
  }

  /** Asks anew; false if that cannot be done now. */
  async refresh(context: unknown): Promise<boolean> {
    const ident = identity(context);
    let renewed: Kept | undefined;
    for (let times = 0; times < RENEWALS_MAX; times++) {
      renewed = await this.#fetch(ident, true);
      if (renewed === undefined || !renewed.isDue) break;
    }
    return renewed !== undefined && renewed.error === undefined;
  }

  #broken<T>(asked: Asked<T>, error: unknown): Details<T> {
    if (error instanceof NotJson) return failed(asked.fallback, 'INVALID_CONTEXT', error.message);
    this.#log.warn('changeover: a flag was not evaluated', error);
    return failed(asked.fallback, 'GENERAL', String(error));
  }

  /** The answer, if nobody needs to wait for it. */
  #known<T>(asked: Asked<T>, ident: string): Details<T> | undefined {
    const kept = this.kept.peek(ident);
    if (kept === undefined) return undefined;
    const now = performance.now();
    if (kept.isDue || now - kept.at > this.#ageMax()) {
      if (!this.#isServed(kept, now)) return undefined;
      this.#renew(ident, kept);
    }
    if (now - kept.used > 1_000) {
      kept.used = now;
      this.kept.touch(ident);
    }
    return this.#served(asked, kept, now - kept.at);
  }

  #isServed(kept: Kept, now: number): boolean {
    return now - kept.at <= 10 * this.#maxAgeMs && !(kept.isDue && now - kept.used > RECENT_MS);
  }

  #ageMax(): number {
    return this.hasEvents ? this.#maxAgeMs : Math.min(this.#maxAgeMs, MAX_AGE_MS_WITHOUT_EVENTS);
  }

  #served<T>(asked: Asked<T>, kept: Kept, ageMs: number): Details<T> {
    if (kept.error !== undefined) return failed(asked.fallback, kept.error.code, kept.error.message);
    const details = detailsOf(kept.items.get(asked.key), asked);
    const isStale = this.availability.hasFailed && (kept.isFromDisk || ageMs > this.#maxAgeMs);
    return isStale && details.errorCode === undefined ? { ...details, reason: 'STALE' } : details;
  }

  async #first<T>(asked: Asked<T>, ident: string): Promise<Details<T>> {
    const kept = await this.#asked(ident);
    return kept === undefined ? this.#lastKnown(asked, ident) : this.#served(asked, kept, performance.now() - kept.at);
  }

  #lastKnown<T>(asked: Asked<T>, ident: string): Details<T> {
    const kept = this.kept.peek(ident) ?? this.#fromDisk(ident);
    if (kept !== undefined) return this.#served(asked, kept, Infinity);
    const { code, message } = this.availability.failure;
    return failed(asked.fallback, code, message);
  }

  async #one<T>(asked: Asked<T>, ident: string): Promise<Details<T>> {
    if (this.#isClosed || !this.availability.mayBeAsked()) return this.#lastKnown(asked, ident);
    const answer = await this.#post(`${BULK}/${encodeURIComponent(asked.key)}`, ident, {});
    const item = answer instanceof ChangeoverError ? undefined : parsedOf(answer);
    if (!(answer instanceof ChangeoverError) && isObject(item)) {
      const hasCode = item['errorCode'] !== undefined && item['errorCode'] !== null;
      if (answer.status === 200 || ([400, 404, 500].includes(answer.status) && hasCode)) {
        this.#answered();
        return detailsOf(item, asked);
      }
      if (answer.status === 404) {
        this.#answered();
        return detailsOf(undefined, asked);
      }
    }
    this.#failed(answer);
    return this.#lastKnown(asked, ident);
  }

  // ── asking the server ─────────────────────────────────────────────────────────────────────────────────────────────

  /** The newest answers, asked for now; undefined if they cannot be had. */
  async #asked(ident: string): Promise<Kept | undefined> {
    const kept = await this.#fetch(ident, true);
    if (kept?.isDue === true) this.#renew(ident, kept);
    return kept;
  }

  /** In the background, a few at a time. */
  #renew(ident: string, kept: Kept): void {
    if (kept.isRenewing || this.#isClosed || !this.availability.couldBeAsked()) return;
    kept.isRenewing = true;
    this.#waiting.push([ident, kept]);
    this.#renewNext();
  }

  #renewNext(): void {
    if (this.#renewals >= RENEWALS_AT_ONCE) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#renewals += 1;
    void this.#renewed(...next).finally(() => {
      this.#renewals -= 1;
      this.#renewNext();
    });
  }

  async #renewed(ident: string, kept: Kept): Promise<void> {
    try {
      for (let times = 0; times < RENEWALS_MAX; times++) {
        const renewed = await this.#fetch(ident, false);
        if (renewed === undefined || !renewed.isDue) return;
      }
    } finally {
      kept.isRenewing = false;
    }
  }

  /** Whoever needs the same answers waits for the same request. Never rejects. */
  #fetch(ident: string, isUsed: boolean): Promise<Kept | undefined> {
    const under = this.#fetching.get(ident);
    if (under !== undefined) return under;
    const fetching = this.#fetched(ident, isUsed)
      .catch((error: unknown) => {
        // Whoever tries for all has to say how it went, or nobody would ask again.
        this.availability.givenUp();
        this.#log.warn('changeover: the answers of a context were not taken', error);
        return undefined;
      })
      .finally(() => this.#fetching.delete(ident));
    this.#fetching.set(ident, fetching);
    return fetching;
  }

  /** @see #fetch, which catches. */
  async #fetched(ident: string, isUsed: boolean): Promise<Kept | undefined> {
    if (this.#isClosed || !this.availability.mayBeAsked()) return undefined;
    const { generation } = this;
    const kept = this.kept.peek(ident) ?? this.#fromDisk(ident);
    const path = this.#told === undefined ? BULK : `${BULK}?flagConfigEtag=${encodeURIComponent(this.#told)}`;
    const answer = await this.#post(path, ident, kept?.etag === undefined ? {} : { 'If-None-Match': kept.etag });
    const renewed = answer instanceof ChangeoverError ? undefined : this.#read(answer, kept);
    if (renewed === undefined) {
      this.#failed(answer);
      return undefined;
    }
    renewed.isDue = this.generation !== generation;
    this.#keep(ident, renewed, isUsed);
    this.#answered();
    return renewed;
  }

  /** The answers that an answer of the server has, or undefined if it has none. */
  #read(answer: Answer, kept: Kept | undefined): Kept | undefined {
    const now = performance.now();
    if (answer.status === 304 && kept !== undefined) {
      const same = new Kept(kept.items, kept.etag, now, kept.bytes);
      same.error = kept.error;
      return same;
    }
    const parsed = parsedOf(answer);
    const items = answer.status === 200 ? itemsOf(parsed) : undefined;
    if (items !== undefined) {
      this.streamUri = streamUriOf(parsed) ?? this.streamUri;
      return new Kept(items, answer.headers.get('etag') ?? undefined, now, bytesOf(answer.body));
    }
    if ((answer.status === 400 || answer.status === 404) && isObject(parsed) && typeof parsed['errorCode'] === 'string') {
      const wrong = new Kept(new Map(), undefined, now, answer.body.length);
      wrong.error = { code: parsed['errorCode'], message: String(parsed['errorDetails'] ?? parsed['errorCode']) };
      return wrong;
    }
    return undefined;
  }

  async #post(path: string, ident: string, headers: Record<string, string>): Promise<Answer | ChangeoverError> {
    try {
      const body = `{"context":${ident}}`;
      return await this.#transport.request('POST', path, { body, headers: { 'Content-Type': 'application/json', ...headers } });
    } catch (error) {
      return error instanceof ChangeoverError ? error : new ChangeoverError('connection', String(error), { cause: error });
    }
  }

  #answered(): void {
    this.availability.answered();
    this.onFirstAnswer();
  }

  #failed(answer: Answer | ChangeoverError): void {
    if (answer instanceof ChangeoverError) {
      this.availability.failed({ code: 'PROVIDER_NOT_READY', message: answer.message }, undefined);
      return;
    }
    const parsed = parsedOf(answer);
    const why = isObject(parsed) ? (parsed['errorDetails'] ?? parsed['detail']) : undefined;
    const message = `the server answers ${answer.status}${typeof why === 'string' ? `: ${why}` : ''}`;
    const code = answer.status === 401 || answer.status === 403 ? 'GENERAL' : 'PROVIDER_NOT_READY';
    this.availability.failed({ code, message }, retryAfterMs(answer.headers.get('retry-after')));
  }

  // ── what is kept ──────────────────────────────────────────────────────────────────────────────────────────────────

  #keep(ident: string, kept: Kept, isUsed: boolean): void {
    const before = this.kept.peek(ident);
    if (!isUsed && before !== undefined) kept.used = before.used;
    this.kept.set(ident, kept, isUsed);
    if (kept.error === undefined) this.state.changed();
  }

  #fromDisk(ident: string): Kept | undefined {
    const found = this.state.answers(ident);
    if (found === undefined) return undefined;
    const kept = new Kept(found.items, found.etag, -Infinity, found.bytes);
    kept.isFromDisk = true;
    return kept;
  }

  *#toSave(): Iterable<KeptAnswers> {
    const now = performance.now();
    for (const [ident, { items, etag, at, error }] of this.kept.entries()) {
      if (error === undefined) yield { identity: ident, items, etag, ageMs: now - at };
    }
  }

  // ── changes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The server says that its configuration has changed. */
  told(etag: string | undefined): void {
    const now = performance.now();
    this.generation += 1;
    this.#told = etag;
    const recent: [string, Kept][] = [];
    for (const [ident, kept] of this.kept.entries()) {
      kept.isDue = true;
      if (now - kept.used <= RECENT_MS) recent.push([ident, kept]);
    }
    recent.sort(([, a], [, b]) => b.used - a.used);
    for (const [ident, kept] of recent) this.#renew(ident, kept);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#waiting.length = 0;
    await this.state.close();
  }
}

function parsedOf(answer: Answer): unknown {
  try {
    return JSON.parse(answer.body) as unknown;
  } catch {
    return undefined;
  }
}

function streamUriOf(answer: unknown): string | undefined {
  const streams = isObject(answer) ? answer['eventStreams'] : undefined;
  for (const stream of Array.isArray(streams) ? (streams as unknown[]) : []) {
    if (!isObject(stream) || stream['type'] !== 'sse') continue;
    if (typeof stream['url'] === 'string') return stream['url'];
    if (isObject(stream['endpoint']) && typeof stream['endpoint']['requestUri'] === 'string') return stream['endpoint']['requestUri'];
  }
  return undefined;
}
