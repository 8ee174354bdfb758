// The whole story of an admin who phases a change in, from the first sign-in to the way back, on one server: once with script, once without.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Walk, changeFile, press, text } from './walking.mjs';

const change = '/console/changes/billing-allocation';
const flag = '/console/flags/billing-allocation';

/** Waits until a job's page says how it ended, asking again as the page itself does without script. */
async function ended(page) {
  for (let tries = 0; tries < 300; tries += 1) {
    const said = await text(page);
    if (/How it ended/.test(said)) return said;
    await page.goto(page.url());
  }
  throw new Error(`the job does not end: ${await text(page)}`);
}

class Story {
  constructor(walk, page) {
    Object.assign(this, { walk, page });
  }

  async at(path) {
    await this.page.goto(this.walk.url + path);
  }

  async says(pattern) {
    assert.match(await text(this.page), pattern);
  }

  /** Fills in a field that the page has, in place of what stands there. */
  async write(selector, value) {
    await this.page.click(selector, { count: 3 });
    await this.page.type(selector, value);
  }

  /** Starts long work on its page, and waits for its end. */
  async work(kind, found) {
    await this.at(`${change}/start/${kind}`);
    await press(this.page, 'main form button');
    assert.match(await ended(this.page), found);
  }

  async stage(to, reason) {
    await this.at(`${change}/stage?to=${to}`);
    await this.page.type('#reason', reason);
    await press(this.page, 'main form:not(.who) button');
    await this.says(new RegExp(`Stage: ${to}`));
  }

  async report() {
    await this.at(`${change}/reports`);
    await press(this.page, 'main form button');
    await ended(this.page);
    await press(this.page, 'main .actions a');
  }

  /** A cohort of ten thousand out of a file, looked at before it counts. */
  async cohort() {
    const file = join(this.walk.directory, 'pilot.csv');
    writeFileSync(file, `id\n${Array.from({ length: 10_000 }, (_, at) => at + 1).join('\n')}\n`);
    await this.at('/console/cohorts');
    await this.page.type('#name', 'pilot');
    await this.page.type('#description', 'Accounts that agreed to go first');
    await press(this.page, 'main form[method=post] button');
    await this.at('/console/cohorts/pilot/upload');
    await this.page.type('#reason', 'as agreed with support');
    await (await this.page.$('#file')).uploadFile(file);
    await press(this.page, 'main form button');
    await this.says(/10,000 ids would come/);
    await this.page.type('main #reason', 'looked at');
    await press(this.page, 'main form button');
    await this.says(/The upload is activated[^]*10,000 ids/);
  }

  /** The change's flag, written as JSON, with nobody on the new side. */
  async makeFlag() {
    const json = { key: 'billing-allocation', change: 'billing-allocation', type: 'string', description: 'Who is billed by the new model',
      variants: { old: 'old', new: 'new' }, default_variant: 'old', off_variant: 'old', rules: [{ cohort: 'pilot', serve: { variant: 'old' } }] };
    await this.at('/console/new-flag?as=json');
    await this.page.$eval('#json', (field) => { field.value = ''; });
    await this.page.type('#json', JSON.stringify(json));
    await press(this.page, 'main form button');
    await this.says(/What would happen/);
    await this.page.type('#reason', 'nobody yet');
    await press(this.page, 'form[method=post]:not(.who):last-of-type button');
    await this.says(/The flag is made/);
  }

  async rollOut() {
    await this.at(`${flag}/rollout?rule=0&look=yes&variant=new&percent=5`);
    await this.says(/new goes from 0 % to 5 %[^]*groups/);
    await this.page.type('#reason', 'the first accounts');
    await press(this.page, 'form[method=post]:not(.who) button');
    await this.says(/The share is changed/);
  }

  async explainUser() {
    await this.at(flag);
    await this.page.type('#user', '7');
    await press(this.page, 'form[action$="/explain"] button');
    await this.says(/7 gets (old|new)/);
  }

  /** Somebody writes past everything; it is seen, translation rests for a while, and it is mended. */
  async drift() {
    this.walk.spoil();
    await this.work('verify', /drift\s+7/);
    await this.at(change);
    const drifting = await this.page.$$eval('main td .bad', (cells) => cells.map((cell) => cell.innerText));
    assert.deepEqual(drifting, ['7 different']);
    await press(this.page, 'a[href$="/pause"]');
    await this.page.type('#reason', 'until we know why');
    await press(this.page, 'main form button');
    await this.says(/Translation is paused/);
    await press(this.page, '.banner a');
    await this.page.type('#reason', 'somebody had written past it');
    await press(this.page, 'main form button');
    await this.says(/Translation goes on/);
  }

  /** The differences are explained, and the report is signed; then they are mended all the same. */
  async signed() {
    await this.report();
    await this.says(/charges need an explanation/);
    await press(this.page, 'a[aria-label^="Explain all"]');
    await this.page.type('#text', 'Somebody wrote past the application; the rows are mended after the report.');
    await this.page.type('#reason_code', 'written-past');
    await this.page.type('#owner', 'Kim from finance');
    await press(this.page, 'main form button');
    await this.says(/counts from the next report on/);
    await this.report();
    await this.says(/Nothing is left to be explained/);
    await this.page.type('#role', 'finance');
    await press(this.page, '#signatures ~ form button');
    await this.says(/You have signed this report/);
    await this.work('repair', /repaired\s+7/);
    await this.work('verify', /drift\s+0/);
  }

  /** The flag as it was at first: nobody is billed by the new model from the next period on. */
  async restoreFlag() {
    await this.at(`${flag}/history`);
    await press(this.page, 'tbody tr:nth-child(2) a[href$="/restore"]');
    await this.page.type('#reason', 'as it was');
    await press(this.page, 'main form button');
    await this.says(/again what it was/);
  }
}

for (const script of [true, false]) {
  test(`a change is phased in and taken back in a browser ${script ? 'with' : 'without'} script`, async () => {
    const walk = await Walk.start({ charges: 2000 });
    try {
      const { page, faults, context } = await walk.window({ script });
      const story = new Story(walk, page);
      // The change file lies beside the application's code: whoever deploys that installs it.
      walk.run('change', 'install', changeFile);
      await walk.signIn(page, 'admin');
      await story.cohort();
      await story.makeFlag();
      await story.stage('dualwrite', 'old code goes on as it is');
      await story.work('backfill', /finished\s+yes/);
      await story.rollOut();
      await story.explainUser();
      await story.drift();
      await story.work('repair', /repaired\s+7/);
      await story.work('verify', /drift\s+0/);
      await story.stage('shadow', 'both allocations are compared');
      walk.run('change', 'laws', 'billing-allocation', '--sample', '5');
      walk.spoil();
      await story.signed();
      await story.at(`${change}/stage?to=live`);
      await story.says(/\d of 100 groups will be on the new side[^]*The cohort pilot has 10,000 users[^]*is clean and signed/);
      if (script) await walk.look(page, 'story-live');
      await story.stage('live', 'finance has signed');
      await story.stage('shadow', 'a complaint: back first, then look');
      await story.restoreFlag();
      await story.at('/console/audit');
      for (const deed of ['cohort.activate', 'flag.rollout', 'change.pause', 'report.sign', 'change.stage', 'flag.restore']) {
        await story.says(new RegExp(deed.replaceAll('.', '\\.')));
      }
      if (script) await walk.look(page, 'story-audit');
      assert.deepEqual(faults, []);
      await context.close();
    } finally {
      await walk.end();
    }
  });
}
