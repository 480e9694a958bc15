import { settle } from '../../src/host/clock.ts';

/** One thing that arrives: octets, and the channel they arrive on (a peer, a topic, a format: the target says). */
export interface Input {
  readonly channel: string;
  readonly data: Uint8Array;
}

/** Something bounded inside a subject. */
export interface Size {
  readonly name: string;
  readonly value: number;
  readonly max: number;
}

/** What is fuzzed, with all the state that inputs may build up in it. */
export interface Subject {
  /** Hands one input in; throws for an uncaught error and for a broken oracle. */
  feed(input: Input): void;
  /** Lets everything that became runnable run and some time pass; throws for what went wrong in it. */
  settle(): Promise<void>;
  /** The bounded tables, each within its bound or the run has failed. */
  sizes(): readonly Size[];
  /** How often each kind of outcome came about: a run that never came past the first check proves nothing. */
  reached(): Readonly<Record<string, number>>;
  close(): Promise<void>;
}

/** One target of the fuzzer. */
export interface Target {
  readonly name: string;
  open(): Subject;
  /** A source of inputs that depends on nothing but the dice. */
  generate(dice: Dice): () => Input;
}

/** A broken oracle; the message says which. */
export class OracleFailure extends Error {}

/** Throws `OracleFailure` unless the condition holds. */
export function expect(condition: boolean, what: string | (() => string)): asserts condition {
  if (!condition) throw new OracleFailure(typeof what === 'string' ? what : what());
}

/** A subject that takes each input by itself and holds nothing between two. */
export abstract class PureSubject<Outcome extends string> implements Subject {
  /** How often each thing was come to. */
  readonly #reached: Record<Outcome, number>;

  constructor(reached: Record<Outcome, number>) {
    this.#reached = reached;
  }

  abstract feed(input: Input): void;

  protected count(what: Outcome): void {
    this.#reached[what]++;
  }

  settle(): Promise<void> {
    return settle();
  }

  sizes(): readonly Size[] {
    return [];
  }

  reached(): Readonly<Record<string, number>> {
    return this.#reached;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Cheap chance that repeats: 32-bit integers of mulberry32. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 <= n < 2^32. */
  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** 0 <= n < count. */
  below(count: number): number {
    return this.uint32() % count;
  }

  /** True once in `count` times. */
  oneIn(count: number): boolean {
    return this.uint32() % count === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.uint32() % list.length] as T;
  }

  bytes(count: number): Uint8Array {
    const data = new Uint8Array(count);
    for (let index = 0; index < count; index++) data[index] = this.uint32();
    return data;
  }
}

/** What becomes of a request, 0 to 63, by the number at the end of its identifier: the same in every replay. */
export function fateOf(requestIdentifier: string): number {
  return Number(/\d{1,9}$/u.exec(requestIdentifier)?.[0] ?? 0) % 64;
}
