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

test('buttons on a change, assignments, charts, and pages that renew themselves', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  for (const kind of ['backfill', 'verify', 'repair', 'retry']) {
    await page.goto(`${walk.url}${change}/start/${kind}`);
    await walk.look(page, `start-${kind}`);
  }
  await page.goto(`${walk.url}${change}/start/verify`);
  await press(page, 'main form button');
  // Nobody asks again: the page renews itself until the job has ended.
  await page.waitForFunction(() => /How it ended/.test(document.querySelector('main').innerText), { timeout: 60_000 });

  await page.goto(`${walk.url}${change}/assignments`);
  await walk.look(page, 'assignments-none');
  walk.run('change', 'stage', 'billing-allocation', 'shadow', '--force', '--reason', 'a rehearsal');
  await page.goto(`${walk.url}${change}/stage?to=live`);
  await walk.look(page, 'stage-live');
  await page.type('#reason', 'a rehearsal');
  if (await page.$('[name=force]')) await page.click('[name=force]');
  await press(page, 'main form button');
  assert.match(await text(page), /Stage: live/);
  await page.goto(`${walk.url}${change}/assignments/group?id=7`);
  await press(page, 'main .actions a');
  await walk.look(page, 'assignment-move');
  await page.type('#reason', 'asked for it');
  await press(page, 'main form button');
  assert.match(await text(page), /is on that side now/);
  await walk.look(page, 'assignment-group');
  await page.goto(`${walk.url}${change}/assignments`);
  await walk.look(page, 'assignments');

  // Somebody else's doing is seen without asking, and what is focused stays so.
  await page.goto(walk.url + change);
  await page.focus('#blocks-live .actions a');
  walk.run('change', 'pause', 'billing-allocation', '--reason', 'seen from elsewhere');
  await page.waitForFunction(() => /seen from elsewhere/.test(document.querySelector('#history-live').innerText), { timeout: 60_000 });
  assert.match(await page.evaluate(() => document.activeElement.textContent), /Backfill/);
  walk.run('change', 'resume', 'billing-allocation');
  await page.waitForFunction(() => document.querySelector('.plot svg'), { timeout: 120_000 });
  await page.click('.chart summary');
  await walk.look(page, 'change-charts');
  await page.goto(`${walk.url}${change}?range=month#charts`);
  await walk.look(page, 'change-month');
  await page.goto(`${walk.url}${change}/reports/none`);
  assert.ok(await page.$('nav a[href$="/reports"][aria-current]'), 'the way to everything else');
  await walk.look(page, 'error-with-navigation');
  assert.deepEqual(faults, []);
  await context.close();
});
