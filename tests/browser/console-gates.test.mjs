// Walks through the pages of worker gates: pauses all, brings them back in order, switches one; with and without script, and as a viewer.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Walk, press, text } from './walking.mjs';

let walk;

before(async () => { walk = await Walk.start({ charges: 50 }); });
after(() => walk?.end());

async function takeLease(worker, holder) {
  const answer = await fetch(`${walk.url}/api/v1/gates/${worker}/lease`, {
    method: 'POST',
    headers: { authorization: `Bearer ${walk.tokens.admin}`, 'content-type': 'application/json' },
    body: JSON.stringify({ holder }),
  });
  assert.equal(answer.status, 201);
}

/** Pauses all and resumes them, from the list as it is. */
async function pauseAndResume(page, look) {
  await page.goto(`${walk.url}/console/gates`);
  await page.type('#pause-reason', 'moving accounts to live');
  await press(page, 'form[action$="all-gates/pause"] button');
  assert.match(await text(page), /The workers are paused/);
  assert.match(await text(page), /invoice-mailer in 60 seconds/);
  await look('gates-paused');
  await page.type('#resume-reason', 'live');
  await press(page, 'form[action$="all-gates/resume"] button');
  assert.match(await text(page), /come back in order/);
  await look('gates-resumed');
}

test('an admin pauses all workers and brings them back in order', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await page.goto(`${walk.url}/console/gates`);
  assert.match(await text(page), /No worker has a gate yet/);
  await walk.look(page, 'gates-nothing');
  const mailer = ['--description', 'Sends the invoices of the month to those who pay', '--order', '20', '--delay', '60'];
  walk.run('gate', 'set', 'invoice-mailer', ...mailer, '--single-instance', 'true', '--lease', '600');
  walk.run('gate', 'set', 'billing-run', '--order', '10');
  walk.run('gate', 'set', 'thumbnails', '--order', '30', '--delay', '30');
  walk.run('gate', 'pause', 'thumbnails', '--reason', 'the disk is being replaced');
  await takeLease('invoice-mailer', 'host-3/4711');
  await page.goto(`${walk.url}/console/gates`);
  assert.match(await text(page), /1 lease is held/);
  await walk.look(page, 'gates');
  await pauseAndResume(page, (name) => walk.look(page, name));
  await page.goto(`${walk.url}/console/gates/invoice-mailer`);
  assert.match(await text(page), /host-3\/4711 has it with the fencing token/);
  await walk.look(page, 'gate-waiting');
  await page.type('#reason', 'it is needed now');
  await press(page, 'main form button');
  assert.match(await text(page), /running/);
  await walk.look(page, 'gate-running');
  await page.goto(`${walk.url}/console/gates/invoice-mailer/remove`);
  await walk.look(page, 'gate-remove');
  assert.deepEqual(faults, []);
  await context.close();
});

test('an admin makes a gate, and an open list shows it', async () => {
  const { page, faults, context } = await walk.window();
  const { page: other } = await walk.window();
  await walk.signIn(page, 'admin');
  await walk.signIn(other, 'viewer');
  await other.goto(`${walk.url}/console/gates`);
  await page.goto(`${walk.url}/console/new-gate`);
  await walk.look(page, 'gate-new');
  await page.type('#worker', 'search-index');
  await page.type('#reason', 'it came with the new model');
  await press(page, 'main form button');
  assert.match(await text(page), /The gate is made/);
  await other.bringToFront();
  await other.waitForFunction(() => document.body.innerText.includes('search-index'), { timeout: 20_000 });
  assert.deepEqual(faults, []);
  await other.browserContext().close();
  await context.close();
});

test('an admin looks at the edge of a change', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'admin');
  await page.goto(`${walk.url}/console/changes/billing-allocation/edge`);
  assert.match(await text(page), /Nothing is set for this edge yet/);
  await walk.look(page, 'edge');
  assert.deepEqual(faults, []);
  await context.close();
});

test('the same without script', async () => {
  const { page, faults, context } = await walk.window({ script: false });
  await walk.signIn(page, 'admin');
  await pauseAndResume(page, async () => {});
  assert.deepEqual(faults, []);
  await context.close();
});

test('a viewer reads it and is offered nothing', async () => {
  const { page, faults, context } = await walk.window();
  await walk.signIn(page, 'viewer');
  for (const path of ['/console/gates', '/console/gates/invoice-mailer']) {
    await page.goto(walk.url + path);
    assert.equal((await page.$$('main form')).length, 0, path);
  }
  await walk.look(page, 'gate-viewer');
  assert.deepEqual(faults, []);
  await context.close();
});
