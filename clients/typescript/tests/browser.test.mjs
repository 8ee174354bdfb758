// The entry for pages in a browser, with the page on another origin than the server.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import puppeteer from 'puppeteer-core';
import { PACKAGE, RealServer, until } from './support.mjs';

const executablePath = [process.env.CHANGEOVER_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));
const without = executablePath === undefined ? 'Chromium is not here: NOT TESTED' : false;
if (without && process.env.CI === 'true') throw new Error(without);

let server, site, browser;
before(async () => {
  if (without) return;
  server = await RealServer.start();
  await server.flag('greeting', 'hello');
  site = createServer((request, response) => {
    const path = new URL(request.url, 'http://x').pathname;
    const isScript = path.startsWith('/dist/');
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? readFileSync(join(PACKAGE, path)) : '<!doctype html><script type="importmap">{"imports":{"@changeover/client":"/dist/web.js"}}</script>');
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  browser = await puppeteer.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] });
});
after(async () => {
  await browser?.close();
  site?.close();
  await server?.remove();
});

test('a page evaluates, hears of changes, and keeps what it knows over a reload without the server', { skip: without }, async () => {
  const token = await server.token('evaluate');
  const page = await browser.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  const address = `http://localhost:${site.address().port}/`;
  const begin = async () => {
    await page.goto(address);
    await page.evaluate(async (url, token) => {
      const { Client } = await import('@changeover/client');
      globalThis.client = new Client({ url, token, storage: localStorage });
    }, server.url, token);
  };
  const greeting = () => page.evaluate(async () => {
    const { value, reason } = await client.details('string', 'greeting', '?', '42');
    return [value, reason];
  });
  await begin();
  assert.deepEqual(await greeting(), ['hello', 'STATIC']);
  const heard = page.evaluate(() => new Promise((resolve) => client.onChange(resolve)).then(() => true));
  assert.equal(await heard, true, 'the first event');
  const changed = performance.now();
  await server.flag('greeting', 'goodbye');
  await until(async () => (await greeting())[0] === 'goodbye', 'the change');
  assert.ok(performance.now() - changed < 5_000);
  await page.evaluate(() => client.close());
  await server.kill();
  await begin();
  assert.deepEqual(await greeting(), ['goodbye', 'STALE']);
  assert.deepEqual(faults, []);
});
