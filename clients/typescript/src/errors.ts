// What goes wrong in requests of the API: one class, told apart by `kind`.

/** What an error is about; a `switch` over it is checked by the compiler. */
export type ErrorKind =
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'precondition_failed'
  | 'gate_held'
  | 'gate_paused'
  | 'lease_lost'
  | 'conflict'
  | 'rate_limited'
  | 'invalid'
  | 'unavailable'
  | 'server'
  | 'unexpected'
  | 'timeout'
  | 'connection';

/** One place of a write that is not valid, as far as it is known. */
export interface Fault {
  readonly operation?: number;
  readonly row?: number;
  readonly [name: string]: unknown;
}

export interface ErrorFacts {
  readonly status?: number | undefined;
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
  readonly faults?: readonly Fault[];
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** Every error that this package throws for a request; evaluations throw none. */
export class ChangeoverError extends Error {
  override readonly name = 'ChangeoverError';
  readonly kind: ErrorKind;
  /** The answer's status; undefined if there was no answer. */
  readonly status: number | undefined;
  /** The problem's stable code, as in docs/reference/problems.md. */
  readonly code: string | undefined;
  readonly detail: string | undefined;
  readonly faults: readonly Fault[];
  /** After how many milliseconds the server says to come again. */
  readonly retryAfterMs: number | undefined;

  constructor(kind: ErrorKind, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.kind = kind;
    this.status = facts.status;
    this.code = facts.code;
    this.detail = facts.detail;
    this.faults = facts.faults ?? [];
    this.retryAfterMs = facts.retryAfterMs;
  }

  /** Whether the same request may succeed a little later. */
  get isRetried(): boolean {
    if (this.kind === 'timeout' || this.kind === 'connection') return true;
    return (this.status !== undefined && RETRIED.has(this.status)) || this.code === 'idempotency_key_in_flight';
  }
}

const RETRIED: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

const BY_CODE: ReadonlyMap<string, ErrorKind> = new Map<string, ErrorKind>([
  ['unauthenticated', 'unauthenticated'],
  ['forbidden', 'forbidden'],
  ['own_proposal', 'forbidden'],
  ['not_found', 'not_found'],
  ['stale', 'precondition_failed'],
  ['row_differs', 'precondition_failed'],
  ['gate_held', 'gate_held'],
  ['lease_held', 'gate_held'],
  ['gate_paused', 'gate_paused'],
  ['lease_lost', 'lease_lost'],
  ['rate_limited', 'rate_limited'],
  ['busy', 'unavailable'],
  ['database_unavailable', 'unavailable'],
  ['version_not_reached', 'unavailable'],
]);

const BY_STATUS: ReadonlyMap<number, ErrorKind> = new Map<number, ErrorKind>([
  [401, 'unauthenticated'],
  [403, 'forbidden'],
  [404, 'not_found'],
  [409, 'conflict'],
  [410, 'not_found'],
  [412, 'precondition_failed'],
  [429, 'rate_limited'],
  [502, 'unavailable'],
  [503, 'unavailable'],
  [504, 'unavailable'],
]);

/** The error that an answer which is no success stands for. */
export function errorOf(status: number, headers: Headers, body: string): ChangeoverError {
  const problem = objectOf(body);
  const code = textOf(problem['code']);
  const detail = textOf(problem['detail']);
  const faults = Array.isArray(problem['faults']) ? problem['faults'].filter(isObject) : [];
  const what = code === undefined ? String(status) : `${status} ${code}`;
  const facts = { status, code, detail, faults, retryAfterMs: retryAfterMs(headers.get('retry-after')) };
  return new ChangeoverError(kindOf(status, code), `${what}: ${detail ?? 'the answer does not say why'}`, facts);
}

function kindOf(status: number, code: string | undefined): ErrorKind {
  const byCode = code === undefined ? undefined : (BY_CODE.get(code) ?? (code.endsWith('_not_found') ? 'not_found' : undefined));
  const known = byCode ?? BY_STATUS.get(status);
  if (known !== undefined) return known;
  if (status < 400) return 'unexpected';
  return status < 500 ? 'invalid' : 'server';
}

/** What `Retry-After` says, from now: seconds or a date; undefined if it says nothing that can be understood. */
export function retryAfterMs(header: string | null): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text.slice(0, 9)) * 1000;
  // Only a date as HTTP writes it: other texts, such as negative numbers, are dates to some engines too.
  const when = / GMT$/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(when) ? undefined : Math.max(0, when - Date.now());
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectOf(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
