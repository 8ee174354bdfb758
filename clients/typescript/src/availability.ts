// Whether the server may be asked on a caller's path: after a failure one caller tries again after a pause; the others do not wait.

import { jitter, type Chance } from './calls.js';
import type { ErrorCode } from './details.js';

const PAUSE_MS = 250;
const PAUSE_MS_MAX = 30_000;
const RETRY_AFTER_MS_MAX = 300_000;

export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
}

export class Availability {
  readonly #chance: Chance;
  #failures = 0;
  #isTried = false;
  /** @internal When the pause is over, by `performance.now()`. */
  until = 0;
  failure: Failure = { code: 'PROVIDER_NOT_READY', message: 'the server has not been asked yet' };

  constructor(chance: Chance) {
    this.#chance = chance;
  }

  get hasFailed(): boolean {
    return this.#failures > 0;
  }

  /** Who is told yes after a failure tries for all: he says how it went by one of the three below. */
  mayBeAsked(): boolean {
    if (this.#failures === 0) return true;
    if (!this.couldBeAsked()) return false;
    this.#isTried = true;
    return true;
  }

  couldBeAsked(): boolean {
    return this.#failures === 0 || (!this.#isTried && performance.now() >= this.until);
  }

  answered(): void {
    this.#failures = 0;
    this.#isTried = false;
  }

  failed(failure: Failure, retryAfterMs: number | undefined): void {
    const pause =
      retryAfterMs === undefined
        ? jitter(this.#chance, PAUSE_MS, this.#failures, PAUSE_MS_MAX)
        : Math.min(retryAfterMs, RETRY_AFTER_MS_MAX) + this.#chance.random() * PAUSE_MS;
    this.#failures += 1;
    this.#isTried = false;
    this.failure = failure;
    this.until = performance.now() + pause;
  }

  /** The one who tries was interrupted. */
  givenUp(): void {
    this.#isTried = false;
  }
}
