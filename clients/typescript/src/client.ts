// One object for one server: flags, migrators, routing, writes and gates. What differs between Node and browsers is given to it.

import { Calls, sleep, type Chance } from './calls.js';
import type { Context, Details, FlagType, FlagTypes } from './details.js';
import { Events } from './events.js';
import { Flags } from './flags.js';
import { Gate } from './gates.js';
import { guarded, type Logger } from './log.js';
import { Migrator, Stages, type MigratorHost, type MigratorParts, type Side } from './migrator.js';
import { Observations, type Stats } from './observations.js';
import { Routing, type Allocation, type SideAnswer, type SideOptions, type SidesOptions, type UserId } from './routing.js';
import type { StateStore } from './state.js';
import { Transport } from './transport.js';
import { Writes } from './writes.js';

export interface Settings {
  /** The server's address. */
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  /** For a whole request, to the last byte of its answer. Default: 2000. */
  readonly timeoutMs?: number | undefined;
  /** Whether to listen to changes. Default: true. */
  readonly events?: boolean | undefined;
  /** How old a kept answer may be. Default: 60000; 10000 at most while no stream of changes is open. */
  readonly maxAgeMs?: number | undefined;
  /** How many contexts' answers are kept. Default: 1000. */
  readonly contextsMax?: number | undefined;
  /** How many observations may wait. Default: 10000. */
  readonly observationsMax?: number | undefined;
  /** How old a kept side may be. Default: 10000. */
  readonly sideMaxAgeMs?: number | undefined;
  /** Instead of the global one. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Told of what nobody is told otherwise; null is silence. Default: `console`, warnings only. */
  readonly logger?: Logger | null | undefined;
}

/** What a place to run in has. */
export interface Host {
  readonly url: string;
  readonly token: string;
  readonly store: StateStore | undefined;
  /** Whether streams are opened where the server offers them, rather than with the API token. */
  readonly takesOffers: boolean;
  /** The beginning of this instance's name as a holder of leases. */
  readonly name: string;
}

const CHANCE: Chance = { random: Math.random, sleep };

/** Made without waiting for the server, for any number of tasks. `close()` ends it. */
export class BaseClient {
  /** @internal */
  readonly flags: Flags;
  /** @internal What tests take in hand. */
  readonly chance: Chance = { ...CHANCE };
  /** @internal */
  readonly observations: Observations;
  readonly #timeoutMs: number;
  readonly #log: Logger;
  readonly #calls: Calls;
  readonly #routing: Routing;
  readonly #events: Events | undefined;
  readonly #migratorHost: MigratorHost;
  readonly #holder: string;
  readonly #listeners = new Set<() => void>();
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(settings: Settings, host: Host) {
    const { timeoutMs = 2_000, maxAgeMs = 60_000, contextsMax = 1_000, observationsMax = 10_000, sideMaxAgeMs = 10_000 } = settings;
    for (const [name, value] of Object.entries({ maxAgeMs, contextsMax, observationsMax, sideMaxAgeMs })) {
      if (!(value >= 0)) throw new RangeError(`${name} is a number from 0, not ${value}`);
    }
    const fetch = settings.fetch ?? ((...request: Parameters<typeof globalThis.fetch>) => globalThis.fetch(...request));
    const transport = new Transport(settings.url ?? host.url, settings.token ?? host.token, timeoutMs, fetch);
    const { chance } = this;
    this.#timeoutMs = timeoutMs;
    this.#log = guarded(settings.logger === undefined ? { warn: (...told) => console.warn(...told) } : settings.logger);
    this.#calls = new Calls(transport, chance);
    this.flags = new Flags(transport, { maxAgeMs, contextsMax, store: host.store }, chance, this.#log);
    this.observations = new Observations(this.#calls, { waitingMax: observationsMax, timeoutMs }, chance, this.#log);
    this.#routing = new Routing(this.#calls, this.flags.availability, { maxAgeMs: sideMaxAgeMs, timeoutMs }, this.#log);
    this.#events = settings.events === false ? undefined : new Events(transport, this.#listener(host), chance, this.#log);
    this.flags.onFirstAnswer = () => this.#events?.start();
    this.#migratorHost = this.#hostOfMigrators(contextsMax);
    this.#holder = host.name;
  }

  // ── flags ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Never rejects, as all evaluations: what goes wrong gives the default. */
  async boolean(key: string, defaultValue: boolean, context?: Context): Promise<boolean> {
    return (await this.#details('boolean', key, defaultValue, context)).value;
  }

  async string(key: string, defaultValue: string, context?: Context): Promise<string> {
    return (await this.#details('string', key, defaultValue, context)).value;
  }

  /** A number without a fraction. */
  async integer(key: string, defaultValue: number, context?: Context): Promise<number> {
    return (await this.#details('integer', key, defaultValue, context)).value;
  }

  async float(key: string, defaultValue: number, context?: Context): Promise<number> {
    return (await this.#details('float', key, defaultValue, context)).value;
  }

  /** A copy, which may be changed. */
  async object(key: string, defaultValue: FlagTypes['object'], context?: Context): Promise<FlagTypes['object']> {
    return (await this.#details('object', key, defaultValue, context)).value;
  }

  /** A value and how it came about. `cached: false` asks the server now. */
  details<T extends FlagType>(type: T, key: string, defaultValue: FlagTypes[T], context?: Context, options: { readonly cached?: boolean } = {}): Promise<Details<FlagTypes[T]>> {
    return this.#details(type, key, defaultValue, context, options.cached);
  }

  /**
   * The same without waiting, for code that cannot: what is kept however old, or the default. What is missing is asked for meanwhile;
   * `load` has it asked for in time.
   */
  peek<T extends FlagType>(type: T, key: string, defaultValue: FlagTypes[T], context?: Context): Details<FlagTypes[T]> {
    return this.flags.peek({ key, fallback: defaultValue, type }, context);
  }

  /** Asks for the answers of a context, if they are not there. False if they cannot be had. */
  async load(context?: Context): Promise<boolean> {
    try {
      return await this.flags.load(context);
    } catch {
      return false;
    }
  }

  /** Asks for the answers of a context anew, whether or not they are there. False if they cannot be had. */
  async refresh(context?: Context): Promise<boolean> {
    try {
      return await this.flags.refresh(context);
    } catch {
      return false;
    }
  }

  /** Calls `listener` whenever the server tells of a change. Returns a function that ends it. */
  onChange(listener: () => void): () => void {
    const own = (): void => listener();
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  #details<T extends FlagType>(type: T, key: string, defaultValue: FlagTypes[T], context: Context, isCached = true): Promise<Details<FlagTypes[T]>> {
    return this.flags.details({ key, fallback: defaultValue, type }, context, isCached);
  }

  // ── the change ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Reads and writes under the stage that a string flag serves, for each context by itself. */
  migrator<RA extends unknown[] = never, R = never, WA extends unknown[] = never, W = never>(
    flagKey: string,
    parts: MigratorParts<RA, R, WA, W>,
  ): Migrator<RA, R, WA, W> {
    return new Migrator(this.#migratorHost, flagKey, parts);
  }

  /**
   * The side of a user's group in a period, the running one if none is named; kept for `sideMaxAgeMs`.
   *
   * With a `default` the server is asked once and no `ChangeoverError` is thrown; without one, it is tried again and thrown.
   */
  sideOf(change: string, user: UserId, options: SideOptions = {}): Promise<Side> {
    return this.#routing.sideOf(change, user, options);
  }

  /** The same for many, in order, while they are read. An error of one is in its answer and does not end the others. */
  sidesOf(change: string, users: Iterable<UserId> | AsyncIterable<UserId>, options: SidesOptions = {}): AsyncGenerator<SideAnswer, void, undefined> {
    return this.#routing.sidesOf(change, users, options);
  }

  /** Who pays a charge by the model that is in force for it. Needs the role `viewer`. */
  allocationOf(change: string, charge: UserId, options: { readonly signal?: AbortSignal } = {}): Promise<Allocation> {
    return this.#routing.allocationOf(change, charge, options);
  }

  /** Writes on the tables of a change. Needs the role `write`. */
  writes(change: string): Writes {
    return new Writes(this.#calls, change, uuid);
  }

  /** A worker that runs only while it may. */
  gate(worker: string, options: { readonly holder?: string } = {}): Gate {
    return new Gate(this.#calls, this.chance, this.#log, worker, options.holder ?? `${this.#holder}/${uuid().slice(0, 8)}`);
  }

  /** Counts of observations. */
  stats(): Stats {
    return this.observations.stats();
  }

  /** Sends the observations that wait, now; false if some are left after the time. */
  flush(timeoutMs = this.#timeoutMs): Promise<boolean> {
    return this.observations.flush(timeoutMs);
  }

  /**
   * Sends the observations that wait (for at most `timeoutMs`), keeps the last known answers, and ends what runs in the background. Until
   * then an open stream of changes keeps a Node process alive. Never rejects.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#events?.close();
    await this.observations.close(this.#timeoutMs);
    await this.flags.close();
  }

  // ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #listener(host: Host): ConstructorParameters<typeof Events>[1] {
    const listener = {
      told: (etag: string | undefined) => this.#told(etag),
      connected: (isConnected: boolean) => void (this.flags.hasEvents = isConnected),
    };
    if (!host.takesOffers) return listener;
    return { ...listener, offered: () => this.flags.streamUri, refused: () => this.flags.told(undefined) };
  }

  #told(etag: string | undefined): void {
    this.flags.told(etag);
    for (const listener of [...this.#listeners]) {
      try {
        listener();
      } catch (error) {
        this.#log.warn('changeover: a listener to changes failed', error);
      }
    }
  }

  #hostOfMigrators(contextsMax: number): MigratorHost {
    return {
      observations: this.observations,
      state: this.flags.state,
      stages: new Stages(contextsMax),
      log: this.#log,
      details: (key, context) => this.#details('string', key, '', context),
      random: () => this.chance.random(),
    };
  }
}

function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
