import { errorText } from '../base/errors.ts';
import { DurableState } from '../buffer/durable-state.ts';
import { Journal } from '../buffer/journal.ts';
import { PatientReads } from '../buffer/patient-reads.ts';
import { decodeCommandMark } from '../downlink/command-ledger.ts';
import type { CommandMark } from '../downlink/command-ledger.ts';
import { decodeHandoverState } from '../handover/handover-state-codec.ts';
import type { HandoverJournal } from '../handover/runner.ts';
import type { HandoverState } from '../handover/handover-state.ts';
import { transactionOf } from '../handover/handover-state.ts';
import type { Filesystem } from '../host/filesystem.ts';
import type { Host } from '../host/host.ts';
import { decodeCapabilityMemory, encodeCapabilityMemory } from '../onem2m/capabilities.ts';
import { decodeContextMemory } from './context-desk.ts';
import type { ContextMemory } from './context-desk.ts';
import { decodeOwedTasks } from './owed-work.ts';
import type { OwedTask } from './owed-work.ts';
import { decodeTriggerMemory } from './trigger-desk.ts';
import type { TriggerMemory } from './trigger-desk.ts';
import { decodeWearState } from './wear-account.ts';
import type { WearState } from './wear-account.ts';

/** Where the small durable things of a gateway live, and who hears of damage. */
interface StoreOptions {
  readonly host: Host;
  readonly directory: string;
  readonly onDamage: (message: string) => void;
}

const entriesKept = 64;

/** The journal of the handover transaction: each state an entry, the newest counts. */
export async function openHandoverJournal(
  options: StoreOptions,
): Promise<HandoverJournal & { close(): Promise<void> }> {
  const { host, directory, onDamage } = options;
  const journal = await Journal.open<HandoverState>({
    filesystem: patiently(host),
    entropy: host.entropy,
    directory,
    name: 'handover',
    decode: decodeHandoverState,
    onDamage,
  });
  return {
    load: () => Promise.resolve(journal.entries().at(-1)),
    save: async (state) => {
      await journal.append(state);
      // Compacting takes two more flushes, so it waits for a moment when no transaction is under way.
      if (journal.entries().length > entriesKept && transactionOf(state) === undefined) {
        const newest = journal.entries().at(-1);
        // The state is durable; what a full disk refuses now is made up for at the next idle state.
        await journal
          .compact((entry) => entry === newest)
          .catch((error: unknown) => onDamage(`handover journal is not compacted: ${errorText(error)}`));
      }
    },
    close: () => journal.close(),
  };
}

/** The memory of commands. */
export function openCommandMemory(options: StoreOptions): Promise<Journal<CommandMark>> {
  const { host, directory, onDamage } = options;
  return Journal.open<CommandMark>({
    filesystem: patiently(host),
    entropy: host.entropy,
    directory,
    name: 'commands',
    decode: decodeCommandMark,
    onDamage,
  });
}

/** The list of owed work. */
export function openOwedStore(options: StoreOptions): DurableState<readonly OwedTask[]> {
  return openState(options, 'owed', decodeOwedTasks);
}

/** What is remembered of triggers. */
export function openTriggerStore(options: StoreOptions): DurableState<TriggerMemory> {
  const { host, directory, onDamage } = options;
  return new DurableState<TriggerMemory>({
    filesystem: host.filesystem,
    directory,
    name: 'triggers',
    version: 1,
    decode: decodeTriggerMemory,
    onDamage,
  });
}

/** The account of what is written to flash. */
export function openWearStore(options: StoreOptions): DurableState<WearState> {
  return openState(options, 'wear', decodeWearState);
}

/** What was found of CSEs. */
export function openCapabilityStore(options: StoreOptions): DurableState<unknown> {
  const decode = (value: unknown): unknown => encodeCapabilityMemory(decodeCapabilityMemory(value));
  return openState(options, 'capabilities', decode);
}

/** What was seen of the context at CSEs, and what is still to be taken along. */
export function openContextStore(options: StoreOptions): DurableState<ContextMemory> {
  return openState(options, 'context', decodeContextMemory);
}

function patiently({ filesystem, clock }: Host): Filesystem {
  return new PatientReads(clock).filesystem(filesystem);
}

function openState<T>(options: StoreOptions, name: string, decode: (value: unknown) => T): DurableState<T> {
  const { host, directory, onDamage } = options;
  const filesystem = patiently(host);
  return new DurableState<T>({ filesystem, directory, name, version: 1, decode, onDamage });
}
