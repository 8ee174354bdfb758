// What the compiler has to say about code that uses the package. Compiled, never run.

import express, { type Request } from 'express';
import { ChangeoverError, Client, insert, minted, remove, update, upsert, type Details, type Side, type Stage } from '@changeover/client';
import { changeoverSide } from '@changeover/client/express';
import { ChangeoverProvider } from '@changeover/client/openfeature-server';
import { ChangeoverProvider as WebProvider } from '@changeover/client/openfeature-web';
import { Client as WebClient } from '@changeover/client/web';
import { OpenFeature } from '@openfeature/server-sdk';
import { OpenFeature as OpenFeatureWeb } from '@openfeature/web-sdk';

const client = new Client({ statePath: new URL('file:///tmp/x'), timeoutMs: 500, logger: null });
const page = new WebClient({ url: 'http://x', token: 'co_x', storage: localStorage });
// @ts-expect-error a page has no files
new WebClient({ url: 'http://x', token: 'co_x', statePath: 'x' });

export async function flags(): Promise<void> {
  const on: boolean = await client.boolean('f', false, { targetingKey: '1', plan: 'pro', at: new Date() });
  const many: number = await client.integer('f', 1, 42n);
  const details: Details<string> = await client.details('string', 'f', 'x', '1', { cached: false });
  const seen: Details<number> = page.peek('float', 'f', 0.5);
  void [on, many, seen];
  switch (details.errorCode) {
    case undefined:
    case 'FLAG_NOT_FOUND':
      break;
    // @ts-expect-error there is no such code
    case 'OUT_OF_TEA':
  }
  // @ts-expect-error the default has the flag's type
  await client.boolean('f', 'no');
  // @ts-expect-error there is no such type
  await client.details('text', 'f', 'x');
  // @ts-expect-error that is no context
  await client.boolean('f', false, true);
  const end: () => void = client.onChange(() => undefined);
  end();
}

interface Invoice {
  total: number;
}

export async function migrators(): Promise<void> {
  const both = client.migrator('f', {
    oldRead: async (user: string): Promise<Invoice> => ({ total: user.length }),
    newRead: (_: string): Invoice => ({ total: 1 }),
    oldWrite: async (user: string, invoice: Invoice) => user.length + invoice.total,
    newWrite: (user: string, invoice: Invoice) => user.length + invoice.total,
    compare: (old, candidate) => Math.abs(old.total - candidate.total) < 1,
    ignore: [(old) => old.total === 0],
    order: 'concurrent',
    sample: 0.1,
  });
  const invoice: Invoice = await both.read('1', 'ada');
  const written: number = await both.write({ targetingKey: '1' }, 'ada', invoice);
  const stage: Stage = await both.stage('1');
  void [written, stage];
  // @ts-expect-error the functions want a text
  await both.read('1', 7);
  // @ts-expect-error the functions want an invoice too
  await both.write('1', 'ada');

  const reads = client.migrator('f', { oldRead: () => 1, newRead: () => 2 });
  const one: number = await reads.read('1');
  // @ts-expect-error it was given nothing to write with
  await reads.write('1', one);
  // @ts-expect-error one side is missing
  client.migrator('f', { oldRead: () => 1 });
  // @ts-expect-error both sides return the same type
  client.migrator('f', { oldRead: () => 1, newRead: () => 'x' });
  // @ts-expect-error there is no such order
  client.migrator('f', { order: 'sideways' });
}

export async function changes(): Promise<void> {
  const side: Side = await client.sideOf('billing', 7, { default: 'old', period: '2026-12' });
  for await (const answer of client.sidesOf('billing', new Set([1, 2]))) {
    if (answer.error === undefined) console.log(answer.side, answer.group);
    else console.log(answer.error.kind, side);
  }
  const [part] = (await client.allocationOf('billing', '5')).parts;
  const amount: string | undefined = part?.amount;
  const result = await client.writes('billing').run([
    insert('users', { id: 2n ** 60n, name: 'Ada' }),
    insert('videos', { user_id: minted(0, 'id') }, { user_id: 1 }),
    update('users', { id: 1 }, { name: 'Grace' }, { name: 'Ada' }),
    upsert('users', { id: 1 }, { by: ['id'] }),
    remove('users', { id: 1 }),
  ]);
  const rows: unknown = result.operations[0]?.rows[0]?.['id'];
  void [rows, amount];
  // @ts-expect-error there is no such operation
  await client.writes('billing').run([{ truncate: 'users' }]);
  // @ts-expect-error a side is old or new
  await client.sideOf('billing', 7, { default: 'both' });
  try {
    await client.writes('billing').schema();
  } catch (error) {
    if (error instanceof ChangeoverError && error.kind === 'invalid') console.log(error.faults[0]?.operation);
    // @ts-expect-error there is no such kind
    if (error instanceof ChangeoverError && error.kind === 'tea') return;
  }
}

export async function workers(): Promise<void> {
  const token: number | undefined = await client.gate('w', { holder: 'me' }).run(async (lease) => {
    await fetch('http://x', { signal: lease.signal });
    return (await lease.wait(10)) ? lease.fencingToken : undefined;
  });
  void token;
}

export function frameworks(): void {
  const app = express();
  app.use(changeoverSide(client, 'billing', (request: Request) => request.get('x-user')));
  app.get('/', (request, response) => {
    const side: Side = request.changeover?.side ?? 'old';
    response.send(side);
  });
  OpenFeature.setProvider(new ChangeoverProvider(client));
  OpenFeatureWeb.setProvider(new WebProvider(page));
}
