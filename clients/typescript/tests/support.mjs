// A server that answers as it is told, the real one with what these tests need of it, and where things are.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createListener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { canonical } from '../dist/json.js';

export const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const BINARY = process.env.CHANGEOVER_BINARY;
const PATIENCE_MS = 30_000;

/** With bigints where numbers would lose digits, if that is said. */
export function corpus(name, parse = JSON.parse) {
  return parse(readFileSync(join(ROOT, 'tests/corpus/v1', name), 'utf8'));
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until something is so. Generous, since tests share two cores. */
export async function until(isSo, what, patience = PATIENCE_MS) {
  const deadline = performance.now() + patience;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`${what}: not after ${patience} ms`);
    await sleep(5);
  }
}

/** Notes what is told to it. */
export function notes() {
  const told = [];
  return { told, warn: (...one) => told.push(one), debug: () => undefined };
}

/** `changeover serve` on an SQLite file of its own, or on a database that is named. */
export class RealServer {
  /** With `stage`, the example of a video host is installed and brought there. */
  static async start({ stage, more = [], databaseUrl } = {}) {
    const server = new RealServer(mkdtempSync(join(tmpdir(), 'changeover-ts-')), more, databaseUrl);
    try {
      if (stage !== undefined) server.install(stage);
      await server.serve('127.0.0.1:0');
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  constructor(directory, more, databaseUrl) {
    this.directory = directory;
    this.more = more;
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('CHANGEOVER_'));
    this.env = { ...Object.fromEntries(kept), CHANGEOVER_DATABASE_URL: databaseUrl ?? `sqlite:${directory}/service.db` };
  }

  run(...args) {
    return execFileSync(BINARY, args, { env: this.env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  install(last) {
    this.run('demo', 'load', '--charges', '200');
    this.run('change', 'install', join(ROOT, 'examples/video-hosting/change.toml'));
    for (const stage of ['dualwrite', 'shadow', 'live', 'rampdown']) {
      this.run('change', 'stage', 'billing-allocation', stage, '--force', '--reason', 'a test');
      if (stage === 'dualwrite') this.run('backfill', 'billing-allocation');
      if (stage === last) return;
    }
  }

  /** Serves on an address; the first time, the output names an admin's token. */
  async serve(address) {
    this.output = '';
    this.process = spawn(BINARY, ['serve', '--listen', address, ...this.more], { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    for (const stream of [this.process.stdout, this.process.stderr]) stream.setEncoding('utf8').on('data', (text) => (this.output += text));
    await until(() => /http:\/\/127\.0\.0\.1:[1-9]\d*/.test(this.output), 'an address');
    this.url = this.output.match(/http:\/\/127\.0\.0\.1:[1-9]\d*/)[0];
    await until(() => fetch(`${this.url}/readyz`).then((answer) => answer.ok, () => false), 'a server that is ready');
    this.admin ??= this.output.match(/\bco_\w+_[0-9a-f]{64}/)[0];
  }

  get address() {
    return this.url.replace('http://', '');
  }

  async request(method, path, body, type = 'application/json') {
    const headers = { authorization: `Bearer ${this.admin}`, 'content-type': type };
    const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await fetch(this.url + path, { method, headers, body: sent });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? undefined : answer.json();
  }

  async token(role) {
    return (await this.request('POST', '/api/v1/tokens', { name: `a ${role} of a test`, role })).secret;
  }

  async createFlags() {
    for (const flag of JSON.parse(this.run('conformance', '--print-flags', 'json'))) await this.request('POST', '/api/v1/flags', flag);
  }

  async load({ cohorts, flags }) {
    for (const { name, ids } of cohorts) {
      await this.request('POST', '/api/v1/cohorts', { name });
      if (ids.length > 0) await this.request('PUT', `/api/v1/cohorts/${name}/ids`, `${ids.join('\n')}\n`, 'text/plain');
    }
    for (const flag of flags) await this.request('POST', '/api/v1/flags', canonical(flag), 'application/json');
  }

  /** Makes a string flag serve a value to everybody. */
  async flag(key, value) {
    const flag = { key, type: 'string', variants: { v: value }, default_variant: 'v', off_variant: 'v', rules: [] };
    const found = await fetch(`${this.url}/api/v1/flags/${key}`, { headers: { authorization: `Bearer ${this.admin}` } });
    await found.arrayBuffer();
    if (found.status === 200) await this.request('PUT', `/api/v1/flags/${key}`, flag);
    else await this.request('POST', '/api/v1/flags', flag);
  }

  /** As a power cut would. */
  async kill() {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  async remove() {
    if (this.process !== undefined) await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Answers with what `answer(request)` returns: `{ status, headers, body }`, `'closed'` or `'silent'`. Requests are noted. */
export class FakeServer {
  static async start(answer) {
    const fake = new FakeServer();
    fake.answer = answer;
    fake.requests = [];
    fake.server = createServer((request, response) => void fake.handle(request, response));
    await new Promise((resolve) => fake.server.listen(0, '127.0.0.1', resolve));
    fake.url = `http://127.0.0.1:${fake.server.address().port}`;
    return fake;
  }

  async handle(message, response) {
    let body = '';
    for await (const piece of message.setEncoding('utf8')) body += piece;
    const request = { method: message.method, path: message.url, headers: message.headers, body };
    this.requests.push(request);
    const answer = await this.answer(request);
    if (answer === 'silent') return;
    if (answer === 'closed') {
      message.socket.destroy();
      return;
    }
    const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body ?? {});
    response.writeHead(answer.status, answer.headers ?? {});
    response.end(answer.status === 204 ? undefined : text);
  }

  async close() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** A way to a TCP address that can be cut, or that loses answers. */
export class Proxy {
  static async start(host, port, loses = () => false) {
    const proxy = new Proxy();
    proxy.open = new Set();
    proxy.isCut = false;
    proxy.listener = createListener((near) => {
      if (proxy.isCut) {
        near.destroy();
        return;
      }
      const far = connect(port, host);
      const isLost = loses();
      for (const [one, other] of [[near, far], [far, near]]) {
        proxy.open.add(one);
        one.on('error', () => other.destroy()).on('close', () => (proxy.open.delete(one), other.destroy()));
      }
      near.on('data', (data) => far.write(data));
      far.on('data', (data) => (isLost ? near.destroy() : near.write(data)));
    });
    await new Promise((resolve) => proxy.listener.listen(0, '127.0.0.1', resolve));
    proxy.port = proxy.listener.address().port;
    proxy.url = `http://127.0.0.1:${proxy.port}`;
    return proxy;
  }

  cut() {
    this.isCut = true;
    for (const one of this.open) one.destroy();
  }

  mend() {
    this.isCut = false;
  }

  async close() {
    this.cut();
    await new Promise((resolve) => this.listener.close(resolve));
  }
}
