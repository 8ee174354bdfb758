// What is kept by key, the least recently used goes first.

/** A map that holds at most so many entries, which weigh at most so much together; the newest one stays whatever it weighs. */
export class Lru<V> {
  readonly #entries = new Map<string, V>();
  readonly #entriesMax: number;
  readonly #weightMax: number;
  readonly #weightOf: (value: V) => number;
  #weight = 0;

  constructor(entriesMax: number, weightMax = Infinity, weightOf: (value: V) => number = () => 0) {
    this.#entriesMax = Math.max(1, entriesMax);
    this.#weightMax = weightMax;
    this.#weightOf = weightOf;
  }

  get size(): number {
    return this.#entries.size;
  }

  get weight(): number {
    return this.#weight;
  }

  /** The value; this is no use of it. */
  peek(key: string): V | undefined {
    return this.#entries.get(key);
  }

  /** Makes an entry the most recently used one, if it is there. */
  touch(key: string): void {
    const value = this.#entries.get(key);
    if (value === undefined) return;
    this.#entries.delete(key);
    this.#entries.set(key, value);
  }

  /** A value that replaces another keeps its place unless it is used. */
  set(key: string, value: V, isUsed = true): void {
    const before = this.#entries.get(key);
    if (before !== undefined) this.#weight -= this.#weightOf(before);
    if (isUsed) this.#entries.delete(key);
    this.#entries.set(key, value);
    this.#weight += this.#weightOf(value);
    for (const [oldest, dropped] of this.#entries) {
      if (this.#entries.size <= 1 || (this.#entries.size <= this.#entriesMax && this.#weight <= this.#weightMax)) return;
      this.#entries.delete(oldest);
      this.#weight -= this.#weightOf(dropped);
    }
  }

  entries(): IterableIterator<[string, V]> {
    return this.#entries.entries();
  }
}
