// A worker that runs only while it may: it asks its gate for a lease, keeps it by a heartbeat, and stops in time when it is lost.

import { later, sleep, type Calls, type Chance } from './calls.js';
import { ChangeoverError, isObject, type ErrorKind } from './errors.js';
import type { Logger } from './log.js';

const ASK_AGAIN_MS = 10_000;
const WAIT_MS_MAX = 60_000;
/** The longest time that a timer takes. */
const TIMER_MS_MAX = 2 ** 31 - 1;
const NOT_NOW: readonly ErrorKind[] = ['conflict', 'gate_held', 'gate_paused', 'lease_lost', 'not_found'];

/** A gate as the server has it. */
export interface GateState {
  readonly answer: string;
  readonly [name: string]: unknown;
}

/** What `work` is given: whether it may go on. */
export class Lease {
  /**
   * Grows with every lease of the worker: whoever has a smaller one is late. Give it to what you write to, if it can compare.
   * Undefined for a worker of which any number may run.
   */
  readonly fencingToken: number | undefined;
  readonly #over = new AbortController();
  #until = 0;
  #cancel: () => void = () => undefined;
  /** @internal When the next heartbeat is due, by `performance.now()`. */
  nextAt = 0;

  /** @internal */
  constructor(fencingToken: number | undefined, term: Term) {
    this.fencingToken = fencingToken;
    this.extend(term);
  }

  /** @internal Counted from before it was asked for, and a tenth less: it never lasts longer here than at the server. */
  extend({ askedAt, lastsMs, nextMs }: Term): void {
    this.#until = askedAt + lastsMs * 0.9;
    this.nextAt = askedAt + Math.max(100, nextMs);
    this.#watch();
  }

  #watch(): void {
    this.#cancel();
    if (this.#over.signal.aborted || this.#until === Infinity) return;
    this.#cancel = later(() => (this.isAllowed ? this.#watch() : undefined), Math.min(TIMER_MS_MAX, Math.max(0, this.#until - performance.now())));
  }

  /** False for good as soon as the worker is paused, the lease is lost or has run out, or the gate was told to stop. */
  get isAllowed(): boolean {
    if (!this.#over.signal.aborted && performance.now() >= this.#until) this.lose();
    return !this.#over.signal.aborted;
  }

  /** Ends when `isAllowed` does: hand it to `fetch` and to whatever else can be broken off. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** A pause between two pieces of work that ends as soon as the lease does. Resolves to `isAllowed`. */
  async wait(ms: number): Promise<boolean> {
    await ended(this.#over.signal, ms);
    return this.isAllowed;
  }

  /** Ends it. */
  lose(): void {
    this.#cancel();
    this.#over.abort(new DOMException('the worker may not go on', 'AbortError'));
  }
}

/** When a lease was asked for, how long it lasts, and when it is prolonged. */
interface Term {
  readonly askedAt: number;
  readonly lastsMs: number;
  readonly nextMs: number;
}

/** Made by `Client.gate`. One object runs one worker; `holder` names this instance of it. */
export class Gate {
  readonly worker: string;
  readonly holder: string;
  readonly #calls: Calls;
  readonly #chance: Chance;
  readonly #log: Logger;
  readonly #path: string;
  readonly #stopped = new AbortController();
  #lease: Lease | undefined;

  /** @internal */
  constructor(calls: Calls, chance: Chance, log: Logger, worker: string, holder: string) {
    this.#calls = calls;
    this.#chance = chance;
    this.#log = log;
    this.worker = worker;
    this.holder = holder;
    this.#path = `/api/v1/gates/${encodeURIComponent(worker)}`;
  }

  /** The gate as the server has it: `answer` is `run` or `pause`. Throws `ChangeoverError`. */
  async state(): Promise<GateState> {
    const found = await this.#calls.json('GET', this.#path, undefined, { attempts: 1 });
    if (!isObject(found) || typeof found['answer'] !== 'string') throw new ChangeoverError('unexpected', 'the answer is no gate', { status: 200 });
    return found as GateState;
  }

  /** Ends `run`: the work is told that it may not go on, and no new lease is asked for. */
  stop(): void {
    this.#stopped.abort();
    this.#lease?.lose();
  }

  /**
   * Waits for the lease, calls `work` with it, and gives it back.
   *
   * If the lease ends before `work` does, another one is waited for and `work` is called again. Resolves to what `work` returned, or to
   * undefined if it was stopped. What `work` throws is the caller's, but an `AbortError` after the lease's end is that end.
   */
  async run<T>(work: (lease: Lease) => T | Promise<T>): Promise<T | undefined> {
    if (this.#lease !== undefined) throw new TypeError(`the worker ${JSON.stringify(this.worker)} runs already: make a gate for each`);
    while (!this.#stopped.signal.aborted) {
      const lease = await this.#acquire();
      if (lease === undefined) continue;
      if (this.#stopped.signal.aborted) {
        await this.#release(lease);
        return undefined;
      }
      const finished = await this.#worked(lease, work);
      if (finished !== undefined) return finished.result;
    }
    return undefined;
  }

  async #worked<T>(lease: Lease, work: (lease: Lease) => T | Promise<T>): Promise<{ result: T } | undefined> {
    this.#lease = lease;
    void this.#beat(lease);
    try {
      const result = await work(lease);
      return lease.isAllowed ? { result } : undefined;
    } catch (error) {
      if (lease.isAllowed || !isAbort(error)) throw error;
      return undefined;
    } finally {
      this.#lease = undefined;
      await this.#release(lease);
    }
  }

  /** Leave to run, or undefined after the pause that is asked for. */
  async #acquire(): Promise<Lease | undefined> {
    try {
      const askedAt = performance.now();
      const found = await this.state();
      if (found.answer === 'run') {
        if (found['single_instance'] !== true) {
          return new Lease(undefined, { askedAt, lastsMs: Infinity, nextMs: msAt(found, 'ask_again_seconds') ?? ASK_AGAIN_MS });
        }
        return await this.leased();
      }
      await this.#pause(msAt(found, 'ask_again_seconds'));
    } catch (error) {
      if (!(error instanceof ChangeoverError) || !(NOT_NOW.includes(error.kind) || error.isRetried)) throw error;
      this.#log.debug?.(`changeover: ${this.worker} may not run`, error);
      await this.#pause(error.retryAfterMs);
    }
    return undefined;
  }

  async #pause(ms: number | undefined): Promise<void> {
    const { random } = this.#chance;
    const pause = ms === undefined ? 1_000 + 4_000 * random() : Math.min(ms, WAIT_MS_MAX) + 250 * random();
    await this.#chance.sleep(pause, this.#stopped.signal).catch(() => undefined);
  }

  /** @internal */
  async leased(): Promise<Lease> {
    const askedAt = performance.now();
    const answer = await this.#calls.json('POST', `${this.#path}/lease`, { holder: this.holder }, { attempts: 1 });
    const { fencingToken, ...term } = termOf(answer);
    return new Lease(fencingToken, { askedAt, ...term });
  }

  async #beat(lease: Lease): Promise<void> {
    while (await lease.wait(Math.max(0, lease.nextAt - performance.now()))) {
      try {
        await this.#prolong(lease);
      } catch (error) {
        if (!(error instanceof ChangeoverError) || !error.isRetried) {
          this.#log.debug?.(`changeover: ${this.worker} may not go on`, error);
          lease.lose();
          return;
        }
        // Whether the server comes back in time the lease's own clock decides.
        await lease.wait(100 + 400 * this.#chance.random());
      }
    }
  }

  async #prolong(lease: Lease): Promise<void> {
    const askedAt = performance.now();
    if (lease.fencingToken === undefined) {
      const found = await this.state();
      if (found.answer !== 'run' || found['single_instance'] === true) lease.lose();
      else lease.extend({ askedAt, lastsMs: Infinity, nextMs: msAt(found, 'ask_again_seconds') ?? ASK_AGAIN_MS });
      return;
    }
    const answer = await this.#calls.json('POST', `${this.#path}/lease/heartbeat`, this.#claim(lease), { attempts: 1 });
    const { fencingToken, ...term } = termOf(answer);
    if (fencingToken === lease.fencingToken) lease.extend({ askedAt, ...term });
    else lease.lose();
  }

  async #release(lease: Lease): Promise<void> {
    lease.lose();
    if (lease.fencingToken === undefined) return;
    try {
      await this.#calls.json('POST', `${this.#path}/lease/release`, this.#claim(lease), { attempts: 1 });
    } catch (error) {
      this.#log.debug?.(`changeover: the lease of ${this.worker} was not given back, it runs out`, error);
    }
  }

  #claim(lease: Lease): object {
    return { holder: this.holder, fencing_token: lease.fencingToken };
  }
}

function termOf(answer: unknown): { fencingToken: number; lastsMs: number; nextMs: number } {
  const { fencing_token: fencingToken, lease_seconds: lasts, heartbeat_after_seconds: next } = isObject(answer) ? answer : {};
  if (typeof fencingToken !== 'number' || typeof lasts !== 'number' || typeof next !== 'number') {
    throw new ChangeoverError('unexpected', 'the answer is no lease', { status: 200 });
  }
  return { fencingToken, lastsMs: lasts * 1000, nextMs: next * 1000 };
}

function msAt(found: Record<string, unknown>, name: string): number | undefined {
  const value = found[name];
  return typeof value === 'number' && value > 0 ? value * 1000 : undefined;
}

function isAbort(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'name' in error && error.name === 'AbortError';
}

async function ended(signal: AbortSignal, ms: number): Promise<void> {
  const until = performance.now() + ms;
  for (let left = ms; left > 0 && !signal.aborted; left = until - performance.now()) {
    await sleep(Math.min(left, TIMER_MS_MAX), signal).catch(() => undefined);
  }
}
