// Express middleware: the side of a request's user is in the request and in a header of the answer.

import type { BaseClient } from './client.js';
import type { Side } from './migrator.js';
import type { UserId } from './routing.js';

/** What the middleware puts into a request. */
export interface ChangeoverOfRequest {
  readonly side: Side;
}

declare global {
  // Where Express lets requests have more: `req.changeover` is typed as soon as this entry is imported.
  // eslint-disable-next-line @typescript-eslint/no-namespace
  namespace Express {
    interface Request {
      changeover?: ChangeoverOfRequest;
    }
  }
}

const HEADER = 'X-Changeover-Side';

/** Nobody is null or undefined. */
export type UserOf<Request> = (request: Request) => UserId | null | undefined | Promise<UserId | null | undefined>;

interface Answer {
  setHeader(name: string, value: string): unknown;
}

/**
 * `req.changeover.side` is `'old'` or `'new'`, and so is the answer's header `X-Changeover-Side`. Nobody and failures are `'old'`.
 *
 * It needs nothing of Express itself: any server with `(request, response, next)` can use it.
 */
export function changeoverSide<Request extends object>(
  client: Pick<BaseClient, 'sideOf'>,
  change: string,
  user: UserOf<Request>,
): (request: Request, response: Answer, next: (error?: unknown) => void) => Promise<void> {
  return async (request, response, next) => {
    const side = await sideOf(client, change, () => user(request));
    (request as { changeover?: ChangeoverOfRequest }).changeover = { side };
    try {
      response.setHeader(HEADER, side);
    } catch {
      // The answer has begun already.
    }
    next();
  };
}

async function sideOf(client: Pick<BaseClient, 'sideOf'>, change: string, user: () => ReturnType<UserOf<never>>): Promise<Side> {
  try {
    const found = await user();
    return found === null || found === undefined ? 'old' : await client.sideOf(change, found, { default: 'old' });
  } catch {
    return 'old';
  }
}
