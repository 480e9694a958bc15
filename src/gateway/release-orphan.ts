import type { Epoch, Millis } from '../base/units.ts';
import type { Downlink } from '../downlink/downlink.ts';
import type { BundleContext } from '../handover/context.ts';
import type { CseReference, Serving } from '../handover/handover-state.ts';
import type { WorkOutcome } from '../handover/runner.ts';
import type { CseClient } from '../onem2m/cse-client.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';

/**
 * Leaves a CSE that could not be left in its handover: its last commands first, its announcements only once those of the CSE that
 * serves are there.
 */
export async function releaseOrphan(
  options: {
    readonly context: BundleContext;
    readonly downlink: Pick<Downlink, 'catchUp'>;
    readonly clientFor: (cse: CseReference) => CseClient;
    /** The CSE that serves now. */
    readonly serving: () => Serving | undefined;
    readonly graceMs: Millis;
    readonly leave: (cse: CseReference) => void;
  },
  orphan: { readonly cse: CseReference; readonly epoch: Epoch },
  signal: AbortSignal,
): Promise<WorkOutcome> {
  const { context, downlink, clientFor, serving, graceMs, leave } = options;
  const { cse, epoch } = orphan;
  const client = clientFor(cse);
  const source = { cseId: cse.cseId, container: context.commandAddress(cse) };
  const lastLook = async (): Promise<WorkOutcome> => {
    const caught = await downlink.catchUp(client, source, { signal });
    if (caught.ok || isRejectedWith(caught.error, ResponseStatusCode.notFound)) {
      return { kind: 'succeeded' };
    }
    return { kind: 'failed', reason: caught.error.message };
  };
  const isRelinked = async (): Promise<boolean> => {
    const target = serving()?.cse;
    return target !== undefined && (await context.isAnnounced(clientFor(target), target, { signal }));
  };
  const released = await context.release(client, cse, { epoch, graceMs, lastLook, isRelinked }, { signal });
  if (released.kind === 'succeeded') leave(cse);
  return released;
}
