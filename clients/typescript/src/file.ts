// The last known answers in a file: whoever reads it has the old text or the new one.

import { randomUUID } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import type { StateStore } from './state.js';

const BYTES_MAX = 64 << 20;

export function fileStore(path: string): StateStore {
  return { name: path, bytesMax: BYTES_MAX, read: () => read(path), write: (text) => replace(path, text) };
}

function read(path: string): string | null {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  if (stat.size > BYTES_MAX) throw new RangeError('it is too large');
  return readFileSync(path, 'utf8');
}

async function replace(path: string, text: string): Promise<void> {
  const beside = `${path}.${randomUUID()}`;
  try {
    const file = await open(beside, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
}
