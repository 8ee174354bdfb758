// Requests of the API: JSON in and out, typed errors, and another try where one may help.

import { ChangeoverError, errorOf } from './errors.js';
import { canonical } from './json.js';
import type { Answer, Sent, Transport } from './transport.js';

const ATTEMPTS = 4;
const PAUSE_MS = 100;
const PAUSE_MS_MAX = 5_000;
const RETRY_AFTER_MS_MAX = 30_000;

/** What runs differently in tests. */
export interface Chance {
  /** From 0, less than 1. */
  random(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Call extends Sent {
  /** How often it is tried at most. */
  readonly attempts?: number;
}

/** Any time up to `base` × 2ⁿ: clients that failed together do not come back together. */
export function jitter(chance: Chance, base: number, attempt: number, most: number): number {
  return chance.random() * Math.min(most, base * 2 ** Math.min(attempt, 30));
}

/** Sends what may be sent twice. */
export class Calls {
  readonly #transport: Transport;
  readonly #chance: Chance;

  constructor(transport: Transport, chance: Chance) {
    this.#transport = transport;
    this.#chance = chance;
  }

  /** The answer's JSON; undefined for an answer without content. Throws `ChangeoverError`. */
  async json(method: string, path: string, body?: unknown, call: Call = {}): Promise<unknown> {
    return parsed(await this.answer(method, path, body, call));
  }

  /** The answer to a body that is sent as JSON. */
  answer(method: string, path: string, body?: unknown, call: Call = {}): Promise<Answer> {
    const headers = { ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...call.headers };
    return this.send(method, path, { ...call, headers, body: body === undefined ? undefined : canonical(body) });
  }

  /** A success, as it came. */
  async send(method: string, path: string, call: Call): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      let pause: number;
      try {
        const answer = await this.#transport.request(method, path, call);
        if (answer.status >= 200 && answer.status < 300) return answer;
        throw errorOf(answer.status, answer.headers, answer.body);
      } catch (error) {
        if (!(error instanceof ChangeoverError) || !error.isRetried || attempt >= (call.attempts ?? ATTEMPTS)) throw error;
        const after = error.retryAfterMs ?? 0;
        if (after > RETRY_AFTER_MS_MAX) throw error;
        pause = after + jitter(this.#chance, PAUSE_MS, attempt, PAUSE_MS_MAX);
      }
      await this.#chance.sleep(pause, call.signal);
    }
  }
}

export function parsed(answer: Answer, parse: (text: string) => unknown = JSON.parse): unknown {
  if (answer.status === 204) return undefined;
  try {
    return parse(answer.body);
  } catch (error) {
    throw new ChangeoverError('unexpected', `the answer is not JSON: ${String(error)}`, { status: answer.status, cause: error });
  }
}

/** Resolves after a time; rejects with the signal's reason if that ends first. It keeps no process alive for longer than a request does. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', end);
      resolve();
    }, ms);
    signal?.addEventListener('abort', end, { once: true });
  });
}

/** A timer that does not keep a Node process alive. */
export function later(work: () => void, ms: number): () => void {
  const timer: unknown = setTimeout(work, ms);
  if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function') timer.unref();
  return () => clearTimeout(timer as ReturnType<typeof setTimeout>);
}
