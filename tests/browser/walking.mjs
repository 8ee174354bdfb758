// What a walk through the console needs: a server of its own, windows that note what they complain about, and a look at each page.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { axe, launch, stickingOut } from './looking.mjs';

const program = process.env.CHANGEOVER_PROGRAM;
const screenshots = process.env.CHANGEOVER_CONSOLE_SCREENSHOTS;
export const changeFile = join(dirname(fileURLToPath(import.meta.url)), '../../examples/video-hosting/change.toml');

/** Follows a link, or sends a form by its button, and waits for the page behind it. */
export async function press(page, selector) {
  await Promise.all([page.waitForNavigation(), page.click(selector)]);
}

export const text = (page) => page.$eval('main', (main) => main.innerText);

/** A server on a database of its own, with tokens for both roles and a browser. */
export class Walk {
  static async start({ charges = 2000, settings = [] } = {}) {
    const walk = new Walk();
    mkdirSync(screenshots, { recursive: true });
    walk.directory = mkdtempSync(join(tmpdir(), 'changeover-console-'));
    walk.run('demo', 'load', '--charges', String(charges));
    walk.tokens = {};
    for (const role of ['admin', 'viewer']) {
      walk.tokens[role] = JSON.parse(walk.run('token', 'create', `Kim (${role})`, '--role', role, '--json')).secret;
    }
    const serve = ['serve', '--bind', '127.0.0.1:0', '--no-sentinel', ...settings];
    walk.server = spawn(program, serve, { cwd: walk.directory, stdio: ['ignore', 'pipe', 'inherit'] });
    walk.url = await new Promise((found, failed) => {
      let said = '';
      walk.server.stdout.on('data', (text) => {
        said += text;
        const match = said.match(/serves (http:\/\/127\.0\.0\.1:\d+)/);
        if (match) found(match[1]);
      });
      walk.server.on('exit', () => failed(new Error(`the server ended: ${said}`)));
    });
    walk.browser = await launch();
    return walk;
  }

  async end() {
    await this.browser?.close();
    this.server?.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  run(...args) {
    return execFileSync(program, args, { cwd: this.directory, encoding: 'utf8' });
  }

  /** Takes a minor unit from one payer of each of the first charges in the new model, past everything. */
  spoil(charges = 7) {
    const statement = `UPDATE charge_allocations SET amount_minor = amount_minor - 1 WHERE rowid IN
      (SELECT min(rowid) FROM charge_allocations WHERE charge_id NOT IN (SELECT reverses_id FROM charges WHERE reverses_id IS NOT NULL)
         AND charge_id NOT IN (SELECT id FROM charges WHERE reverses_id IS NOT NULL) GROUP BY charge_id ORDER BY charge_id LIMIT ${charges})`;
    const program = 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=5); c.execute(sys.argv[2]); c.commit()';
    execFileSync('python3', ['-c', program, join(this.directory, 'changeover.db'), statement]);
  }

  /** A window with cookies of its own, and what it complained about. */
  async window({ script = true } = {}) {
    const context = await this.browser.createBrowserContext();
    const page = await context.newPage();
    const faults = [];
    // What the server refuses the browser logs too; a walk asks for some of that.
    page.on('console', (message) => { if (!/status of (400|403|404|409|412|422)/.test(message.text())) faults.push(message.text()); });
    page.on('pageerror', (error) => faults.push(error.message));
    // A date's field has pictures of the browser's own.
    page.on('request', (request) => { if (!request.url().startsWith(this.url) && !request.url().startsWith('data:')) faults.push(`asks for ${request.url()}`); });
    await page.setJavaScriptEnabled(script);
    return { page, faults, context };
  }

  async signIn(page, role) {
    await page.goto(`${this.url}/console`);
    await page.type('#token', this.tokens[role]);
    await press(page, 'main button');
  }

  /** Looks at the page as it is, in both widths and schemes. */
  async look(page, name) {
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
}
