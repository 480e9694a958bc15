import type { StreamName } from '../base/units.ts';
import { FileError } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { createDurableDirectory } from './durable-directory.ts';
import type { Identities } from './identities.ts';
import { LogAccounts } from './log-accounts.ts';
import { checkBootId, checkLimits, checkStreams, slotBytesFor } from './log-options.ts';
import type { LogLimits, ReadingLogOptions, StreamOptions } from './log-options.ts';
import { continuable } from './open-slots.ts';
import { recoverLog } from './recovery.ts';
import type { Predecessor } from './recovery.ts';
import type { Slot } from './slot.ts';
import { SlotPool } from './slot-pool.ts';
import { WearLedger } from './wear-ledger.ts';

/** An opened log, before it is joined. */
export interface LogParts {
  readonly identities: Identities;
  readonly bootId: string | undefined;
  readonly limits: Required<LogLimits>;
  readonly streams: Map<StreamName, StreamOptions>;
  readonly accounts: LogAccounts;
  readonly pool: SlotPool;
  readonly wear: WearLedger;
  /** Slots that this run continues, by priority. */
  readonly open: ReadonlyMap<number, Slot>;
}

/**
 * Opens what a log consists of, in the place of one that has vanished if there is a `predecessor`. Throws `ConfigError`
 * for options that cannot work, and `FileError` when the disk refuses.
 */
export async function openParts(options: ReadingLogOptions, predecessor?: Predecessor): Promise<LogParts> {
  const limits = checkLimits(options.limits ?? {});
  const streams = checkStreams(options.streams);
  const bootId = checkBootId(options.bootId);
  const { filesystem, entropy, directory, clock } = options;
  const priorities = new Set([...streams.values()].map(({ priority }) => priority));
  const { quotaBytes } = limits;
  const found = await recoverLog({
    filesystem,
    clock,
    directory,
    entropy,
    streams: new Set(streams.keys()),
    priorities,
    slotBytes: slotBytesFor(limits, priorities.size),
    quotaBytes,
    bootId,
    ...(predecessor === undefined ? {} : { predecessor }),
  });
  const { identities, places } = found;
  const open = continuable(found.open, places.slots, streams);
  const wear = new WearLedger(found.wear);
  const onShortage = (message: string): void => options.onDamage?.({ kind: 'space', count: 0, message });
  const pool = new SlotPool(places, { clock, entropy, identities, wear, quotaBytes, onShortage });
  const accounts = new LogAccounts(found, pool, wear, clock, streams, options.onDamage);
  for (const damage of found.damage) options.onDamage?.(damage);
  // One for each priority and one to roll over into; a run that goes on has had these.
  const isNew = open.size === 0;
  await pool.prepare(priorities.size - open.size + (isNew ? 1 : 0));
  await accounts.begin();
  pool.startFilling();
  return { identities, bootId, limits, streams, accounts, pool, wear, open };
}

/**
 * Makes room for a fresh log where one has vanished: what is left of its cursor goes. Throws `FileError` when the
 * directory cannot be made, or somebody else's container lies there: that one may hold readings.
 */
export async function clearPlace(filesystem: Filesystem, directory: string): Promise<void> {
  await createDurableDirectory(filesystem, directory);
  const names = await filesystem.list(directory);
  if (names.includes('slots')) {
    const cause = Object.assign(new Error('another container lies there; restart to use it'), {
      code: 'EEXIST',
    });
    throw new FileError('begin a log in', directory, cause);
  }
  await filesystem.remove(`${directory}/cursor`);
}
