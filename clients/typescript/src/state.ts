// The last known answers, kept where a restart finds them, so that a start without the server serves them. Contexts are written as hashes only.

import { later } from './calls.js';
import type { Item, Items } from './details.js';
import { isObject } from './errors.js';
import { bytesOf } from './json.js';
import type { Logger } from './log.js';
import { sha256 } from './sha256.js';

/** One text that survives restarts: a file, or an entry of a page's storage. */
export interface StateStore {
  /** Where it is, for messages. */
  readonly name: string;
  /** The text that was written last; null if there is none. May throw. */
  read(): string | null;
  /** Replaces the text as a whole. May throw or reject. */
  write(text: string): void | Promise<void>;
  /** How many bytes there is room for. */
  readonly bytesMax: number;
}

interface SavedAnswers {
  readonly at: number;
  readonly etag: string | null;
  readonly flags: Readonly<Record<string, Item>>;
}

interface SavedStage {
  readonly stage: string;
  readonly at: number;
}

export interface KeptAnswers {
  readonly identity: string;
  readonly items: Items;
  readonly etag: string | undefined;
  readonly ageMs: number;
}

const FORMAT = 1;
const DAYS_MAX = 30;
const STAGES_MAX = 1_000;
const SOON_MS = 1_000;
const PAUSE_MS = 5_000;

export class State {
  readonly #store: StateStore | undefined;
  readonly #url: string;
  readonly #log: Logger;
  /** The kept answers, the least recently used first. */
  readonly #kept: () => Iterable<KeptAnswers>;
  #contexts = new Map<string, SavedAnswers>();
  #stages = new Map<string, SavedStage>();
  #cancel: (() => void) | undefined;
  #saving: Promise<void> = Promise.resolve();
  #savedAt = -Infinity;
  #isClosed = false;

  constructor(store: StateStore | undefined, url: string, log: Logger, kept: () => Iterable<KeptAnswers>) {
    this.#store = store;
    this.#url = url;
    this.#log = log;
    this.#kept = kept;
    if (store !== undefined) this.#load(store);
  }

  /** The answers that were read for a context. */
  answers(identity: string): { items: Items; etag: string | undefined; bytes: number } | undefined {
    if (this.#contexts.size === 0) return undefined;
    const found = this.#contexts.get(sha256(identity));
    if (found === undefined) return undefined;
    return { items: new Map(Object.entries(found.flags)), etag: found.etag ?? undefined, bytes: bytesOf(JSON.stringify(found.flags)) };
  }

  stage(flag: string): string | undefined {
    return this.#stages.get(flag)?.stage;
  }

  setStage(flag: string, stage: string): void {
    if (this.#stages.get(flag)?.stage === stage) return;
    this.#stages.delete(flag);
    this.#stages.set(flag, { stage, at: Date.now() / 1000 });
    const [oldest] = this.#stages.keys();
    if (this.#stages.size > STAGES_MAX && oldest !== undefined) this.#stages.delete(oldest);
    this.changed();
  }

  /** Writes in a moment. */
  changed(): void {
    if (this.#store === undefined || this.#cancel !== undefined || this.#isClosed) return;
    const delay = Math.max(SOON_MS, this.#savedAt + PAUSE_MS - performance.now());
    this.#cancel = later(() => {
      this.#cancel = undefined;
      void this.#save();
    }, delay);
  }

  /** Writes for the last time. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel?.();
    this.#cancel = undefined;
    await this.#save();
  }

  #save(): Promise<void> {
    const store = this.#store;
    if (store === undefined) return Promise.resolve();
    this.#saving = this.#saving.then(async () => {
      this.#savedAt = performance.now();
      try {
        await store.write(this.#text(store.bytesMax));
      } catch (error) {
        this.#log.warn(`changeover: the last known answers were not written to ${store.name}`, error);
      }
    });
    return this.#saving;
  }

  #text(bytesMax: number): string {
    const now = Date.now() / 1000;
    const texts = new Map<string, string>();
    for (const [id, saved] of this.#contexts) texts.set(id, JSON.stringify(saved));
    for (const { identity, items, etag, ageMs } of this.#kept()) {
      const saved: SavedAnswers = { at: now - ageMs / 1000, etag: etag ?? null, flags: Object.fromEntries(items) };
      const id = sha256(identity);
      texts.delete(id);
      texts.set(id, JSON.stringify(saved));
    }
    const stages = JSON.stringify(Object.fromEntries(this.#stages));
    const head = `{"format":${FORMAT},"url":${JSON.stringify(this.#url)},"saved_at":${now},"stages":${stages},"contexts":{`;
    // The newest ones, as far as there is room.
    let room = bytesMax - bytesOf(head) - 4;
    const pieces: string[] = [];
    for (const [id, text] of [...texts].reverse()) {
      room -= bytesOf(text) + id.length + 4;
      if (room < 0) break;
      pieces.push(`"${id}":${text}`);
    }
    return `${head}${pieces.reverse().join(',')}}}\n`;
  }

  #load(store: StateStore): void {
    try {
      const text = store.read();
      if (text !== null) this.#take(JSON.parse(text));
    } catch (error) {
      this.#log.warn(`changeover: the last known answers in ${store.name} are passed over`, error);
      this.#contexts = new Map();
      this.#stages = new Map();
    }
  }

  #take(document: unknown): void {
    if (!isObject(document) || document['format'] !== FORMAT || document['url'] !== this.#url) {
      throw new TypeError('they are of another server or another format');
    }
    const oldest = Date.now() / 1000 - DAYS_MAX * 86_400;
    for (const [id, found] of Object.entries(objectAt(document, 'contexts'))) {
      if (!isObject(found) || !isObject(found['flags']) || typeof found['at'] !== 'number') throw new TypeError('they are damaged');
      if (found['at'] <= oldest || !Object.values(found['flags']).every(isObject)) continue;
      // It goes into a header.
      const etag = typeof found['etag'] === 'string' && /^[\x20-\x7e]*$/.test(found['etag']) ? found['etag'] : null;
      this.#contexts.set(id, { at: found['at'], etag, flags: found['flags'] as Record<string, Item> });
    }
    for (const [flag, found] of Object.entries(objectAt(document, 'stages'))) {
      if (!isObject(found) || typeof found['stage'] !== 'string' || typeof found['at'] !== 'number') throw new TypeError('they are damaged');
      if (found['at'] > oldest) this.#stages.set(flag, { stage: found['stage'], at: found['at'] });
    }
  }
}

function objectAt(document: Record<string, unknown>, name: string): Record<string, unknown> {
  const found = document[name];
  if (!isObject(found)) throw new TypeError(`they have no ${name}`);
  return found;
}
