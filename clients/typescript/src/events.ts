// Listens to what the server tells of changes, and comes back when the stream breaks.

import { jitter, later, type Chance } from './calls.js';
import { isObject, retryAfterMs } from './errors.js';
import type { Logger } from './log.js';
import { EventParser, type ServerEvent } from './sse.js';
import type { Transport } from './transport.js';

const PATH = '/ofrep/v1/events';
const SILENCE_MS_MAX = 45_000;
const RETRY_MS = 1_000;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 30_000;
const RETRY_AFTER_MS_MAX = 300_000;

export interface Listener {
  /** A change, with the tag of the configuration. */
  told(etag: string | undefined): void;
  /** Whether a stream is open. */
  connected(isConnected: boolean): void;
  /** Where to listen without the API token. Not there: at the server, with it. */
  offered?(): string | undefined;
  /** The offer is not taken any more: another one is needed. */
  refused?(): void;
}

export class Events {
  readonly #transport: Transport;
  readonly #listener: Listener;
  readonly #chance: Chance;
  readonly #log: Logger;
  readonly #closed = new AbortController();
  #isStarted = false;
  #lastId: string | undefined;
  #retryMs = RETRY_MS;
  #failures = 0;

  constructor(transport: Transport, listener: Listener, chance: Chance, log: Logger) {
    this.#transport = transport;
    this.#listener = listener;
    this.#chance = chance;
    this.#log = log;
  }

  start(): void {
    if (this.#isStarted || this.#closed.signal.aborted) return;
    this.#isStarted = true;
    void this.#run();
  }

  close(): void {
    this.#closed.abort();
  }

  async #run(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      let after = 0;
      try {
        after = await this.#listen();
      } catch (error) {
        if (!this.#closed.signal.aborted) this.#log.debug?.('changeover: no stream of events', error);
      }
      this.#listener.connected(false);
      const pause = Math.max(PAUSE_MS_MIN, jitter(this.#chance, this.#retryMs, this.#failures, PAUSE_MS_MAX), after);
      this.#failures += 1;
      await this.#pause(pause);
    }
  }

  #pause(ms: number): Promise<void> {
    const { signal } = this.#closed;
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        signal.removeEventListener('abort', end);
        resolve();
      };
      const cancel = later(end, ms);
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
    });
  }

  /** Until the stream ends; how long to wait at least then. */
  async #listen(): Promise<number> {
    const silent = new AbortController();
    const end = (): void => silent.abort();
    this.#closed.signal.addEventListener('abort', end, { once: true });
    let cancel = later(end, this.#transport.timeoutMs);
    const heard = (): void => {
      cancel();
      cancel = later(end, SILENCE_MS_MAX);
    };
    try {
      if (this.#closed.signal.aborted) return 0;
      const response = await this.#open(silent.signal);
      const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
      if (response.status !== 200 || !isStream || response.body === null) {
        await response.body?.cancel();
        if (response.status === 401) this.#listener.refused?.();
        return Math.min(retryAfterMs(response.headers.get('retry-after')) ?? 0, RETRY_AFTER_MS_MAX);
      }
      heard();
      this.#listener.connected(true);
      await this.#read(response.body, heard);
      return 0;
    } finally {
      cancel();
      this.#closed.signal.removeEventListener('abort', end);
      silent.abort();
    }
  }

  #open(signal: AbortSignal): Promise<Response> {
    const offered = this.#listener.offered;
    if (offered === undefined) {
      const last = this.#lastId === undefined ? {} : { 'Last-Event-ID': this.#lastId };
      return this.#transport.stream(PATH, { Accept: 'text/event-stream', ...last }, signal);
    }
    const uri = offered();
    if (uri === undefined) throw new Error('the server has offered no stream yet');
    const url = new URL(uri, this.#transport.url);
    // A header of its own would need another request before each.
    if (this.#lastId !== undefined) url.searchParams.set('lastEventId', this.#lastId);
    return this.#transport.streamAt(url.href, signal);
  }

  async #read(body: ReadableStream<Uint8Array>, heard: () => void): Promise<void> {
    const parser = new EventParser();
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.#closed.signal.aborted) return;
      heard();
      for (const event of parser.push(decoder.decode(value, { stream: true }))) this.#event(event);
      if (parser.retryMs !== undefined) this.#retryMs = Math.min(parser.retryMs, PAUSE_MS_MAX);
    }
  }

  #event(event: ServerEvent): void {
    this.#failures = 0;
    if (event.id !== undefined && /^[\x20-\x7e]*$/.test(event.id)) this.#lastId = event.id;
    let data: unknown;
    try {
      data = JSON.parse(event.data);
    } catch {
      return;
    }
    if (!isObject(data) || data['type'] !== 'refetchEvaluation') return;
    this.#listener.told(typeof data['etag'] === 'string' ? data['etag'] : undefined);
  }
}
