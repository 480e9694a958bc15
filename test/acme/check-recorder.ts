// Stands in for tap's Test in the checks of the contract: writes down which assertions of a check failed, so that they can
// be compared with the differences that are allowed.
import { isDeepStrictEqual, inspect } from 'node:util';
import type { Test } from 'tap';

/** One assertion that did not hold. */
export interface Failure {
  readonly assertion: string;
  readonly detail: string;
}

/** Collects the failures of one check; `as Test` for the check. */
export class CheckRecorder {
  readonly failures: Failure[] = [];
  readonly comments: string[] = [];
  asserted = 0;

  /** The checks use these methods and no others; another one shows as a failure that names it. */
  get test(): Test {
    return this as unknown as Test;
  }

  ok(value: unknown, message = 'is true'): boolean {
    return this.#note(Boolean(value), message, `got ${show(value)}`);
  }

  equal(found: unknown, wanted: unknown, message = `is ${show(wanted)}`): boolean {
    return this.#note(Object.is(found, wanted), message, `got ${show(found)}, wanted ${show(wanted)}`);
  }

  strictSame(found: unknown, wanted: unknown, message = `is ${show(wanted)}`): boolean {
    return this.#note(
      isDeepStrictEqual(found, wanted),
      message,
      `got ${show(found)}, wanted ${show(wanted)}`,
    );
  }

  match(found: unknown, pattern: unknown, message = `has ${show(pattern)}`): boolean {
    return this.#note(holds(found, pattern), message, `got ${show(found)}, wanted ${show(pattern)}`);
  }

  type(found: unknown, wanted: string, message = `is a ${wanted}`): boolean {
    return this.#note(typeof found === wanted, message, `got ${show(found)}`);
  }

  fail(message: string): boolean {
    return this.#note(false, message, '');
  }

  comment(text: string): void {
    this.comments.push(text);
  }

  #note(isTrue: boolean, assertion: string, detail: string): boolean {
    this.asserted += 1;
    if (!isTrue) this.failures.push({ assertion, detail });
    return isTrue;
  }
}

function holds(found: unknown, pattern: unknown): boolean {
  if (pattern instanceof RegExp) return typeof found === 'string' && pattern.test(found);
  if (typeof pattern !== 'object' || pattern === null) return Object.is(found, pattern);
  if (typeof found !== 'object' || found === null) return false;
  return Object.entries(pattern).every(([key, each]) => holds((found as Record<string, unknown>)[key], each));
}

function show(value: unknown): string {
  return inspect(value, { depth: 4, breakLength: Infinity }).slice(0, 200);
}
