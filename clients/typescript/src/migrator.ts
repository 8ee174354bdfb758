// Reads and writes of two implementations under a change's stage, for what the database's translation cannot reach.
//
// The side that counts decides what the caller gets; the other side can never break the caller.

import type { Context, Details } from './details.js';
import { identity } from './details.js';
import { isEqual } from './equal.js';
import { bytesOf, isPlainJson } from './json.js';
import type { Logger } from './log.js';
import { Lru } from './lru.js';
import type { Observations } from './observations.js';
import type { State } from './state.js';

export type Stage = 'off' | 'dualwrite' | 'shadow' | 'live' | 'rampdown' | 'complete';
export type Side = 'old' | 'new';
export type Order = 'serial' | 'concurrent' | 'random';

type Sides = readonly [Side] | readonly [Side, Side];

/** The sides that a read calls, first the one whose result counts. */
export const READS: Readonly<Record<Stage, Sides>> = {
  off: ['old'],
  dualwrite: ['old'],
  shadow: ['old', 'new'],
  live: ['new', 'old'],
  rampdown: ['new'],
  complete: ['new'],
};

/** The sides that a write calls, in this order. */
export const WRITES: Readonly<Record<Stage, Sides>> = {
  off: ['old'],
  dualwrite: ['old', 'new'],
  shadow: ['old', 'new'],
  live: ['new', 'old'],
  rampdown: ['new', 'old'],
  complete: ['new'],
};

const ORDERS: readonly string[] = ['serial', 'concurrent', 'random'] satisfies Order[];
const VALUE_BYTES_MAX = 32 << 10;
const NAME_CHARS_MAX = 120;
const ERROR_CHARS_MAX = 200;

export function isStage(text: unknown): text is Stage {
  return typeof text === 'string' && Object.hasOwn(READS, text);
}

type Comparison<R> = (old: R, candidate: R) => boolean;

export interface MigratorSettings<R> {
  /** Observations go to this change rather than to the flag. */
  readonly change?: string;
  /** Of the operation; default: the flag's key. */
  readonly name?: string;
  /** Compares here rather than at the server. */
  readonly compare?: Comparison<R>;
  /** Asked of mismatches that were found here; one that says yes makes it none. */
  readonly ignore?: Comparison<R> | readonly Comparison<R>[];
  /** Of the two calls of a read. Default: `serial`, the side that counts first. */
  readonly order?: Order;
  /** The share of the reads that call both sides. Default: 1. */
  readonly sample?: number;
  /** False: values are compared here and never sent. */
  readonly values?: boolean;
  /** While the stage has never been known. Default: `off`. */
  readonly defaultStage?: Stage;
}

/** What a migrator is made of. Both sides of an operation, or neither. */
export type MigratorParts<RA extends unknown[], R, WA extends unknown[], W> = MigratorSettings<R> &
  ({ readonly oldRead: (...args: RA) => R | Promise<R>; readonly newRead: (...args: RA) => R | Promise<R> } | { readonly oldRead?: never; readonly newRead?: never }) &
  ({ readonly oldWrite: (...args: WA) => W | Promise<W>; readonly newWrite: (...args: WA) => W | Promise<W> } | { readonly oldWrite?: never; readonly newWrite?: never });

/** What a migrator needs of its client. */
export interface MigratorHost {
  readonly observations: Pick<Observations, 'add' | 'count'>;
  readonly state: Pick<State, 'stage' | 'setStage'>;
  readonly stages: Stages;
  readonly log: Logger;
  details(key: string, context: Context): Promise<Details<string>>;
  random(): number;
}

/** The last known stages by flag and context, for when a flag cannot be evaluated. */
export class Stages {
  readonly #known: Lru<Stage>;

  constructor(contextsMax: number) {
    this.#known = new Lru(contextsMax);
  }

  remember(flag: string, ident: string, stage: Stage): void {
    const key = `${flag}\n${ident}`;
    if (this.#known.peek(key) !== stage) this.#known.set(key, stage);
  }

  find(flag: string, ident: string): Stage | undefined {
    return this.#known.peek(`${flag}\n${ident}`);
  }
}

/** What calling one side came to. */
type Outcome = { readonly durationUs: number } & ({ readonly value: unknown } | { readonly error: unknown });
type Outcomes = Readonly<Record<Side, Outcome>>;
type Call = () => unknown;

/** Made by `Client.migrator`. */
export class Migrator<RA extends unknown[], R, WA extends unknown[], W> {
  readonly #host: MigratorHost;
  readonly #flag: string;
  readonly #functions: Readonly<Record<'read' | 'write', Partial<Record<Side, (...args: never[]) => unknown>>>>;
  readonly #name: string;
  readonly #path: string;
  readonly #order: Order;
  readonly #sample: number;
  readonly #sendsValues: boolean;
  readonly #compare: Comparison<R> | undefined;
  readonly #ignore: readonly Comparison<R>[];
  readonly #defaultStage: Stage;

  /** @internal */
  constructor(host: MigratorHost, flagKey: string, parts: MigratorParts<RA, R, WA, W>) {
    check(parts, { ...parts });
    this.#host = host;
    this.#flag = flagKey;
    this.#functions = functionsOf(parts);
    this.#name = (parts.name ?? flagKey).slice(0, NAME_CHARS_MAX);
    const subject = parts.change === undefined ? `flags/${encodeURIComponent(flagKey)}` : `changes/${encodeURIComponent(parts.change)}`;
    this.#path = `/api/v1/${subject}/observations`;
    this.#order = parts.order ?? 'serial';
    this.#sample = parts.sample ?? 1;
    this.#sendsValues = parts.values ?? true;
    this.#compare = parts.compare;
    this.#ignore = typeof parts.ignore === 'function' ? [parts.ignore] : (parts.ignore ?? []);
    this.#defaultStage = parts.defaultStage ?? 'off';
  }

  /** Under which stage a call for this context would be now. Never rejects. */
  async stage(context?: Context): Promise<Stage> {
    const { stages, state } = this.#host;
    const details = await this.#host.details(this.#flag, context);
    const ident = identOf(context);
    if (details.errorCode === undefined && isStage(details.value)) {
      stages.remember(this.#flag, ident, details.value);
      state.setStage(this.#flag, details.value);
      return details.value;
    }
    const saved = stages.find(this.#flag, ident) ?? state.stage(this.#flag);
    return isStage(saved) ? saved : this.#defaultStage;
  }

  /** Calls one side or both, and returns or throws what the side that counts does. */
  async read(context: Context, ...args: RA): Promise<R> {
    const sides = READS[await this.stage(context)];
    const [first, other] = sides;
    if (other === undefined || !(this.#host.random() < this.#sample)) return (await this.#call('read', first, args)()) as R;
    const calls = { old: this.#call('read', 'old', args), new: this.#call('read', 'new', args) };
    const outcomes = this.#order === 'concurrent' ? await atOnce(first, calls) : await inTurn(this.#turns(first, other), calls);
    // A cancelled call says nothing about either side.
    if (!isCancelled(outcomes.old) && !isCancelled(outcomes.new)) this.#observeRead(outcomes);
    return resultOf(outcomes[first]) as R;
  }

  /** Writes to the side that counts, then to the other one where the stage has both; returns or throws what the first one does. */
  async write(context: Context, ...args: WA): Promise<W> {
    const [first, other] = WRITES[await this.stage(context)];
    const call = this.#call('write', first, args);
    if (other === undefined) return (await call()) as W;
    const next = this.#call('write', other, args);
    const one = await outcomeOf(call);
    const result = resultOf(one) as W;
    const second = await outcomeOf(next);
    this.#observeWrite(first === 'old' ? { old: one, new: second } : { old: second, new: one }, second);
    return result;
  }

  #turns(first: Side, other: Side): readonly Side[] {
    if (this.#order !== 'random') return [first, other];
    return this.#host.random() < 0.5 ? ['old', 'new'] : ['new', 'old'];
  }

  #call(operation: 'read' | 'write', side: Side, args: unknown[]): Call {
    const work = this.#functions[operation][side] as ((...args: unknown[]) => unknown) | undefined;
    if (work === undefined) {
      const name = `${side}${operation === 'read' ? 'Read' : 'Write'}`;
      throw new TypeError(`the migrator of ${JSON.stringify(this.#flag)} was given no ${name}`);
    }
    return () => work(...args);
  }

  // ── what is observed ──────────────────────────────────────────────────────────────────────────────────────────────

  #observeRead(outcomes: Outcomes): void {
    this.#guarded('a read was not observed', () => this.#post('read', outcomes, this.#compared(outcomes), this.#sample));
  }

  /** Values and `matches`, as far as they are sent. */
  #compared({ old, new: candidate }: Outcomes): Compared {
    const values: Compared = {};
    if (this.#isSendable(old)) values.old = valueOf(old);
    if (this.#isSendable(candidate)) values.new = valueOf(candidate);
    if ('error' in old || 'error' in candidate) return values;
    const hasBoth = 'old' in values && 'new' in values;
    if (hasBoth && this.#compare === undefined && this.#ignore.length === 0) return values;
    const [a, b] = [old.value as R, candidate.value as R];
    const matches = this.#says(this.#compare ?? isEqual, a, b, 'comparison');
    if (!matches && this.#ignore.some((ignore) => this.#says(ignore, a, b, 'ignore'))) {
      this.#host.observations.count('ignored');
      return { matches: true };
    }
    if (!matches) this.#host.observations.count('mismatches');
    return hasBoth ? { ...values, matches } : { matches };
  }

  /** Whether it is plain JSON of a size that the server takes. */
  #isSendable(outcome: Outcome): boolean {
    if (!this.#sendsValues || 'error' in outcome) return false;
    const value = valueOf(outcome);
    return isPlainJson(value) && bytesOf(JSON.stringify(value)) <= VALUE_BYTES_MAX;
  }

  #says(comparison: Comparison<R>, old: R, candidate: R, what: string): boolean {
    try {
      return Boolean(comparison(old, candidate));
    } catch (error) {
      this.#host.log.warn(`changeover: a ${what} of ${this.#name} failed`, error);
      return false;
    }
  }

  #observeWrite(outcomes: Outcomes, second: Outcome): void {
    this.#guarded('a write was not observed', () => {
      const hasFailed = 'error' in second;
      if (hasFailed) this.#host.log.warn(`changeover: a write of ${this.#name} reached one side only`, second.error);
      if (hasFailed || this.#host.random() < this.#sample) this.#post('write', outcomes, {}, hasFailed ? 1 : this.#sample);
    });
  }

  #post(operation: string, outcomes: Outcomes, compared: Compared, rate: number): void {
    const side = (name: Side): object => {
      const outcome = outcomes[name];
      return {
        duration_us: outcome.durationUs,
        ...('error' in outcome ? { error: nameOf(outcome.error) } : {}),
        ...(name in compared ? { value: compared[name] } : {}),
      };
    };
    this.#host.observations.add(this.#path, {
      id: randomId(),
      operation: `${this.#name}:${operation}`,
      at: new Date().toISOString(),
      ...(rate === 1 ? {} : { sample_rate: rate }),
      old: side('old'),
      new: side('new'),
      ...(compared.matches === undefined ? {} : { matches: compared.matches }),
    });
  }

  /** An observation never breaks a caller. */
  #guarded(what: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#host.log.warn(`changeover: ${what}`, error);
    }
  }
}

interface Compared {
  old?: unknown;
  new?: unknown;
  matches?: boolean;
}

function check<R>({ order, sample, defaultStage }: MigratorSettings<R>, parts: Readonly<Record<string, unknown>>): void {
  if (order !== undefined && !ORDERS.includes(order)) throw new RangeError(`order is one of ${ORDERS.join(', ')}, not ${JSON.stringify(order)}`);
  if (sample !== undefined && !(sample >= 0 && sample <= 1)) throw new RangeError(`sample is a share of the calls, from 0 to 1, not ${sample}`);
  if (defaultStage !== undefined && !isStage(defaultStage)) {
    throw new RangeError(`defaultStage is one of ${Object.keys(READS).join(', ')}, not ${JSON.stringify(defaultStage)}`);
  }
  for (const operation of ['Read', 'Write']) {
    if ((parts[`old${operation}`] === undefined) !== (parts[`new${operation}`] === undefined)) {
      throw new TypeError(`give both old${operation} and new${operation}, or neither`);
    }
  }
}

type Functions = Record<'read' | 'write', Partial<Record<Side, (...args: never[]) => unknown>>>;

function functionsOf<RA extends unknown[], R, WA extends unknown[], W>(parts: MigratorParts<RA, R, WA, W>): Functions {
  const { oldRead, newRead, oldWrite, newWrite } = parts;
  return {
    read: oldRead === undefined ? {} : { old: oldRead, new: newRead },
    write: oldWrite === undefined ? {} : { old: oldWrite, new: newWrite },
  };
}

async function outcomeOf(call: Call): Promise<Outcome> {
  const began = performance.now();
  const took = (): number => Math.round((performance.now() - began) * 1000);
  try {
    const value = await call();
    return { value, durationUs: took() };
  } catch (error) {
    return { error, durationUs: took() };
  }
}

async function inTurn(turns: readonly Side[], calls: Readonly<Record<Side, Call>>): Promise<Outcomes> {
  const outcomes: Partial<Record<Side, Outcome>> = {};
  for (const side of turns) outcomes[side] = await outcomeOf(calls[side]);
  return outcomes as Outcomes;
}

async function atOnce(first: Side, calls: Readonly<Record<Side, Call>>): Promise<Outcomes> {
  const other = first === 'old' ? 'new' : 'old';
  const [one, second] = await Promise.all([outcomeOf(calls[first]), outcomeOf(calls[other])]);
  return first === 'old' ? { old: one, new: second } : { old: second, new: one };
}

function resultOf(outcome: Outcome): unknown {
  if ('error' in outcome) throw outcome.error;
  return outcome.value;
}

/** What a function without a result returns is `null` to the server. */
function valueOf(outcome: Outcome): unknown {
  return 'error' in outcome ? null : (outcome.value ?? null);
}

function isCancelled(outcome: Outcome): boolean {
  return 'error' in outcome && nameOf(outcome.error) === 'AbortError';
}

function nameOf(error: unknown): string {
  const name: unknown = error instanceof Error || (typeof error === 'object' && error !== null && 'name' in error) ? error.name : typeof error;
  return (typeof name === 'string' && name !== '' ? name : 'Error').slice(0, ERROR_CHARS_MAX);
}

function identOf(context: Context): string {
  try {
    return identity(context);
  } catch {
    return '';
  }
}

/** `crypto.randomUUID` is there in secure origins only. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
