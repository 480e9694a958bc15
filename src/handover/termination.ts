/**
 * The end of a gateway's registration, as opposed to a move (G1). Three things say so: the serving record ends with an entry
 * that is marked `end`, the home AE is labelled `baton:state=terminated`, and the AEs are deleted (their announcements go with
 * them) instead of being marked as moved.
 *
 * The entry is made first: by it a gateway that still runs learns that it is over, and fences itself. Everything can be
 * repeated until all CSEs were reached.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { epoch as toEpoch } from '../base/units.ts';
import type { Epoch, UnixMillis } from '../base/units.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import type { BundleManifest } from './bundle-manifest.ts';
import { terminatedLabels } from './home-ae.ts';
import type { HomeAe } from './home-ae.ts';
import type { CseReference } from './handover-state.ts';
import { ServingRecord } from './serving-record.ts';
import type { ServingEntry } from './serving-record.ts';

/** What ends a registration works with. */
export interface TerminationOptions {
  readonly home: HomeAe;
  /** Acts as the home AE at the IN-CSE. */
  readonly homeClient: CseClient;
  readonly bundle: BundleManifest;
  readonly clientFor: (cse: CseReference) => CseClient;
  /** CSEs that may hold the bundle, beside the one that serves. */
  readonly others: readonly CseReference[];
  readonly nonce: string;
  readonly nowMs: UnixMillis;
}

/** What was done. */
export interface TerminationReport {
  /** Epoch of the entry that ends the record; absent when the gateway never registered. */
  readonly epoch?: Epoch;
  /** CSEs at which AEs were deleted. */
  readonly deleted: readonly string[];
  /** CSEs at which that could not be done, with the reason. */
  readonly left: readonly { readonly cseId: string; readonly reason: string }[];
}

/** Ends the registration of a gateway; the error is that of the IN-CSE, by which nothing is over yet. */
export async function terminate(
  options: TerminationOptions,
  limits: CallOptions = {},
): Promise<Result<TerminationReport, CseFailure>> {
  const { home, homeClient, others } = options;
  const closed = await closeRecord(options, limits);
  if (!closed.ok) return closed;
  const labelled = await homeClient.update(
    home.address,
    { ae: { labels: [...terminatedLabels], requestReachability: false } },
    limits,
  );
  if (!labelled.ok) return labelled;
  const entry = closed.value;
  const all = new Map(
    [...(entry === undefined ? [] : [entry.cse]), ...others].map((cse) => [cse.cseId, cse]),
  );
  const outcomes = await Promise.all([...all.values()].map((cse) => deleteAt(cse, options, limits)));
  return ok({
    ...(entry === undefined ? {} : { epoch: entry.epoch }),
    deleted: outcomes.flatMap(({ cseId, isDeleted }) => (isDeleted ? [cseId] : [])),
    left: outcomes.flatMap(({ cseId, reason }) => (reason === undefined ? [] : [{ cseId, reason }])),
  });
}

/** The entry that ends the record, made unless it is there; undefined when there is nothing to end. */
async function closeRecord(
  { home, homeClient, nonce, nowMs }: TerminationOptions,
  limits: CallOptions,
): Promise<Result<ServingEntry | undefined, CseFailure>> {
  const container = `${home.address}/serving`;
  const record = new ServingRecord(homeClient, container);
  const latest = await record.latestEpoch(limits);
  if (!latest.ok) return latest;
  if (latest.value === 0) return ok(undefined);
  const read = await record.entry(latest.value, limits);
  if (!read.ok) return read;
  const held = read.value;
  if (held === undefined) return err({ kind: 'malformed', message: `${container}/e${latest.value} is gone` });
  if (held.isTerminated) return ok(held);
  const entry: ServingEntry = {
    ...held,
    epoch: toEpoch(latest.value + 1),
    nonce,
    previousEpoch: latest.value,
    unixMs: nowMs,
    isTerminated: true,
  };
  const claimed = await record.claim(entry, [], limits);
  if (claimed.kind === 'succeeded') return ok(entry);
  const reason = 'reason' in claimed ? claimed.reason : claimed.kind;
  return err({ kind: 'malformed', message: `the record cannot be ended: ${reason}; try again` });
}

async function deleteAt(
  cse: CseReference,
  { bundle, clientFor }: TerminationOptions,
  limits: CallOptions,
): Promise<{ cseId: string; isDeleted: boolean; reason?: string }> {
  const client = clientFor(cse);
  const deleted = await Promise.all(
    bundle.aes.map(({ name, aeId }) =>
      client.delete(`${cse.cseBaseName}/${name}`, { ...limits, from: aeId }),
    ),
  );
  const failed = deleted.find(
    (outcome) => !outcome.ok && !isRejectedWith(outcome.error, ResponseStatusCode.notFound),
  );
  return {
    cseId: cse.cseId,
    isDeleted: deleted.some(({ ok: isDone }) => isDone),
    ...(failed === undefined || failed.ok ? {} : { reason: failed.error.message }),
  };
}
