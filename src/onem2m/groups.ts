import { errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { rejectionOf } from './cse-client.ts';
import type { CallOptions, CseClient, CseFailure, Rejection, RequestCall } from './cse-client.ts';
import { ResourceType, isSuccess } from './enums.ts';
import type { ResponsePrimitive } from './primitives.ts';
import type { Group } from './resources.ts';
import { nestedResponse } from './serialisation.ts';

/** What a group is made of; its other attributes are the CSE's (TS-0001 9.6.13). */
export interface GroupCall extends Group {
  resourceName: string;
  memberIds: string[];
  maxNrOfMembers: number;
}

/** What a request to a group came to at one member. */
export interface MemberOutcome {
  /** The member as the CSE names it; absent where it does not. */
  readonly member?: string;
  readonly outcome: Result<ResponsePrimitive, Rejection>;
}

/** CREATE of a group below `to` (TS-0001 10.2.7.2); gives its address. A member nobody may read makes it fail with 5105. */
export async function createGroup(
  client: CseClient,
  to: string,
  group: GroupCall,
  options: CallOptions = {},
): Promise<Result<string, CseFailure>> {
  const made = await client.create(to, ResourceType.group, { group }, options);
  return made.ok ? ok(`${to}/${group.resourceName}`) : made;
}

/** UPDATE of the members of a group (TS-0001 10.2.7.8): the whole list, since a group has no way to add one. */
export async function updateMembers(
  client: CseClient,
  group: string,
  memberIds: readonly string[],
  options: CallOptions = {},
): Promise<Result<void, CseFailure>> {
  const updated = await client.update(group, { group: { memberIds: [...memberIds] } }, options);
  return updated.ok ? ok(undefined) : updated;
}

/**
 * One request to all members of a group by its fan-out point (TS-0001 10.2.7.6): an outcome for each member that answered,
 * in the order of the CSE. `below` is a path below each member, for example `la`.
 */
export async function fanOut(
  client: CseClient,
  group: string,
  call: Omit<RequestCall, 'to'> & { readonly below?: string },
  options: CallOptions = {},
): Promise<Result<MemberOutcome[], CseFailure>> {
  const { below, ...request } = call;
  const to = `${group}/fopt${below === undefined ? '' : `/${below}`}`;
  const answered = await client.request({ ...request, to }, options);
  if (!answered.ok) return answered;
  const responses = answered.value.primitiveContent?.aggregatedResponse?.response;
  if (!Array.isArray(responses)) {
    return err({
      kind: 'malformed',
      message: `${to} was answered without the answers of its members (m2m:agr)`,
    });
  }
  try {
    return ok(responses.map((each: unknown) => outcomeOf(to, nestedResponse(each))));
  } catch (error) {
    return err({ kind: 'malformed', message: `${to}: ${errorText(error)}` });
  }
}

function outcomeOf(to: string, response: ResponsePrimitive): MemberOutcome {
  const { from, responseStatusCode } = response;
  return {
    ...(from === undefined ? {} : { member: from }),
    outcome: isSuccess(responseStatusCode) ? ok(response) : err(rejectionOf(from ?? to, response)),
  };
}
