// Walks through the pages of cohorts: makes one, uploads ten thousand ids, looks, activates, brings earlier ids back; with and without script,
// and as a viewer.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Walk, press, text } from './walking.mjs';

let walk;
let file;

before(async () => {
  walk = await Walk.start({ charges: 200 });
  file = join(walk.directory, 'list of November.csv');
  const ids = Array.from({ length: 10_000 }, (_, at) => `${at + 1},user ${at + 1}`);
  writeFileSync(file, `id,name\n${ids.join('\n')}\n1,again\n"a\tb",no id\n`);
});
after(() => walk?.end());

async function upload(page, cohort, path) {
  await page.goto(`${walk.url}/console/cohorts/${cohort}/upload`);
  await page.type('#reason', 'the list of November');
  const input = await page.$('#file');
  await input.uploadFile(path);
  const began = Date.now();
  await press(page, 'main form button');
  return Date.now() - began;
}

async function make(page, cohort, description) {
  await page.goto(`${walk.url}/console/cohorts`);
  await page.type('#name', cohort);
  await page.type('#description', description);
  await press(page, 'main form[method=post] button');
}

test('an admin fills a cohort from a file and brings earlier ids back', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await page.goto(`${walk.url}/console/cohorts`);
  await walk.look(page, 'cohorts-begin');
  await make(page, 'beta-testers', 'Those who asked for the new billing, and those whom support has put in');
  assert.match(await text(page), /It has no ids yet/);
  await walk.look(page, 'cohort-empty');
  await page.type('#typed', 'ada\ngrace\n');
  await page.type('#reason', 'the first two');
  await press(page, 'button[value=add]');
  assert.match(await text(page), /2 ids/);
  const took = await upload(page, 'beta-testers', file);
  assert.ok(took < 5000, `an upload of ten thousand took ${took} ms`);
  assert.match(await text(page), /10,000 ids would come/);
  assert.match(await text(page), /Line 10003 has a control character/);
  await walk.look(page, 'cohort-staged');
  await page.type('main #reason', 'looks right');
  await press(page, 'main form button');
  assert.match(await text(page), /The upload is activated/);
  assert.match(await text(page), /10,000 ids/);
  await page.type('#id', '4711');
  await press(page, 'main form[method=get] button');
  assert.match(await text(page), /4711 is in the cohort/);
  await walk.look(page, 'cohort');
  await press(page, 'a[href$="/history"]');
  await walk.look(page, 'cohort-history');
  await press(page, 'tbody tr:nth-child(2) a');
  await walk.look(page, 'cohort-generation');
  await press(page, 'a[href$="/restore"]');
  assert.match(await text(page), /2 ids would come/);
  await walk.look(page, 'cohort-restore');
  await page.type('#reason', 'the list was wrong');
  await press(page, 'main form button');
  assert.match(await text(page), /The earlier ids are back/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('mistakes are shown where they are, and what was typed stays', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await make(page, 'by-plan', 'Whoever pays');
  await page.goto(`${walk.url}/console/cohorts/by-plan/edit`);
  await page.type('#conditions', '[[{"attribute": "plan", "operator": "is", "value": "pro"}]]');
  await page.type('#reason', 'pro customers first');
  await press(page, 'main form button');
  assert.match(await text(page), /conditions\[0\]\[0\]/);
  await walk.look(page, 'cohort-edit-refused');
  await page.$eval('#conditions', (area) => { area.value = area.value.replace('"is"', '"equals"'); });
  await press(page, 'main form button');
  assert.match(await text(page), /plan is "pro"/);
  const broken = join(walk.directory, 'broken.csv');
  writeFileSync(broken, '1\n"2\n3\n');
  await upload(page, 'by-plan', broken);
  assert.match(await text(page), /opens a quote that is never closed/);
  await walk.look(page, 'cohort-upload-refused');
  await page.goto(`${walk.url}/console/cohorts/by-plan/remove`);
  await walk.look(page, 'cohort-remove');
  await page.goto(`${walk.url}/console/cohorts`);
  await walk.look(page, 'cohorts');
  assert.deepEqual(faults, []);
  await context.close();
});

test('a file that is too large is not sent at all', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await make(page, 'large', '');
  await page.goto(`${walk.url}/console/cohorts/large/upload`);
  await page.$eval('form[data-bytes-max]', (form) => { form.dataset.bytesMax = '10'; });
  await (await page.$('#file')).uploadFile(file);
  assert.match(await text(page), /larger than 1400 MiB/);
  assert.equal(await page.$eval('#file', (input) => input.checkValidity()), false);
  assert.deepEqual(faults, []);
  await context.close();
});

test('the same without script', async () => {
  const { page, faults, context } = await walk.window({ script: false });
  await walk.signIn(page, 'admin');
  await make(page, 'without-script', 'made without script');
  await upload(page, 'without-script', file);
  assert.match(await text(page), /10,000 ids would come/);
  await page.type('main #reason', 'no');
  await press(page, 'button.dangerous');
  assert.match(await text(page), /The upload is dropped/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('a viewer reads it and is offered nothing', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'viewer');
  for (const path of ['/console/cohorts', '/console/cohorts/beta-testers', '/console/cohorts/beta-testers/history']) {
    await page.goto(walk.url + path);
    assert.equal((await page.$$('main form[method=post]')).length, 0, path);
  }
  await walk.look(page, 'cohort-viewer');
  assert.deepEqual(faults, []);
  await context.close();
});
