import { errorText } from '../base/errors.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { BundleContext } from '../handover/context.ts';
import { commandContainer } from '../handover/context.ts';
import type { HandoverWorker, WorkContext, WorkOutcome } from '../handover/runner.ts';
import type { ServingRecord } from '../handover/serving-record.ts';
import type { CseReference, Transaction } from '../handover/transition.ts';
import type { Downlink } from '../downlink/downlink.ts';
import { echoName } from '../downlink/downlink.ts';
import type { CallOptions, CseClient } from '../onem2m/cse-client.ts';
import { ResourceType, ResultContent } from '../onem2m/enums.ts';
import type { Destination } from '../uplink/destination.ts';
import type { Uplink } from '../uplink/uplink.ts';
import type { Millis } from '../base/units.ts';
import type { OwedWork } from './owed-work.ts';

/** What the work of a handover acts through. */
export interface HandoverWorkerOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly context: BundleContext;
  readonly record: ServingRecord;
  readonly uplink: Uplink;
  readonly downlink: Downlink;
  readonly owed: OwedWork;
  /** Makes the acknowledgements of the log durable. */
  readonly syncLog: () => Promise<boolean>;
  readonly clientFor: (cse: CseReference) => CseClient;
  readonly destinationFor: (cse: CseReference, epoch: Destination['epoch']) => Destination;
  /** Name of the link and the point of access it gives the gateway. */
  readonly link: { readonly name: string; readonly pointOfAccess: string };
  readonly aes: Readonly<Record<string, string>>;
  readonly graceMs: Millis;
}

/** The phases of a handover as requests to CSEs and orders to uplink and downlink. */
export function createHandoverWorker(options: HandoverWorkerOptions): HandoverWorker {
  const { context, record, uplink, downlink, owed, clientFor, link, graceMs } = options;
  return {
    prepare: (transaction, work) =>
      context.ensure(
        clientFor(transaction.target),
        transaction.target,
        { epoch: transaction.epoch, state: 'prepared', pointOfAccess: link.pointOfAccess },
        callOptions(work),
      ),

    verify: (transaction, work) => verify(options, transaction, work),

    claim: (transaction, work) =>
      record.claim(
        {
          epoch: transaction.epoch,
          nonce: transaction.nonce,
          cse: transaction.target,
          link: link.name,
          aes: options.aes,
          previousEpoch: transaction.source?.epoch ?? toEpoch(0),
          unixMs: options.clock.unixMs(),
        },
        callOptions(work),
      ),

    switch: async (transaction, work) => {
      const destination = options.destinationFor(transaction.target, transaction.epoch);
      const firstSeqs = await uplink.switchTo(destination, {
        deadlineMs: work.deadlineMs,
        sourceLost: transaction.trigger === 'servingLost',
      });
      // Once the switch is journaled as done, a restart no longer asks the source what it holds.
      await options.syncLog();
      return { kind: 'succeeded', firstSeqs: Object.fromEntries(firstSeqs) };
    },

    catchUp: async (transaction, work) => {
      await owed.add({ kind: 'ledger', epoch: transaction.epoch, firstSeqs: transaction.firstSeqs ?? {} });
      const labelled = context.label(
        clientFor(transaction.target),
        transaction.target,
        { epoch: transaction.epoch, state: 'serving' },
        callOptions(work),
      );
      const [, label, commands] = await Promise.all([
        owed.settleLedgers(work.signal),
        labelled,
        catchUpSource(),
      ]);
      return label.kind === 'succeeded' ? commands : label;

      async function catchUpSource(): Promise<WorkOutcome> {
        const { source } = transaction;
        if (source === undefined) return { kind: 'succeeded' };
        const container = `${context.aeAddress(source.cse)}/${commandContainer}`;
        const caught = await downlink.catchUp(clientFor(source.cse), container, callOptions(work));
        return caught.ok ? { kind: 'succeeded' } : { kind: 'failed', reason: caught.error.message };
      }
    },

    release: async (transaction, work) => {
      const { source } = transaction;
      if (source === undefined) return { kind: 'succeeded' };
      const mark = { epoch: source.epoch, graceMs };
      return context.release(clientFor(source.cse), source.cse, mark, callOptions(work));
    },

    undo: (transaction, work) => {
      const { target, epoch } = transaction;
      return context.undo(clientFor(target), target, { epoch, graceMs }, callOptions(work));
    },
  };
}

/** Proves both ways at the target by one instance: its creation the way up, its notification the way down. */
async function verify(
  options: HandoverWorkerOptions,
  transaction: Transaction,
  work: WorkContext,
): Promise<WorkOutcome> {
  const nonce = randomHex(options.entropy, 6);
  const { target } = transaction;
  const echo = options.downlink.awaitEcho(nonce, work.signal);
  const written = options
    .clientFor(target)
    .create(
      `${options.context.aeAddress(target)}/${commandContainer}`,
      ResourceType.contentInstance,
      { contentInstance: { resourceName: echoName(nonce), content: { echo: nonce } } },
      { ...callOptions(work), resultContent: ResultContent.nothing },
    );
  const [creation, arrival] = await Promise.allSettled([written, echo]);
  if (creation.status === 'rejected') return { kind: 'failed', reason: errorText(creation.reason) };
  if (!creation.value.ok) return { kind: 'failed', reason: creation.value.error.message };
  if (arrival.status === 'rejected') {
    return {
      kind: 'failed',
      reason: `${target.cseId} stores our data but its notifications do not reach ${options.link.pointOfAccess}`,
    };
  }
  return { kind: 'succeeded' };
}

function callOptions(work: WorkContext): CallOptions {
  return { deadlineMs: work.deadlineMs, signal: work.signal };
}
