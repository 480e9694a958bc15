import type { Seq } from '../base/units.ts';
import type { CseFailure } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import type { Batch } from './batch.ts';
import type { StreamPart } from './destination.ts';

/**
 * Refusals of a record for what it is before it is given up, with growing waits between them: a CSE may be confused, or
 * another may serve by then.
 */
const refusalsMax = 8;

/** Refusals of a batch before its records go one by one, when it is certain that none of the tries was taken. */
const batchRefusalsMax = 2;

/** How often what comes next of each part was refused for what it is. */
export class Refusals {
  readonly #counts = new Map<StreamPart, { readonly seq: Seq; readonly count: number }>();

  /** Counts one; true when it was the last that is put up with. `isDoubtful`: an earlier try may have been taken. */
  note(part: StreamPart, { firstSeq, lastSeq }: Batch, isDoubtful: boolean): boolean {
    const known = this.#counts.get(part);
    const count = known?.seq === firstSeq ? known.count + 1 : 1;
    const isLast = count >= (firstSeq < lastSeq && !isDoubtful ? batchRefusalsMax : refusalsMax);
    if (isLast) this.#counts.delete(part);
    else this.#counts.set(part, { seq: firstSeq, count });
    return isLast;
  }
}

/**
 * The CSE refuses the record for what it is: sending it again is of little use. 5207 may as well say that the CSE is full, so
 * only a batch, which may be too large, is refused by it.
 */
export function isContentRefused(error: CseFailure, { firstSeq, lastSeq }: Batch): boolean {
  const codes: number[] = [
    ResponseStatusCode.badRequest,
    ResponseStatusCode.contentsUnacceptable,
    ResponseStatusCode.unsupportedMediaType,
    ...(firstSeq < lastSeq ? [ResponseStatusCode.notAcceptable] : []),
  ];
  return error.kind === 'rejected' && codes.includes(error.responseStatusCode);
}
