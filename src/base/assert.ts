import { BatonError } from './errors.ts';

/** Something that cannot happen has happened: a defect in Baton itself, never the fault of its input. */
export class AssertionError extends BatonError {
  readonly code = 'ASSERT';
}

/** Checks what must be true whatever the input; on in production. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks the branch of an exhaustive `switch` that no value can reach. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable value ${JSON.stringify(value)}`);
}
