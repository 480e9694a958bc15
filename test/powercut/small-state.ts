import { DecodeError } from '../../src/base/errors.ts';
import { bytes } from '../../src/base/units.ts';
import { DurableState } from '../../src/buffer/durable-state.ts';
import { openJournal } from '../../src/buffer/journal.ts';
import type { Journal } from '../../src/buffer/journal.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import type { Entropy } from '../../src/host/entropy.ts';
import type { Filesystem } from '../../src/host/filesystem.ts';
import { idOf, payloadOf } from './facts.ts';
import type { Fact, Witness } from './facts.ts';

/** A value or an entry of this test: `text` is the payload of its name in hexadecimal digits. */
interface Counted {
  readonly count: number;
  readonly text: string;
}

/** Value number `count`, of up to 12 KB. */
function countedAt(count: number): Counted {
  const size = (count * 2_654_435_761) % (count % 7 === 0 ? 6000 : 400);
  return { count, text: Buffer.from(payloadOf(`value#${count}:${size}`)).toString('hex') };
}

function decodeCounted(value: unknown): Counted {
  if (typeof value === 'object' && value !== null && 'count' in value && 'text' in value) {
    const { count, text } = value;
    if (typeof count === 'number' && typeof text === 'string') {
      if (!idOf(Buffer.from(text, 'hex')).startsWith(`value#${count}:`))
        throw new Error(`${count} has changed`);
      return { count, text };
    }
  }
  throw new DecodeError('not a value of this test');
}

function stateIn(filesystem: Filesystem, directory: string): DurableState<Counted> {
  return new DurableState({ filesystem, directory, name: 'serving', version: 1, decode: decodeCounted });
}

function journalIn(filesystem: Filesystem, directory: string): Promise<Journal<Counted>> {
  return openJournal({
    filesystem,
    entropy: new NodeEntropy(),
    directory,
    name: 'handover',
    decode: decodeCounted,
    bytesMax: bytes(256 * 1024),
  });
}

/** Rounds of one session. */
const rounds = 60;

/** Saves ever later values and appends ever later entries, side by side, telling the witness. */
export async function workSmallState(
  filesystem: Filesystem,
  directory: string,
  witness: Witness,
  entropy: Entropy,
): Promise<void> {
  witness.allow({ kind: 'opening' });
  const state = stateIn(filesystem, directory);
  const journal = await journalIn(filesystem, directory);
  const saved = (await state.load())?.count ?? 0;
  const entered = journal.entries().at(-1)?.count ?? 0;
  // What a killed process left and this one has read must stay, too.
  if (saved > 0) await witness.oblige({ kind: 'saved', count: saved });
  if (entered > 0) await witness.oblige({ kind: 'entered', count: entered });
  await witness.oblige({ kind: 'opened' });
  await Promise.all([
    saveMany(state, saved, witness, entropy),
    enterMany(journal, entered, witness, entropy),
  ]);
}

async function saveMany(
  state: DurableState<Counted>,
  from: number,
  witness: Witness,
  entropy: Entropy,
): Promise<void> {
  let count = from;
  const save = async (): Promise<void> => {
    const mine = ++count;
    witness.allow({ kind: 'saving', count: mine });
    await state.save(countedAt(mine));
    await witness.oblige({ kind: 'saved', count: mine });
  };
  for (let round = 0; round < rounds; round++) {
    await Promise.all(Array.from({ length: 1 + (entropy.uint32() % 3) }, save));
  }
}

async function enterMany(
  journal: Journal<Counted>,
  from: number,
  witness: Witness,
  entropy: Entropy,
): Promise<void> {
  let count = from;
  const enter = async (): Promise<void> => {
    const mine = ++count;
    witness.allow({ kind: 'entering', count: mine });
    await journal.append(countedAt(mine));
    await witness.oblige({ kind: 'entered', count: mine });
  };
  for (let round = 0; round < rounds; round++) {
    await Promise.all(Array.from({ length: 1 + (entropy.uint32() % 4) }, enter));
    if (entropy.uint32() % 8 > 0) continue;
    const keepFrom = Math.max(1, count - (entropy.uint32() % 6));
    witness.allow({ kind: 'compacting', from: keepFrom });
    await journal.compact((entry) => entry.count >= keepFrom);
    await witness.oblige({ kind: 'compacted', from: keepFrom });
  }
}

/**
 * Throws when the value is older than the last one reported saved, newer than any, changed or none; when an entry reported
 * is missing, doubled, changed, out of order or back after it was compacted away; or when either does not go on.
 */
export async function checkSmallState(
  filesystem: Filesystem,
  directory: string,
  facts: readonly Fact[],
): Promise<void> {
  const most = (kind: Fact['kind']): number =>
    facts.reduce((max, fact) => (fact.kind === kind && 'count' in fact ? Math.max(max, fact.count) : max), 0);
  const value = (await stateIn(filesystem, directory).load())?.count ?? 0;
  if (value < most('saved') || value > most('saving'))
    throw new Error(`${most('saved')} was saved and ${value} is there`);
  const journal = await journalIn(filesystem, directory);
  const counts = journal.entries().map(({ count }) => count);
  checkEntries(counts, facts, most('entered'), most('entering'));

  const next = countedAt(most('saving') + 1);
  await stateIn(filesystem, directory).save(next);
  await journal.append(countedAt(most('entering') + 1));
  await journal.close();
  const valueAfter = await stateIn(filesystem, directory).load();
  if (valueAfter?.count !== next.count)
    throw new Error(`${next.count} was saved, ${valueAfter?.count} follows`);
  const after = await journalIn(filesystem, directory);
  const countsAfter = after.entries().map(({ count }) => count);
  await after.close();
  if (countsAfter.join() !== [...counts, most('entering') + 1].join())
    throw new Error(`entries ${counts.join(' ')} became ${countsAfter.join(' ')}`);
}

function checkEntries(
  counts: readonly number[],
  facts: readonly Fact[],
  entered: number,
  entering: number,
): void {
  const fromMost = (kind: Fact['kind']): number =>
    facts.reduce((max, fact) => (fact.kind === kind && 'from' in fact ? Math.max(max, fact.from) : max), 1);
  const text = `entries ${counts.join(' ')}`;
  if (counts.some((count, index) => index > 0 && count !== (counts[index - 1] ?? 0) + 1))
    throw new Error(`${text} are not in a row`);
  const first = counts[0] ?? entering + 1;
  const last = counts.at(-1) ?? 0;
  if (first < fromMost('compacted')) throw new Error(`${text} are back from before ${fromMost('compacted')}`);
  if (first > fromMost('compacting') && entered >= fromMost('compacting'))
    throw new Error(`${text} have lost some from ${fromMost('compacting')} on`);
  if (last < entered || last > entering)
    throw new Error(`${text} do not end within ${entered} and ${entering}`);
}
