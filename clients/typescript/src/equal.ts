// Whether two values are equal, for migrators that were given no comparison.

/**
 * Deep equality: primitives as `===` (and NaN is NaN), dates, maps, sets, arrays and bytes by what they hold, objects of one class by
 * their own enumerable properties. An object of a class that shows none is equal to itself only. `undefined` properties do not count.
 */
export function isEqual(a: unknown, b: unknown): boolean {
  return equal(a, b, []);
}

type Pairs = [object, object][];

function equal(a: unknown, b: unknown, seen: Pairs): boolean {
  if (a === b || (a !== a && b !== b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.prototype.toString.call(a) !== Object.prototype.toString.call(b)) return false;
  // In a cycle the same two are equal as far as anybody has found.
  if (seen.some(([one, other]) => one === a && other === b)) return true;
  seen.push([a, b]);
  try {
    return equalObjects(a, b, seen);
  } finally {
    seen.pop();
  }
}

function equalObjects(a: object, b: object, seen: Pairs): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((one, at) => equal(one, b[at], seen));
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof Map && b instanceof Map) {
    return a.size === b.size && [...a].every(([key, value]) => b.has(key) && equal(value, b.get(key), seen));
  }
  if (a instanceof Set && b instanceof Set) {
    return a.size === b.size && [...a].every((one) => b.has(one) || [...b].some((other) => equal(one, other, seen)));
  }
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) return equalBytes(bytes(a), bytes(b));
  if (a instanceof Error && b instanceof Error && (a.name !== b.name || a.message !== b.message)) return false;
  return equalProperties(a as Record<string, unknown>, b as Record<string, unknown>, seen);
}

function equalProperties(a: Record<string, unknown>, b: Record<string, unknown>, seen: Pairs): boolean {
  const keys = Object.keys(a).filter((key) => a[key] !== undefined);
  const others = Object.keys(b).filter((key) => b[key] !== undefined);
  if (keys.length !== others.length) return false;
  if (keys.length === 0 && !isBare(a)) return hasJson(a) && hasJson(b) && equal(a.toJSON(), b.toJSON(), seen);
  return keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key], seen));
}

function isBare(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || value instanceof Error;
}

function hasJson(value: object): value is { toJSON(): unknown } {
  return 'toJSON' in value && typeof value.toJSON === 'function';
}

function bytes(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((one, at) => one === b[at]);
}
