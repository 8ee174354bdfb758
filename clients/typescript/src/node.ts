// The entry for Node: settings from the environment, the last known answers in a file.

import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BaseClient, type Settings } from './client.js';
import { fileStore } from './file.js';

export * from './portable.js';

export interface NodeSettings extends Settings {
  /** File of the last known answers, so that a start without the server serves them. Its directory has to be there. */
  readonly statePath?: string | URL | undefined;
}

/**
 * Flags, migrators, routing, writes and gates of one server; `url` and `token` are by default those of `CHANGEOVER_URL` and
 * `CHANGEOVER_TOKEN`. Made without waiting for the server, for any number of tasks. `close()` ends it.
 */
export class Client extends BaseClient {
  constructor(settings: NodeSettings = {}) {
    const { statePath, ...portable } = settings;
    const path = statePath instanceof URL ? fileURLToPath(statePath) : statePath;
    super(portable, {
      url: process.env['CHANGEOVER_URL'] ?? '',
      token: process.env['CHANGEOVER_TOKEN'] ?? '',
      store: path === undefined ? undefined : fileStore(resolve(path)),
      takesOffers: false,
      name: `${hostname()}/${process.pid}`,
    });
  }
}
