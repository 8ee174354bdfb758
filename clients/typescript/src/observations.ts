// Observations on their way to the server: in batches, off the caller's path, bounded, with a count of what was dropped.

import { jitter, later, parsed, type Calls, type Chance } from './calls.js';
import { ChangeoverError, isObject } from './errors.js';
import { bytesOf } from './json.js';
import type { Logger } from './log.js';

const BATCH_MAX = 500;
const BATCH_BYTES_MAX = 900 << 10;
const WAITING_BYTES_MAX = 32 << 20;
const GATHER_MS = 1_000;
const PAUSE_MS = 250;
const PAUSE_MS_MAX = 30_000;

/** Counts since the client was made. */
export interface Stats {
  readonly sent: number;
  /** Not sent, because too many waited, or because the client was closed. */
  readonly dropped: number;
  /** Sent and not taken. */
  readonly refused: number;
  /** Found by this client's own comparisons. */
  readonly mismatches: number;
  readonly ignored: number;
  /** Waiting, or under way. */
  readonly pending: number;
}

interface Waiting {
  readonly path: string;
  readonly text: string;
  readonly bytes: number;
}

export interface ObservationsSettings {
  readonly waitingMax: number;
  readonly timeoutMs: number;
}

export class Observations {
  readonly #calls: Calls;
  readonly #settings: ObservationsSettings;
  readonly #chance: Chance;
  readonly #log: Logger;
  readonly #counts = { sent: 0, dropped: 0, refused: 0, mismatches: 0, ignored: 0 };
  #waiting: Waiting[] = [];
  #bytes = 0;
  #underWay = 0;
  #failures = 0;
  #isClosed = false;
  #cancel: (() => void) | undefined;
  #sending: Promise<void> | undefined;

  constructor(calls: Calls, settings: ObservationsSettings, chance: Chance, log: Logger) {
    this.#calls = calls;
    this.#settings = settings;
    this.#chance = chance;
    this.#log = log;
  }

  count(what: 'mismatches' | 'ignored'): void {
    this.#counts[what] += 1;
  }

  stats(): Stats {
    return { ...this.#counts, pending: this.#waiting.length + this.#underWay };
  }

  add(path: string, observation: object): void {
    const text = JSON.stringify(observation);
    const bytes = bytesOf(text);
    const isFull = this.#waiting.length + this.#underWay >= this.#settings.waitingMax || this.#bytes + bytes > WAITING_BYTES_MAX;
    if (this.#isClosed || isFull) {
      this.#counts.dropped += 1;
      return;
    }
    this.#waiting.push({ path, text, bytes });
    this.#bytes += bytes;
    if (this.#cancel === undefined && this.#sending === undefined) this.#sendLater(GATHER_MS);
    else if (this.#waiting.length === BATCH_MAX && this.#failures === 0) this.#sendNow();
  }

  /** Sends what waits, now; false if something is left after the time. */
  async flush(timeoutMs: number): Promise<boolean> {
    const until = performance.now() + timeoutMs;
    while (this.#waiting.length + this.#underWay > 0) {
      const left = until - performance.now();
      if (left <= 0) return false;
      const failures = this.#failures;
      this.#sendNow();
      await settled(this.#sending, left);
      // The server is away: it is tried again as often as otherwise.
      if (this.#failures > failures) await settled(undefined, Math.min(until - performance.now(), jitter(this.#chance, PAUSE_MS, this.#failures, PAUSE_MS_MAX)));
    }
    return true;
  }

  async close(timeoutMs: number): Promise<void> {
    await this.flush(timeoutMs);
    this.#isClosed = true;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#counts.dropped += this.#waiting.length;
    this.#waiting = [];
  }

  #sendLater(ms: number): void {
    this.#cancel = later(() => {
      this.#cancel = undefined;
      this.#sendNow();
    }, ms);
  }

  #sendNow(): void {
    if (this.#sending !== undefined) return;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#sending = this.#send().then((pause) => {
      this.#sending = undefined;
      if (this.#isClosed || this.#waiting.length === 0) return;
      if (pause > 0) this.#sendLater(pause);
      else if (this.#waiting.length >= BATCH_MAX) this.#sendNow();
      else this.#sendLater(GATHER_MS);
    });
  }

  /** One batch; how long to wait before the next one. Never rejects. */
  async #send(): Promise<number> {
    const batch = this.#next();
    const [first] = batch;
    if (first === undefined) return 0;
    this.#underWay = batch.length;
    const after = await this.#sent(first.path, batch);
    this.#underWay = 0;
    if (after === undefined) {
      this.#failures = 0;
      for (const { bytes } of batch) this.#bytes -= bytes;
      return 0;
    }
    this.#failures += 1;
    if (this.#isClosed) this.#counts.dropped += batch.length;
    else this.#waiting.unshift(...batch);
    return Math.max(1, after, jitter(this.#chance, PAUSE_MS, this.#failures - 1, PAUSE_MS_MAX));
  }

  /** The next batch of one place. */
  #next(): Waiting[] {
    const batch: Waiting[] = [];
    const rest: Waiting[] = [];
    let bytes = 0;
    for (const one of this.#waiting) {
      if (one.path === this.#waiting[0]?.path && batch.length < BATCH_MAX && bytes + one.bytes + 1 <= BATCH_BYTES_MAX) {
        batch.push(one);
        bytes += one.bytes + 1;
      } else rest.push(one);
    }
    this.#waiting = rest;
    return batch;
  }

  /** Undefined if the batch is done with, otherwise how long to wait at least before it is sent again. */
  async #sent(path: string, batch: readonly Waiting[]): Promise<number | undefined> {
    let refused = 0;
    try {
      const headers = { 'Content-Type': 'application/x-ndjson' };
      const body = batch.map(({ text }) => text).join('\n');
      const answer = parsed(await this.#calls.send('POST', path, { headers, body, attempts: 1, timeoutMs: 5 * this.#settings.timeoutMs }));
      const lines = isObject(answer) && Array.isArray(answer['refused']) ? (answer['refused'] as unknown[]) : [];
      refused = lines.length;
      if (refused > 0) this.#log.warn(`changeover: ${refused} of ${batch.length} observations were refused: ${JSON.stringify(lines[0])}`);
    } catch (error) {
      if (error instanceof ChangeoverError && error.isRetried) return error.retryAfterMs ?? 0;
      refused = batch.length;
      this.#log.warn(`changeover: ${batch.length} observations were refused`, error);
    }
    this.#counts.refused += refused;
    this.#counts.sent += batch.length - refused;
    return undefined;
  }
}

/** Waits for a promise that never rejects, but no longer than a time. */
async function settled(promise: Promise<void> | undefined, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms));
  });
  await (promise === undefined ? late : Promise.race([promise, late]));
  clearTimeout(timer);
}
