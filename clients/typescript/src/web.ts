// The entry for browsers: nothing of Node, streams of changes where the server offers them, the last known answers in the page's storage.

import { BaseClient, type Settings } from './client.js';
import type { StateStore } from './state.js';

export * from './portable.js';

/** What `localStorage` and `sessionStorage` are. */
export interface PageStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export interface WebSettings extends Settings {
  /** Where the last known answers are kept, such as `localStorage`. Default: nowhere. */
  readonly storage?: PageStorage | undefined;
  /** Under which key. Default: `changeover`. */
  readonly storageKey?: string | undefined;
}

/** A page's storage has room for a few million characters altogether, and others want some of it. */
const BYTES_MAX = 1 << 20;

/**
 * Flags, migrators, routing, writes and gates of one server. Whoever opens the page can read the token: give it one of role `evaluate`.
 * Made without waiting for the server. `close()` ends it.
 */
export class Client extends BaseClient {
  constructor(settings: WebSettings) {
    const { storage, storageKey = 'changeover', ...portable } = settings;
    super(portable, {
      url: '',
      token: '',
      store: storage === undefined ? undefined : storeIn(storage, storageKey),
      takesOffers: true,
      name: 'browser',
    });
  }
}

function storeIn(storage: PageStorage, key: string): StateStore {
  return {
    name: `the page's storage at ${key}`,
    bytesMax: BYTES_MAX,
    read: () => storage.getItem(key),
    write: (text) => storage.setItem(key, text),
  };
}
