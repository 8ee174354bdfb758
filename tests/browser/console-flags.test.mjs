// Walks through the pages of flags: makes one, rolls it out after a look, asks why, restores, turns it off and on; proposes and approves;
// with and without script, and as a viewer.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Walk, changeFile, press, text } from './walking.mjs';

let walk;

before(async () => {
  walk = await Walk.start({ charges: 200 });
  const ids = join(walk.directory, 'beta.txt');
  writeFileSync(ids, Array.from({ length: 60 }, (_, at) => String(at + 1)).join('\n'));
  walk.run('cohort', 'create', 'beta', '--description', 'Accounts that asked to be early');
  walk.run('cohort', 'import', 'beta', ids);
});
after(() => walk?.end());

const flags = () => `${walk.url}/console/flags`;

/** Makes a flag by the short form. */
async function make(page, key) {
  await page.goto(`${walk.url}/console/new-flag`);
  await page.type('#key', key);
  await page.type('#description', 'The player that loads the next video ahead');
  await page.type('#reason', 'a start');
  await press(page, 'main form button');
  assert.match(await text(page), /The flag is made/);
}

/** Rolls a flag out to whoever is left, after a look. */
async function rollOut(page, key, percent, look) {
  await page.goto(`${flags()}/${key}/rollout?rule=0`);
  await page.$eval('#percent', (field) => { field.value = ''; });
  await page.type('#percent', percent);
  await page.select('#cohort', 'beta');
  await press(page, 'form[method=get] button');
  assert.match(await text(page), /of 60 subjects would get another variant/);
  await look();
  await page.type('#reason', 'the first accounts');
  await press(page, 'form[method=post]:not(.who) button');
  assert.match(await text(page), /The share is changed/);
}

test('an admin makes a flag, rolls it out, restores it and turns it off and on', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await page.goto(flags());
  assert.match(await text(page), /There is no flag yet|Every flag/);
  await walk.look(page, 'flags-first');
  await page.goto(`${walk.url}/console/new-flag`);
  await walk.look(page, 'flag-new');
  await make(page, 'next-video');
  await page.goto(`${flags()}/next-video/rollout?rule=0`);
  await page.$eval('#slide', (slide) => { slide.value = 30; slide.dispatchEvent(new Event('input')); });
  assert.equal(await page.$eval('#percent', (field) => field.value), '30');
  await rollOut(page, 'next-video', '12.5', () => walk.look(page, 'flag-rollout'));
  await walk.look(page, 'flag');

  await page.type('#user', '7');
  await press(page, 'form[action$="/explain"] button');
  assert.match(await text(page), /7 gets (on|off)/);
  await walk.look(page, 'flag-explain');

  await page.goto(`${flags()}/next-video/edit`);
  const json = await page.$eval('#json', (field) => field.value);
  await page.$eval('#json', (field, value) => { field.value = value; }, json.replace('"boolean"', '"string"'));
  await press(page, 'main form button');
  assert.match(await text(page), /mistakes? in it/);
  await walk.look(page, 'flag-mistakes');
  const rule = '"rules": [\n    { "cohort": "beta", "description": "Asked for it", "serve": { "variant": "on" } },';
  await page.$eval('#json', (field, value) => { field.value = value; }, json.replace(/"rules": \[/, rule));
  await press(page, 'main form button');
  assert.match(await text(page), /What would happen/);
  await walk.look(page, 'flag-edit');
  await page.type('#reason', 'beta has all of it');
  await press(page, 'form[method=post]:not(.who):last-of-type button');
  assert.match(await text(page), /The flag is replaced/);
  await walk.look(page, 'flag-rules');

  await page.goto(`${flags()}/next-video/history`);
  await walk.look(page, 'flag-history');
  await press(page, 'main form button');
  await walk.look(page, 'flag-diff');
  await page.goto(`${flags()}/next-video/history`);
  await press(page, 'tbody tr:nth-child(2) a[href$="/restore"]');
  await walk.look(page, 'flag-restore');
  await page.type('#reason', 'as it was');
  await press(page, 'main form button');
  assert.match(await text(page), /again what it was/);

  await press(page, 'a[href$="/kill"]');
  await walk.look(page, 'flag-kill');
  await page.type('#reason', 'complaints');
  await press(page, 'main form button');
  assert.match(await text(page), /The kill switch is thrown/);
  await walk.look(page, 'flag-off');
  await press(page, 'a[href$="/enable"]');
  await page.type('#reason', 'mended');
  await press(page, 'main form button');
  assert.match(await text(page), /The flag is on again/);
  await page.goto(flags());
  await walk.look(page, 'flags');
  assert.deepEqual(faults, []);
  await context.close();
});

test('the same without script', async () => {
  const { page, faults, context } = await walk.window({ script: false });
  await walk.signIn(page, 'admin');
  await make(page, 'plain-flag');
  await rollOut(page, 'plain-flag', '50', async () => {});
  await page.goto(`${flags()}/plain-flag/kill`);
  await page.type('#reason', 'stop');
  await press(page, 'main form button');
  assert.match(await text(page), /The kill switch is thrown/);
  assert.deepEqual(faults, []);
  await context.close();
});

test('two persons: what one proposes another one approves', async () => {
  const { page, faults, context } = await walk.window();
  const file = join(walk.directory, 'guarded.json');
  const flag = { key: 'guarded', type: 'boolean', variants: { off: false, on: true }, default_variant: 'off', off_variant: 'off',
    description: 'Takes two persons', protection: { two_person: true, percent_per_hour: 10 } };
  writeFileSync(file, JSON.stringify(flag));
  walk.run('flag', 'create', file);
  walk.run('flag', 'rollout', 'guarded', '--variant', 'on', '--percent', '5', '--reason', 'the first wave', '--actor', 'ada');
  await walk.signIn(page, 'admin');
  await page.goto(flags());
  assert.match(await text(page), /1 proposal waits/);
  await page.goto(`${flags()}/guarded`);
  await walk.look(page, 'flag-guarded');
  await page.goto(`${walk.url}/console/proposals`);
  await walk.look(page, 'proposals');
  await press(page, 'main tbody a');
  await walk.look(page, 'proposal');
  await page.goto(`${flags()}/guarded/rollout?rule=0&look=yes&variant=on&percent=7`);
  assert.match(await text(page), /The flag takes two persons/);
  await walk.look(page, 'flag-propose');
  assert.deepEqual(faults, []);
  await context.close();
});

test("a change's flag: groups, sides and how far a cohort reaches", async () => {
  const { page, faults, context } = await walk.window();
  walk.run('change', 'install', changeFile);
  const file = join(walk.directory, 'billing.json');
  const flag = { key: 'billing-allocation', change: 'billing-allocation', type: 'string', variants: { old: 'old', new: 'new' },
    default_variant: 'old', off_variant: 'old', rules: [{ cohort: 'beta', serve: { variant: 'new' } }] };
  writeFileSync(file, JSON.stringify(flag));
  walk.run('flag', 'create', file);
  await walk.signIn(page, 'admin');
  await page.goto(`${flags()}/billing-allocation/rollout?rule=1&look=yes&variant=new&percent=20`);
  assert.match(await text(page), /groups would get another side/);
  assert.match(await text(page), /The cohort `beta`: 60 users widened to/);
  await walk.look(page, 'flag-groups');
  await page.goto(`${flags()}/billing-allocation/explain?user=1`);
  assert.match(await text(page), /1 gets old/);
  await walk.look(page, 'flag-explain-group');
  assert.deepEqual(faults, []);
  await context.close();
});

test('a viewer reads all of it and is offered nothing that would fail', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'viewer');
  for (const path of ['', '/next-video', '/next-video/history', '/next-video/rollout?rule=0', '/next-video/explain']) {
    await page.goto(flags() + path);
    assert.equal((await page.$$('main form[method=post]')).length, 0, path);
    assert.equal((await page.$$('main a[href$="/kill"], main a[href$="/edit"], main a[href$="/restore"]')).length, 0, path);
  }
  await page.goto(`${flags()}/next-video`);
  await walk.look(page, 'flag-viewer');
  assert.deepEqual(faults, []);
  await context.close();
});
