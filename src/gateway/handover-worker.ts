import { LinkedAbort } from '../base/linked-abort.ts';
import { epoch as toEpoch, millis } from '../base/units.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { BundleContext } from '../handover/context.ts';
import type { HandoverWorker, WorkContext, WorkOutcome } from '../handover/runner.ts';
import type { ServingRecord } from '../handover/serving-record.ts';
import { claimedIn, isRenewal, leftBehind, servingAfter, writtenEpoch } from '../handover/handover-state.ts';
import type { CseReference, Transaction } from '../handover/handover-state.ts';
import type { Downlink } from '../downlink/downlink.ts';
import { echoName } from '../downlink/catch-up.ts';
import type { CallOptions, CseClient } from '../onem2m/cse-client.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import { containerName } from '../uplink/destination.ts';
import type { Destination } from '../uplink/destination.ts';
import type { Moved, MovedPart } from '../uplink/lane-options.ts';
import type { Uplink } from '../uplink/uplink.ts';
import type { Millis, StreamName } from '../base/units.ts';
import type { ContextDesk } from './context-desk.ts';
import type { OwedWork } from './owed-work.ts';
import type { WayDown } from './way-down.ts';

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
  /** Name of the link, and the point of access at which a CSE reaches the gateway by it. */
  readonly link: { readonly name: string; readonly pointOfAccessFor: (cse: CseReference) => string };
  /** A CSE is left for good; nobody waits for it. */
  readonly leave: (cse: CseReference) => void;
  readonly aes: Readonly<Record<string, string>>;
  readonly graceMs: Millis;
  /** What the target should hold or tell could not all be settled in the handover: to be done once it is over. */
  readonly refreshLater: () => void;
  /** What a move takes along beside the manifest; nothing waits for it. */
  readonly desk?: Pick<ContextDesk, 'lookAtSource' | 'begin'>;
  /** Which CSEs notify; where commands are fetched, a target need not prove the way down by a notification. */
  readonly wayDown: Pick<WayDown, 'pollingOf' | 'noteAnswer' | 'noteEcho'>;
}

/** The phases of a handover as requests to CSEs and orders to uplink and downlink. */
export function createHandoverWorker(options: HandoverWorkerOptions): HandoverWorker {
  const { context, record, uplink, owed, clientFor, link, graceMs } = options;
  return {
    prepare: (transaction, work) => {
      options.desk?.lookAtSource(transaction);
      return context.prepare(
        clientFor(transaction.target),
        transaction.target,
        {
          epoch: transaction.epoch,
          state: 'prepared',
          pointOfAccess: link.pointOfAccessFor(transaction.target),
        },
        callOptions(work),
      );
    },

    verify: (transaction, work) => verify(options, transaction, work),

    claim: async (transaction, work) => {
      // In the order of their epochs, so that the newest entry of the record tells the highest.
      await owed.settleLedgers(work.signal);
      const claimed = {
        epoch: transaction.epoch,
        nonce: transaction.nonce,
        cse: transaction.target,
        link: link.name,
        aes: options.aes,
        previousEpoch: toEpoch(transaction.epoch - 1),
        unixMs: options.clock.unixMs(),
      };
      return record.claim(claimed, transaction.strays, callOptions(work));
    },

    switch: async (transaction, work) => {
      const serving = servingAfter(transaction);
      const destination = options.destinationFor(serving.cse, writtenEpoch(serving));
      const moves = await uplink.switchTo(destination, {
        deadlineMs: work.deadlineMs,
        sourceLost: transaction.trigger === 'servingLost',
      });
      // Once the switch is journaled as done, a restart no longer asks the source what it holds.
      if (!(await options.syncLog())) {
        return { kind: 'failed', reason: 'the disk refuses to keep what is delivered' };
      }
      return { kind: 'succeeded', ...outcomeOf(moves) };
    },

    catchUp: (transaction, work) => catchUp(options, transaction, work),

    release: (transaction, work) => release(options, transaction, work),

    undo: async (transaction, work) => {
      const { source, target, epoch } = transaction;
      const claimed = claimedIn(source);
      if (source !== undefined && claimed?.cseId === target.cseId) {
        // The record names it: it is left as it was before.
        const mark = { epoch: source.epoch, state: 'serving' as const };
        return context.label(clientFor(target), target, mark, callOptions(work));
      }
      // An AE from an earlier stay may hold commands that could not be fetched then.
      const lastLook = (): Promise<WorkOutcome> => fetchCommands(options, target, work);
      const leaving = { epoch, graceMs, lastLook };
      const undone = await context.release(clientFor(target), target, leaving, callOptions(work));
      if (undone.kind === 'succeeded') options.leave(target);
      return undone;
    },
  };
}

/** Leaves the source, and what a restart left half prepared. */
async function release(
  options: HandoverWorkerOptions,
  transaction: Transaction,
  work: WorkContext,
): Promise<WorkOutcome> {
  const { context, clientFor, graceMs } = options;
  const { source, target } = transaction;
  const outcomes: WorkOutcome[] = [];
  for (const { cse, epoch } of leftBehind(transaction)) {
    if (cse.cseId === target.cseId) continue;
    // What came between the look before and the end of the subscription is still there.
    const lastLook = (): Promise<WorkOutcome> =>
      cse === source?.cse ? catchUpSource(options, transaction, work) : fetchCommands(options, cse, work);
    const isRelinked = (): Promise<boolean> => waitForAnnouncement(options, target, work);
    const leaving = { epoch, graceMs, lastLook, isRelinked };
    const released = await context.release(clientFor(cse), cse, leaving, callOptions(work));
    if (released.kind === 'succeeded') options.leave(cse);
    outcomes.push(released);
  }
  return outcomes.find(({ kind }) => kind !== 'succeeded') ?? { kind: 'succeeded' };
}

const announcementMs = { first: millis(50), most: millis(500) };

/** Waits, within the deadline of the phase, until what serves is announced: the CSE makes the copies after it has answered. */
async function waitForAnnouncement(
  { clock, context, clientFor }: HandoverWorkerOptions,
  target: CseReference,
  work: WorkContext,
): Promise<boolean> {
  const endMs = clock.monotonicMs() + work.deadlineMs / 2;
  for (let waitMs = announcementMs.first; ; waitMs = millis(Math.min(2 * waitMs, announcementMs.most))) {
    if (await context.isAnnounced(clientFor(target), target, callOptions(work))) return true;
    if (work.signal.aborted || clock.monotonicMs() + waitMs > endMs) return false;
    await sleep(clock, waitMs, work.signal).catch(() => undefined);
  }
}

/** Writes down where each stream begins, says at the target that it serves, fetches what the source could not deliver. */
async function catchUp(
  options: HandoverWorkerOptions,
  transaction: Transaction,
  work: WorkContext,
): Promise<WorkOutcome> {
  const { context, owed, clientFor } = options;
  const { epoch, target, firstSeqs = {}, isProvisional = false } = transaction;
  options.desk?.begin(transaction);
  // An epoch that is not claimed has no ledger.
  if (!isProvisional) await owed.add({ kind: 'ledger', epoch, firstSeqs });
  // The target may hold commands from an earlier stay that were sent there after we had left.
  const waiting = { cseId: target.cseId, container: context.commandAddress(target) };
  const [, label, commands, found] = await Promise.all([
    owed.settleLedgers(work.signal),
    context.label(
      clientFor(target),
      target,
      { epoch, state: isProvisional ? 'provisional' : 'serving' },
      callOptions(work),
    ),
    catchUpSource(options, transaction, work),
    options.downlink.catchUp(clientFor(target), waiting, callOptions(work)),
  ]);
  if (label.kind !== 'succeeded' || !found.ok) options.refreshLater();
  if (label.kind !== 'succeeded') return label;
  return found.ok ? commands : { kind: 'failed', reason: found.error.message };
}

async function catchUpSource(
  options: HandoverWorkerOptions,
  transaction: Transaction,
  work: WorkContext,
): Promise<WorkOutcome> {
  const { source, isProvisional } = transaction;
  // Provisionally, the source stays as it is: its notifications still arrive.
  if (source === undefined || isProvisional || isRenewal(transaction)) return { kind: 'succeeded' };
  const fetched = await fetchCommands(options, source.cse, work);
  // Its last commands are fetched when it answers again.
  if (fetched.kind !== 'succeeded') {
    await options.owed.add({ kind: 'orphan', cse: source.cse, epoch: source.epoch });
  }
  return fetched;
}

/** Takes the commands that wait at a CSE where we may have no AE any more. */
export async function fetchCommands(
  { context, downlink, clientFor }: HandoverWorkerOptions,
  cse: CseReference,
  work: WorkContext,
): Promise<WorkOutcome> {
  const source = { cseId: cse.cseId, container: context.commandAddress(cse) };
  const caught = await downlink.catchUp(clientFor(cse), source, callOptions(work));
  if (caught.ok || isRejectedWith(caught.error, ResponseStatusCode.notFound)) return { kind: 'succeeded' };
  return { kind: 'failed', reason: caught.error.message };
}

/** Proves at a target that does not notify that what is put into the command container can be fetched from there. */
async function readBack(
  { clientFor, context }: HandoverWorkerOptions,
  { target }: Transaction,
  nonce: string,
  work: WorkContext,
): Promise<WorkOutcome> {
  const address = `${context.commandAddress(target)}/${echoName(nonce)}`;
  const read = await clientFor(target).retrieve(address, callOptions(work));
  return read.ok ? { kind: 'succeeded' } : { kind: 'failed', reason: read.error.message };
}

const doubtMs = 1_000;

/** Proves both ways at the target by one instance: its creation the way up, its notification the way down. */
async function verify(
  options: HandoverWorkerOptions,
  transaction: Transaction,
  work: WorkContext,
): Promise<WorkOutcome> {
  const nonce = randomHex(options.entropy, 6);
  const { target } = transaction;
  const giveUp = new LinkedAbort(work.signal);
  // Before the deadline of the phase, so that the outcome says what was missing.
  let cancel = options.clock.schedule(millis(0.9 * work.deadlineMs), () => giveUp.abort());
  const echo = options.downlink.awaitEcho(nonce, giveUp.signal).then(
    () => true,
    () => false,
  );
  try {
    const written = await options
      .clientFor(target)
      .create(
        options.context.commandAddress(target),
        ResourceType.contentInstance,
        { contentInstance: { resourceName: echoName(nonce), content: { echo: nonce } } },
        { ...callOptions(work), resultContent: ResultContent.nothing },
      );
    if (!written.ok) return { kind: 'failed', reason: written.error.message };
    const { wayDown } = options;
    wayDown.noteAnswer(target, written.value);
    const polling = wayDown.pollingOf(target);
    if (polling?.isSure === true) return await readBack(options, transaction, nonce, work);
    // A product that is known not to notify is given a short time to do it all the same.
    if (polling !== undefined) {
      cancel();
      cancel = options.clock.schedule(millis(Math.min(doubtMs, work.deadlineMs / 4)), () => giveUp.abort());
    }
    const hasCome = await echo;
    if (hasCome) wayDown.noteEcho(target, true);
    if (hasCome) return { kind: 'succeeded' };
    if (polling !== undefined && !work.signal.aborted) {
      const read = await readBack(options, transaction, nonce, work);
      if (read.kind === 'succeeded') wayDown.noteEcho(target, false);
      return read;
    }
    return {
      kind: 'failed',
      reason: `${target.cseId} stores our data but its notifications do not reach ${options.link.pointOfAccessFor(target)}`,
    };
  } finally {
    cancel();
    giveUp.abort();
  }
}

function outcomeOf(moves: ReadonlyMap<StreamName, Moved>): {
  firstSeqs: Record<string, number>;
  inDoubt: Record<string, number>;
} {
  const firstSeqs: Record<string, number> = {};
  const inDoubt: Record<string, number> = {};
  const note = (container: string, { firstSeq, inDoubtThrough }: MovedPart): void => {
    firstSeqs[container] = firstSeq;
    if (inDoubtThrough !== undefined) inDoubt[container] = inDoubtThrough;
  };
  for (const [stream, moved] of moves) {
    note(containerName(stream, 'live'), moved);
    if (moved.backlog !== undefined) note(containerName(stream, 'backlog'), moved.backlog);
  }
  return { firstSeqs, inDoubt };
}

function callOptions(work: WorkContext): CallOptions {
  return { deadlineMs: work.deadlineMs, signal: work.signal };
}
