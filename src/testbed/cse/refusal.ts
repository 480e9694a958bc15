import { BatonError } from '../../base/errors.ts';
import { ResponseStatusCode } from '../../onem2m/enums.ts';

/** A request that the testbed CSE answers with an error response; the message becomes its `debugInfo`. */
export class CseRefusal extends BatonError {
  readonly code = 'CSE_REFUSAL';
  readonly responseStatusCode: number;

  constructor(responseStatusCode: number, message: string) {
    super(message);
    this.responseStatusCode = responseStatusCode;
  }
}

/** Ends the request under way with `responseStatusCode` and a debug text. */
export function refuse(responseStatusCode: number, message: string): never {
  throw new CseRefusal(responseStatusCode, message);
}

/** 4000 BAD_REQUEST. */
export function badRequest(message: string): never {
  return refuse(ResponseStatusCode.badRequest, message);
}

/** 4103 ORIGINATOR_HAS_NO_PRIVILEGE. */
export function noPrivilege(message: string): never {
  return refuse(ResponseStatusCode.originatorHasNoPrivilege, message);
}

/** 4004 NOT_FOUND. */
export function notFound(message: string): never {
  return refuse(ResponseStatusCode.notFound, message);
}
