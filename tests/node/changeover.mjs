// A real `changeover serve` on an SQLite file of its own, and the few requests of its API that the tests need.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BINARY = process.env.CHANGEOVER_BINARY;
const PATIENCE_MS = 60_000;

export class Server {
  /** Starts a server with the flags that `changeover conformance` prints, and a token to evaluate them. */
  static async start(...more) {
    const server = new Server(mkdtempSync(join(tmpdir(), 'changeover-node-')), more);
    try {
      await server.serve('127.0.0.1:0');
      for (const flag of JSON.parse(execFileSync(BINARY, ['conformance', '--print-flags', 'json']))) {
        await server.create('/api/v1/flags', flag);
      }
      server.token = (await server.create('/api/v1/tokens', { name: 'a provider', role: 'evaluate' })).secret;
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  constructor(directory, more) {
    this.directory = directory;
    this.more = more;
  }

  /** Serves on an address; the first time, the output names an admin's token. */
  async serve(address) {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('CHANGEOVER_'));
    const env = { ...Object.fromEntries(environment), CHANGEOVER_DATABASE_URL: `sqlite:${this.directory}/service.db` };
    this.output = '';
    this.process = spawn(BINARY, ['serve', '--bind', address, ...this.more], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.output += text));
    }
    await until(() => /http:\/\/127\.0\.0\.1:[1-9]\d*/.test(this.output), () => `no address:\n${this.output}`);
    this.url = this.output.match(/http:\/\/127\.0\.0\.1:[1-9]\d*/)[0];
    await until(() => fetch(`${this.url}/readyz`).then((answer) => answer.ok, () => false), () => `never ready:\n${this.output}`);
    this.admin ??= this.output.match(/\bco_\w+_[0-9a-f]{64}/)[0];
  }

  async request(method, path, body) {
    const headers = { authorization: `Bearer ${this.admin}`, 'content-type': 'application/json' };
    const answer = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? undefined : answer.json();
  }

  create(path, body) {
    return this.request('POST', path, body);
  }

  /** A string flag of one variant, which is what it serves. */
  async serveText(key, text, method = 'PUT') {
    const flag = { key, type: 'string', variants: { only: text }, default_variant: 'only', off_variant: 'only' };
    await this.request(method, method === 'PUT' ? `/api/v1/flags/${key}` : '/api/v1/flags', flag);
  }

  async stop() {
    this.process.kill('SIGTERM');
    const late = setTimeout(() => this.process.kill('SIGKILL'), 20_000);
    await this.ended;
    clearTimeout(late);
  }

  async remove() {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Waits until something is so. Generous, since tests share two cores. */
export async function until(isSo, told = () => 'it never came') {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(told());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What each flag of the set serves to `conformance-user`; the default is another value of the type. */
export const VALUES = [
  ['boolean', 'conformance-boolean', false, true, 'STATIC'],
  ['string', 'conformance-string', '?', 'Kia ora, 世界! "<&>" \\ \u{1f39e}', 'STATIC'],
  ['string', 'conformance-string-digits', '?', '10', 'STATIC'],
  ['number', 'conformance-integer', -1, 10, 'STATIC'],
  ['number', 'conformance-float', -1, 0.5, 'STATIC'],
  ['number', 'conformance-float-whole', -1, 10, 'STATIC'],
  ['object', 'conformance-object', { '?': 1 }, { videos: 3, hours: 1.5, tags: ['a', 'b'], nested: { on: true } }, 'STATIC'],
  ['boolean', 'conformance-zero-boolean', true, false, 'STATIC'],
  ['string', 'conformance-zero-string', '?', '', 'STATIC'],
  ['number', 'conformance-zero-integer', -1, 0, 'STATIC'],
  ['number', 'conformance-zero-float', -1, 0, 'STATIC'],
  ['object', 'conformance-zero-object', { '?': 1 }, {}, 'STATIC'],
  ['string', 'conformance-by-key', '?', 'yes', 'TARGETING_MATCH'],
  ['string', 'conformance-by-text', '?', 'no', 'DEFAULT'],
  ['boolean', 'conformance-disabled', true, false, 'DISABLED'],
];

export const SUBJECT = 'conformance-user';

/** Asks by the method of the type. */
export function details(client, kind, key, fallback, context) {
  const name = { boolean: 'getBooleanDetails', string: 'getStringDetails', number: 'getNumberDetails', object: 'getObjectDetails' }[kind];
  return client[name](key, fallback, context);
}
