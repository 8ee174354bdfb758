// Walks through the pages of reports, the audit log, tokens and settings as an admin does, with and without script, and as a viewer.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Walk, changeFile, press, text } from './walking.mjs';

let walk;
const change = '/console/changes/billing-allocation';

before(async () => { walk = await Walk.start({ charges: 1500 }); });
after(() => walk?.end());

/** Waits until a job's page says how it ended, asking again as the page itself does without script. */
async function ended(page) {
  for (let tries = 0; tries < 200; tries += 1) {
    const said = await text(page);
    if (/How it ended/.test(said)) return said;
    await page.goto(page.url());
  }
  throw new Error(`the job does not end: ${await text(page)}`);
}

async function runReport(page) {
  await page.goto(`${walk.url}${change}/reports`);
  await press(page, 'main form button');
  await ended(page);
  await press(page, 'main .actions a');
}

test('an admin runs a report, explains what it finds, compares and signs', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await page.goto(`${walk.url}/console/reports`);
  await walk.look(page, 'reports-nothing');
  walk.run('change', 'install', changeFile);
  walk.run('change', 'stage', 'billing-allocation', 'dualwrite');
  walk.run('backfill', 'billing-allocation');
  await page.goto(`${walk.url}${change}/reports`);
  await walk.look(page, 'reports-first');
  await page.type('#periods', 'november');
  await press(page, 'main form button');
  assert.match(await text(page), /`november` is not a period/);
  await walk.look(page, 'reports-refused');
  await runReport(page);
  assert.match(await text(page), /Every charge is allocated exactly once/);
  await walk.look(page, 'report-clean');

  walk.spoil();
  await page.goto(`${walk.url}${change}/reports`);
  await press(page, 'main form button');
  assert.match(await ended(page), /What it found/);
  await walk.look(page, 'job-done');
  await press(page, 'main .actions a');
  assert.match(await text(page), /charges need an explanation/);
  await walk.look(page, 'report-exceptions');
  await page.type('#charge', 'none');
  await press(page, '#exceptions ~ form button');
  assert.match(await text(page), /No exception is so/);
  await page.goBack();
  await press(page, 'a[aria-label^="Explain all"]');
  await walk.look(page, 'explain');
  await page.type('#text', 'A cent was lost when the old books were closed.');
  await page.type('#reason_code', 'Wrong Code');
  await page.type('#owner', 'Kim from finance');
  await press(page, 'main form button');
  assert.match(await text(page), /reason_code/);
  await walk.look(page, 'explain-refused');
  await page.$eval('#reason_code', (input) => { input.value = 'old-books'; });
  await press(page, 'main form button');
  assert.match(await text(page), /counts from the next report on/);
  await walk.look(page, 'explanations');
  await runReport(page);
  assert.match(await text(page), /Nothing is left to be explained/);
  await page.type('#role', 'finance');
  await page.type('#comment', 'checked against the books');
  await press(page, '#signatures ~ form button');
  assert.match(await text(page), /You have signed this report/);
  await walk.look(page, 'report-signed');
  await page.goto(`${page.url().split('?')[0]}/page`);
  assert.match(await page.title(), /./);
  assert.equal(await page.$eval('body', (body) => getComputedStyle(body).margin === '8px'), false, 'its own style counts');
  await page.goto(`${walk.url}/console/reports`);
  await walk.look(page, 'reports');
  await page.goto(`${walk.url}${change}/explanations`);
  await press(page, 'a[href$="/withdraw"]');
  await walk.look(page, 'explanation-withdraw');
  await page.type('#reason', 'the cent was found');
  await press(page, 'main form button');
  assert.match(await text(page), /is withdrawn/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('the audit log, tokens and settings', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await press(page, 'nav a[href$="/audit"]');
  await walk.look(page, 'audit');
  await page.click('details summary');
  await page.type('#text', 'old-books');
  await press(page, 'main form button');
  assert.match(await text(page), /explanation\.create/);
  await page.click('details summary');
  await walk.look(page, 'audit-search');
  await page.goto(`${walk.url}/console/audit/verification`);
  assert.match(await text(page), /Yes/);
  await walk.look(page, 'audit-verification');

  await press(page, 'nav a[href$="/tokens"]');
  await walk.look(page, 'tokens');
  await page.type('#name', 'Lee, who has a rather long name for a token that nobody would shorten');
  await press(page, 'main form button');
  assert.match(await page.$eval('#secret', (input) => input.value), /^co_/);
  await walk.look(page, 'token-made');
  await press(page, 'main .actions a');
  assert.doesNotMatch(await page.content(), /co_[0-9a-zA-Z]{8}/);
  await press(page, 'a[href$="/revoke"]');
  await walk.look(page, 'token-revoke');
  await page.type('#reason', 'she left');
  await press(page, 'main form button');
  assert.match(await text(page), /The token is revoked/);
  await press(page, 'nav a[href$="/settings"]');
  await walk.look(page, 'settings');
  assert.deepEqual(faults, []);
  await context.close();
});

test('the same without script', async () => {
  const { page, faults, context } = await walk.window({ script: false });
  await walk.signIn(page, 'admin');
  await runReport(page);
  await page.type('#role', 'engineering');
  await press(page, '#signatures ~ form button');
  assert.match(await text(page), /You have (signed|rejected) this report/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('a viewer reads all of it and is offered nothing', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'viewer');
  for (const path of ['/console/reports', `${change}/reports`, `${change}/explanations`, '/console/tokens', '/console/settings']) {
    await page.goto(walk.url + path);
    assert.equal((await page.$$('main form[method=post]')).length, 0, path);
  }
  await walk.look(page, 'settings-viewer');
  await page.goto(`${walk.url}${change}/reports`);
  await press(page, 'main tbody a');
  assert.equal((await page.$$('main form[method=post]')).length, 0);
  await walk.look(page, 'report-viewer');
  assert.deepEqual(faults, []);
  await context.close();
});
