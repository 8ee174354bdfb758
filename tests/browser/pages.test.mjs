// Looks at the report pages as a reader does: nothing cut off or loaded from elsewhere, readable by assistive technology, searchable with
// script and whole without, and whole on paper. Leaves a screenshot of each for people to look at.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { axe, launch, stickingOut } from './looking.mjs';

const pages = process.env.CHANGEOVER_PAGES;
const screenshots = process.env.CHANGEOVER_SCREENSHOTS;
const names = readdirSync(pages).filter((name) => name.endsWith('.html')).map((name) => name.slice(0, -5)).sort();
// A huge page takes long to draw and shows nothing new.
const MAX_HEIGHT = 16_000;

let browser;
before(async () => {
  rmSync(screenshots, { recursive: true, force: true });
  mkdirSync(screenshots, { recursive: true });
  browser = await launch();
});
after(() => browser?.close());

/** Opens a page and says what it asked for and complained about. */
async function open(name, { width = 1280, scheme = 'light', script = true } = {}) {
  const page = await browser.newPage();
  const faults = [];
  page.on('console', (message) => faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('request', (request) => { if (!request.url().startsWith('file:')) faults.push(`asks for ${request.url()}`); });
  page.on('dialog', (dialog) => { faults.push('a dialog'); dialog.dismiss(); });
  await page.setJavaScriptEnabled(script);
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  await page.goto(pathToFileURL(join(pages, `${name}.html`)).href);
  return { page, faults };
}

/** Labels and values of charts that lie over each other. */
const overlapping = () => {
  const found = [];
  for (const line of document.querySelectorAll('.bars li')) {
    const [label, value] = ['.label', '.value'].map((part) => line.querySelector(part).getBoundingClientRect());
    const apart = label.right <= value.left + 1 || value.right <= label.left + 1 || label.bottom <= value.top + 1 || value.bottom <= label.top + 1;
    if (!apart) found.push(line.textContent);
  }
  return found.slice(0, 5);
};

test('there are pages to look at', () => assert.ok(names.length >= 5, `${pages} has ${names}`));

for (const name of names) {
  for (const width of [390, 1280, 1920]) {
    for (const scheme of ['light', 'dark']) {
      test(`${name} at ${width}, ${scheme}`, async () => {
        const { page, faults } = await open(name, { width, scheme });
        assert.deepEqual(await page.evaluate(stickingOut), []);
        assert.deepEqual(await page.evaluate(overlapping), []);
        const height = Math.min(MAX_HEIGHT, await page.evaluate(() => document.documentElement.scrollHeight));
        const path = join(screenshots, `${name}-${width}-${scheme}.png`);
        await page.screenshot({ path, clip: { x: 0, y: 0, width, height }, captureBeyondViewport: true });
        if (width === 1280 && name !== 'large') {
          const { violations } = await page.evaluate(`${axe}; axe.run({ resultTypes: ['violations'] })`);
          assert.deepEqual(violations.map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`), []);
        }
        assert.deepEqual(faults, []);
        await page.close();
      });
    }
  }

  test(`${name} on paper`, async () => {
    const { page } = await open(name);
    const pdf = await page.pdf({ path: join(screenshots, `${name}.pdf`), format: 'A4', printBackground: false, timeout: 120_000 });
    assert.ok(pdf.length > 10_000);
    await page.close();
  });
}

test('the search narrows the exceptions down, and paper has all of them', async () => {
  const { page, faults } = await open('wrong');
  const rows = () => page.$$eval('#exception-rows tr', (all) => all.filter((row) => row.offsetParent !== null).length);
  const all = await rows();
  assert.ok(all > 10);
  await page.type('#filter input', '東京 0000004');
  assert.equal(await rows(), 1);
  assert.equal(await page.$eval('#filter output', (told) => told.textContent), `1 of ${all} shown`);
  await page.emulateMediaType('print');
  assert.equal(await rows(), all);
  await page.emulateMediaType('screen');
  await page.$eval('#filter input', (input) => { input.value = ''; input.dispatchEvent(new Event('input')); });
  await page.select('#filter select', 'orphan');
  assert.ok((await rows()) < all && (await rows()) > 0);
  assert.deepEqual(faults, []);
  await page.close();
});

test('without script nothing is missing but the search', async () => {
  const { page } = await open('wrong', { script: false });
  const seen = await page.$$eval('#exception-rows tr', (all) => all.filter((row) => row.offsetParent !== null).length);
  const listed = readFileSync(join(pages, 'wrong.html'), 'utf8').split(' data-kind=').length - 1;
  assert.equal(seen, listed);
  assert.equal(await page.$eval('#filter', (box) => box.offsetParent), null);
  await page.close();
});
