import type { Clock } from '../host/clock.ts';

interface Entry<T> {
  readonly value: T;
  bytes: number;
  readonly sinceMs: number;
}

/**
 * A memory that is bounded in entries, in octets and in time: the eldest entry gives way, and one that has reached its
 * lifetime is as good as gone.
 */
export class AgedEntries<T> {
  readonly #clock: Clock;
  readonly #limits: { readonly entries: number; readonly bytes: number; readonly lifetimeMs: number };
  readonly #entries = new Map<string, Entry<T>>();
  #bytes = 0;

  constructor(
    clock: Clock,
    limits: { readonly entries: number; readonly bytes: number; readonly lifetimeMs: number },
  ) {
    this.#clock = clock;
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): T | undefined {
    this.#expire();
    return this.#entries.get(key)?.value;
  }

  /** The keys of the entries that `isMeant`, the eldest first. */
  keysOf(isMeant: (value: T) => boolean): string[] {
    return [...this.#entries].filter(([, { value }]) => isMeant(value)).map(([key]) => key);
  }

  /** Puts a value of so many octets in the place of what was under the key. */
  put(key: string, value: T, bytes: number): void {
    this.drop(key);
    this.#entries.set(key, { value, bytes, sinceMs: this.#clock.monotonicMs() });
    this.#bytes += bytes;
    this.#expire();
  }

  /** Says that the entry has so many octets now; without effect when it is gone. */
  resize(key: string, bytes: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#bytes += bytes - entry.bytes;
    entry.bytes = bytes;
    this.#expire();
  }

  drop(key: string): void {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0;
    this.#entries.delete(key);
  }

  #expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { sinceMs }] of this.#entries) {
      const isFull = this.#entries.size > this.#limits.entries || this.#bytes > this.#limits.bytes;
      if (!isFull && nowMs - sinceMs < this.#limits.lifetimeMs) return;
      this.drop(key);
    }
  }
}
