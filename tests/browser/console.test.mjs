// Walks through the console of a real server as an admin does, with and without script, and as a viewer; each page is looked at in two
// widths, light and dark: nothing cut off, nothing loaded from elsewhere, nothing that the content security policy had to stop.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { axe, launch, stickingOut } from './looking.mjs';

const program = process.env.CHANGEOVER_PROGRAM;
const screenshots = process.env.CHANGEOVER_CONSOLE_SCREENSHOTS;
const changeFile = join(dirname(fileURLToPath(import.meta.url)), '../../examples/video-hosting/change.toml');

let browser, server, url, directory;
const tokens = {};
const change = '/console/changes/billing-allocation';

const run = (...args) => execFileSync(program, args, { cwd: directory, encoding: 'utf8' });

before(async () => {
  rmSync(screenshots, { recursive: true, force: true });
  mkdirSync(screenshots, { recursive: true });
  directory = mkdtempSync(join(tmpdir(), 'changeover-console-'));
  run('demo', 'load', '--charges', '2000');
  for (const role of ['admin', 'viewer']) tokens[role] = JSON.parse(run('token', 'create', `Kim (${role})`, '--role', role, '--json')).secret;
  server = spawn(program, ['serve', '--bind', '127.0.0.1:0', '--no-sentinel'], { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
  url = await new Promise((found, failed) => {
    let said = '';
    server.stdout.on('data', (text) => {
      said += text;
      const match = said.match(/serves (http:\/\/127\.0\.0\.1:\d+)/);
      if (match) found(match[1]);
    });
    server.on('exit', () => failed(new Error(`the server ended: ${said}`)));
  });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  server?.kill();
  rmSync(directory, { recursive: true, force: true });
});

/** A window with cookies of its own, and what it complained about. */
async function window({ script = true } = {}) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const faults = [];
  // What the server refuses the browser logs too; the walk asks for some of that.
  page.on('console', (message) => { if (!/status of (403|404|409|422)/.test(message.text())) faults.push(message.text()); });
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('request', (request) => { if (!request.url().startsWith(url)) faults.push(`asks for ${request.url()}`); });
  await page.setJavaScriptEnabled(script);
  return { page, faults, context };
}

/** Follows a link, or sends a form by its button, and waits for the page behind it. */
async function press(page, selector) {
  await Promise.all([page.waitForNavigation(), page.click(selector)]);
}

const text = (page) => page.$eval('main', (main) => main.innerText);

/** Looks at the page as it is, in both widths and schemes. */
async function look(page, name) {
  const faults = [];
  for (const width of [390, 1280]) {
    for (const scheme of ['light', 'dark']) {
      await page.setViewport({ width, height: 900 });
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      faults.push(...(await page.evaluate(stickingOut)).map((one) => `${name} at ${width}: ${one}`));
      await page.screenshot({ path: join(screenshots, `${name}-${width}-${scheme}.png`), fullPage: true });
      const { violations } = await page.evaluate(`${axe}; axe.run({ resultTypes: ['violations'] })`);
      faults.push(...violations.map((one) => `${name}, ${scheme}: ${one.id}: ${one.nodes[0].html.slice(0, 200)}`));
    }
  }
  await page.setViewport({ width: 1280, height: 900 });
  assert.deepEqual([...new Set(faults)], []);
}

async function signIn(page, role) {
  await page.goto(`${url}/console`);
  await page.type('#token', tokens[role]);
  await press(page, 'main button');
}

test('an admin signs in, moves a change on, pauses it and resumes it', async () => {
  const { page, faults, context } = await window();
  await page.goto(`${url}/console`);
  await look(page, 'sign-in');
  await page.type('#token', 'co_wrong_token');
  await press(page, 'main button');
  assert.match(await text(page), /not one of ours/);
  await look(page, 'sign-in-refused');
  await page.type('#token', tokens.admin);
  await press(page, 'main button');
  assert.equal(page.url(), `${url}/console/changes`);
  assert.match(await text(page), /No change is installed yet/);
  await look(page, 'no-changes');

  run('change', 'install', changeFile);
  await page.reload();
  await look(page, 'changes');
  await press(page, '.change h2 a');
  await look(page, 'change-off');
  await press(page, '.actions a');
  assert.match(await text(page), /What will happen/);
  await look(page, 'stage');
  await page.type('#reason', 'the first step');
  await press(page, 'main button');
  assert.match(await text(page), /The stage was moved\.[^]*Stage: dualwrite/);

  await press(page, '.actions a');
  await page.type('#reason', 'too early');
  await press(page, 'main button');
  assert.match(await text(page), /stays at dualwrite/);
  assert.equal(await page.$eval('#reason', (input) => input.value), 'too early');
  await look(page, 'stage-refused');
  await page.goto(url + change);

  await press(page, 'a[href$="/pause"]');
  await look(page, 'pause');
  await page.type('#reason', 'a rehearsal <b>of</b> the bad day');
  await press(page, 'main button');
  assert.match(await text(page), /Translation is paused[^]*a rehearsal <b>of<\/b> the bad day/);
  await look(page, 'change-paused');
  await page.goto(`${url}/console/changes`);
  await look(page, 'changes-paused');
  await page.goto(url + change);
  await press(page, '.banner a');
  await look(page, 'resume');
  await page.type('#reason', 'rehearsed');
  await press(page, 'main button');
  assert.match(await text(page), /Translation goes on/);

  run('backfill', 'billing-allocation');
  run('verify', 'billing-allocation');
  await page.goto(`${url}${change}/stage?to=shadow`);
  await press(page, 'main button');
  assert.match(await text(page), /Stage: shadow/);
  run('report', 'run', 'billing-allocation');
  await page.reload();
  await look(page, 'change-shadow');
  await page.goto(`${url}${change}/stage?to=live`);
  await page.type('#reason', 'a rehearsal');
  await page.click('[name=force]');
  await press(page, 'main button');
  assert.match(await text(page), /Stage: live/);
  await page.goto(`${url}${change}/stage?to=shadow`);
  await look(page, 'stage-back');
  await press(page, 'main button');
  assert.match(await text(page), /Stage: shadow/);
  await page.pdf({ path: join(screenshots, 'change.pdf'), format: 'A4' });

  await page.goto(`${url}/console/nothing-here`);
  await look(page, 'not-found');
  await press(page, 'main a');
  await press(page, '.who button');
  assert.equal(page.url(), `${url}/console/sign-in`);
  await page.goto(url + change);
  assert.match(page.url(), /sign-in\?to=/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('the same is done without script', async () => {
  const { page, faults, context } = await window({ script: false });
  await signIn(page, 'admin');
  await page.goto(url + change);
  await press(page, 'a[href$="/pause"]');
  await page.type('#reason', 'without script');
  await press(page, 'main button');
  assert.match(await text(page), /Translation is paused/);
  await press(page, '.banner a');
  await press(page, 'main button');
  assert.match(await text(page), /Translation goes on/);
  await press(page, '.who button');
  assert.deepEqual(faults, []);
  await context.close();
});

test('a viewer reads everything and is offered nothing', async () => {
  const { page, faults, context } = await window();
  await page.goto(url + change);
  await page.type('#token', tokens.viewer);
  await press(page, 'main button');
  assert.equal(page.url(), url + change);
  assert.equal((await page.$$('main form, main .actions')).length, 0);
  await look(page, 'change-viewer');
  await page.goto(`${url}${change}/stage?to=live`);
  assert.match(await text(page), /role admin/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('a page of another site can neither frame the console nor send its forms', async () => {
  const { page, context } = await window();
  await signIn(page, 'admin');
  const csrf = await page.$eval('[name=csrf]', (input) => input.value);
  await page.goto(`${url.replace('127.0.0.1', 'localhost')}/docs`);
  const status = await page.evaluate(async (target, csrf) => {
    const body = new URLSearchParams({ csrf });
    return fetch(target, { method: 'POST', body, credentials: 'include', mode: 'no-cors' }).then((answer) => answer.type, () => 'refused');
  }, `${url}/console/sign-out`, csrf);
  assert.ok(['opaque', 'refused'].includes(status), status);
  await page.goto(`${url}/console/changes`);
  assert.equal(page.url(), `${url}/console/changes`, 'still signed in');
  await context.close();
});
