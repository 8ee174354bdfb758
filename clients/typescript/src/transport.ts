// Requests to the one server: a time for the whole of each, no redirects, answers of a bounded size.

import { ChangeoverError } from './errors.js';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

export interface Sent {
  readonly body?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number | undefined;
  /** The caller's own: its end is the caller's error, not one of this package. */
  readonly signal?: AbortSignal | undefined;
}

export const ANSWER_BYTES_MAX = 64 << 20;

export class Transport {
  readonly url: string;
  readonly timeoutMs: number;
  readonly #token: string;
  readonly #fetch: typeof fetch;

  constructor(url: string, token: string, timeoutMs: number, fetch: typeof globalThis.fetch) {
    this.url = checkedUrl(url);
    if (token === '') throw new TypeError('a token is missing: give `token`, or set CHANGEOVER_TOKEN');
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError('the token has characters that no token has');
    if (!(timeoutMs > 0)) throw new RangeError('timeoutMs is more than 0');
    this.timeoutMs = timeoutMs;
    this.#token = token;
    this.#fetch = fetch;
  }

  /** One request and its whole answer. Throws a `ChangeoverError` of kind `timeout`, `connection` or `unexpected`. */
  async request(method: string, path: string, sent: Sent = {}): Promise<Answer> {
    const timeoutMs = sent.timeoutMs ?? this.timeoutMs;
    const ended = new AbortController();
    const late = setTimeout(() => ended.abort(LATE), timeoutMs);
    const release = forwarded(sent.signal, ended);
    try {
      const response = await this.open(this.url + path, method, sent.body, this.#withToken(sent.headers), ended.signal);
      return { status: response.status, headers: response.headers, body: await wholeOf(response) };
    } catch (error) {
      throw this.#failure(error, ended.signal, timeoutMs, sent.signal);
    } finally {
      clearTimeout(late);
      release();
    }
  }

  /** A GET whose answer goes on until `signal` ends. Throws what `fetch` throws. */
  stream(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    return this.open(this.url + path, 'GET', undefined, this.#withToken(headers), signal);
  }

  /** The same at an address that is its own leave: no token is sent there. */
  streamAt(url: string, signal: AbortSignal): Promise<Response> {
    return this.open(url, 'GET', undefined, {}, signal);
  }

  private async open(url: string, method: string, body: string | undefined, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const send = this.#fetch;
    const response = await send(url, {
      method,
      headers,
      signal,
      redirect: 'manual',
      credentials: 'omit',
      cache: 'no-store',
      referrerPolicy: 'no-referrer',
      ...(body === undefined ? {} : { body }),
    });
    if (response.type === 'opaqueredirect') throw new ChangeoverError('unexpected', 'the server redirects, which is not followed');
    return response;
  }

  #withToken(headers: Readonly<Record<string, string>> = {}): Record<string, string> {
    return { Authorization: `Bearer ${this.#token}`, ...headers };
  }

  #failure(error: unknown, ended: AbortSignal, timeoutMs: number, callers: AbortSignal | undefined): unknown {
    if (callers?.aborted === true) return callers.reason;
    if (error instanceof ChangeoverError) return error;
    if (ended.reason === LATE) {
      return new ChangeoverError('timeout', `${this.url} gave no whole answer in ${timeoutMs} ms: is it overloaded, or is something in between?`);
    }
    return new ChangeoverError('connection', `${this.url} gave no whole answer: ${reasonOf(error)}`, { cause: error });
  }
}

const LATE = Symbol('late');

/** Ends `inner` with `outer`, until the returned function is called. */
export function forwarded(outer: AbortSignal | undefined, inner: AbortController): () => void {
  if (outer === undefined) return () => undefined;
  const end = (): void => inner.abort(outer.reason);
  if (outer.aborted) end();
  outer.addEventListener('abort', end, { once: true });
  return () => outer.removeEventListener('abort', end);
}

async function wholeOf(response: Response): Promise<string> {
  const announced = Number(response.headers.get('content-length') ?? 0);
  if (announced > ANSWER_BYTES_MAX) {
    await response.body?.cancel();
    throw tooLarge();
  }
  if (response.body === null) return '';
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let text = '';
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    size += value.length;
    if (size > ANSWER_BYTES_MAX) {
      await reader.cancel();
      throw tooLarge();
    }
    text += decoder.decode(value, { stream: true });
  }
}

function tooLarge(): ChangeoverError {
  return new ChangeoverError('unexpected', `the answer is larger than ${ANSWER_BYTES_MAX} bytes`);
}

/** `fetch` hides in the cause what happened. */
function reasonOf(error: unknown): string {
  const cause: unknown = error instanceof Error ? (error.cause ?? error) : error;
  if (!(cause instanceof Error)) return String(cause);
  return cause.message === '' ? ('code' in cause ? String(cause.code) : cause.name) : cause.message;
}

function checkedUrl(url: string): string {
  if (url === '') throw new TypeError('the server\'s address is missing: give `url`, or set CHANGEOVER_URL');
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new TypeError(`url is no address: ${JSON.stringify(url)}`);
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') throw new TypeError(`url begins with http:// or https://, not ${parsed.protocol}`);
  if (parsed.username !== '' || parsed.password !== '') throw new TypeError('url names a user: the token goes into `token`');
  if (parsed.search !== '' || parsed.hash !== '') throw new TypeError('url has no query and no fragment');
  return parsed.origin + parsed.pathname.replace(/\/+$/, '');
}
