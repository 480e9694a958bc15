/** Journaled states of the handover transaction from their stored form. A state that is not whole is refused as a whole. */
import { DecodeError } from '../base/errors.ts';
import { cseId as toCseId, epoch as toEpoch } from '../base/units.ts';
import type { Epoch } from '../base/units.ts';
import type { CseReference, HandoverState, HandoverTrigger, Serving, Transaction } from './handover-state.ts';

const triggers: readonly string[] = [
  'initial',
  'a3',
  'servingLost',
  'operator',
  'restarted',
  'corrected',
  'network',
  'edge',
  'orchestrator',
] satisfies readonly HandoverTrigger[];

/** A journaled state from its stored form; throws `DecodeError` when it is none. */
export function decodeHandoverState(value: unknown): HandoverState {
  const state = fieldsOf(value, 'state');
  const { kind } = state;
  switch (kind) {
    case 'detached':
      return { kind, lastEpoch: decodeEpoch(state.lastEpoch), ...decodeStrays(state.strays) };
    case 'fenced':
      return { kind, lastEpoch: decodeEpoch(state.lastEpoch), reason: textOf(state.reason, 'reason') };
    case 'serving':
      return { kind, serving: decodeServing(state.serving), ...decodeStrays(state.strays) };
    case 'preparing':
    case 'prepared':
    case 'claiming':
    case 'switching':
    case 'catchingUp':
    case 'provisional':
    case 'releasing':
      return { kind, transaction: decodeTransaction(state.transaction) };
    case 'rollingBack': {
      const transaction = decodeTransaction(state.transaction);
      return { kind, transaction, reason: textOf(state.reason, 'reason') };
    }
    default:
      throw new DecodeError(`the handover journal holds no known state (kind ${JSON.stringify(kind)})`);
  }
}

/** A CSE from its stored form; throws `DecodeError` when it is none. */
export function decodeCseReference(value: unknown): CseReference {
  const fields = fieldsOf(value, 'CSE');
  return {
    cseId: toCseId(textOf(fields.cseId, 'cseId')),
    cseBaseName: textOf(fields.cseBaseName, 'cseBaseName'),
    pointOfAccess: textOf(fields.pointOfAccess, 'pointOfAccess'),
  };
}

/** An epoch from its stored form; throws `DecodeError` when it is none. */
export function decodeEpoch(value: unknown): Epoch {
  if (!isEpoch(value)) throw new DecodeError(`${JSON.stringify(value)} is no epoch`);
  return toEpoch(value);
}

/** A number that can be an epoch and still be counted on from. */
export function isEpoch(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < epochLimit;
}

/** Sequence numbers by stream from their stored form; throws `DecodeError` when it is none. */
export function decodeSeqs(value: unknown): Readonly<Record<string, number>> {
  const fields = fieldsOf(value, 'list of sequence numbers');
  for (const [stream, seq] of Object.entries(fields)) {
    if (!Number.isSafeInteger(seq)) throw new DecodeError(`${stream}: ${JSON.stringify(seq)} is no number`);
  }
  return fields as Record<string, number>;
}

const epochLimit = 2 ** 48;

function decodeServing(value: unknown): Serving {
  const { cse, epoch, claimed, inDoubt, ...flags } = fieldsOf(value, 'serving CSE');
  return {
    cse: decodeCseReference(cse),
    epoch: decodeEpoch(epoch),
    ...decodeFlag(flags, 'isProvisional'),
    ...(claimed === undefined ? {} : { claimed: decodeCseReference(claimed) }),
    ...(inDoubt === undefined ? {} : { inDoubt: decodeSeqs(inDoubt) }),
  };
}

function decodeTransaction(value: unknown): Transaction {
  const fields = fieldsOf(value, 'transaction');
  const { trigger, source, alternatives, abandoned, firstSeqs, inDoubt } = fields;
  if (typeof trigger !== 'string' || !triggers.includes(trigger)) {
    throw new DecodeError(`${JSON.stringify(trigger)} is no trigger of a handover`);
  }
  if (!Array.isArray(alternatives)) throw new DecodeError('the transaction holds no list of alternatives');
  return {
    epoch: decodeEpoch(fields.epoch),
    nonce: textOf(fields.nonce, 'nonce'),
    ...decodeStrays(fields.strays),
    trigger: trigger as HandoverTrigger,
    target: decodeCseReference(fields.target),
    alternatives: alternatives.map(decodeCseReference),
    ...(source === undefined ? {} : { source: decodeServing(source) }),
    ...(abandoned === undefined ? {} : { abandoned: decodeCseReference(abandoned) }),
    ...decodeFlag(fields, 'isResumed'),
    ...decodeFlag(fields, 'isBound'),
    ...decodeFlag(fields, 'isProvisional'),
    ...(firstSeqs === undefined ? {} : { firstSeqs: decodeSeqs(firstSeqs) }),
    ...(inDoubt === undefined ? {} : { inDoubt: decodeSeqs(inDoubt) }),
  };
}

function decodeStrays(value: unknown): { strays?: readonly string[] } {
  if (value === undefined) return {};
  if (!Array.isArray(value)) throw new DecodeError(`${JSON.stringify(value)} is no list of nonces`);
  return { strays: value.map((nonce: unknown) => textOf(nonce, 'nonce')) };
}

function decodeFlag<Name extends string>(
  fields: Record<string, unknown>,
  name: Name,
): { [Key in Name]?: true } {
  const value = fields[name];
  if (value === undefined) return {};
  if (value !== true) throw new DecodeError(`${name} ${JSON.stringify(value)} is not true`);
  return { [name]: true } as { [Key in Name]?: true };
}

function fieldsOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DecodeError(`${JSON.stringify(value)} is no ${what}`);
  }
  return value as Record<string, unknown>;
}

function textOf(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new DecodeError(`${name} ${JSON.stringify(value)} is no text`);
  return value;
}
