// The verdict on a scenario, counted from what the sensor emitted and the CSEs hold; the gateway is not asked.
//
//   - every reading is at exactly one CSE, in the order of its stream; doubles that are labelled as in doubt are counted apart
//   - the bundle is whole at the CSE of the newest claim, and in use nowhere else
//   - the serving record has each epoch from the first on, and each names the one before
//   - each reading carries an epoch that was claimed for the CSE that holds it, and lies where the ledger of its epoch says
//   - each command was carried out once: one result record, whichever CSE it was given to
import { decodeServingEntry } from '../../src/handover/serving-record.ts';
import type { ServingEntry } from '../../src/handover/serving-record.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import { readingsOf } from '../../src/uplink/batch-instance.ts';
import { inDoubtLabel } from '../../src/uplink/stream-lane.ts';
import type { GatewaySite } from './gateway-site.ts';
import { streams } from './gateway-site.ts';

/** What a verdict is made of. */
export interface Evidence {
  readonly site: Pick<GatewaySite, 'device' | 'seed' | 'emitted' | 'failures' | 'handovers'>;
  readonly held: readonly HeldResource[];
  /** Ids of the commands that were given. */
  readonly commands: readonly string[];
  /** AEs of the bundle beside the gateway's own. */
  readonly others: readonly string[];
  /** Where the gateway must be served in the end. */
  readonly servedAt: string;
  /** Readings may carry epoch 0: a claim was deferred. */
  readonly isProvisional: boolean;
}

/** Figures in one line, and what speaks against the gateway. */
export interface Verdict {
  readonly figures: string;
  readonly faults: readonly string[];
}

/** Judges what is held now; what is still on its way shows as a fault that goes away. */
export function judge(evidence: Evidence): Verdict {
  const { site, held } = evidence;
  const { device, seed, emitted, failures } = site;
  const summary = judgeDrive({
    drive: 'none',
    seconds: 0,
    rttMs: 0,
    streams,
    device,
    seed,
    handovers: site.handovers,
    evidence: { emitted, held },
    status: undefined,
    failures,
  });
  const claims = claimsIn(held);
  const faults = [
    ...summary.reasons,
    ...chainFaults(claims),
    ...placeFaults(evidence, claims),
    ...otherFaults(evidence, claims),
    ...evidence.commands.flatMap((id) => commandFaults(held, device, id)),
  ];
  const servedAt = claims.at(-1)?.cse.cseId;
  if (servedAt !== evidence.servedAt) faults.push(`served at ${servedAt}, expected ${evidence.servedAt}`);
  const { stored, delivered, inDoubtDoubles } = summary;
  if (stored < 10) faults.push(`only ${stored} readings were emitted`);
  const doubt = inDoubtDoubles === 0 ? '' : `, ${inDoubtDoubles} in-doubt doubles`;
  const carried = evidence.commands.length === 0 ? '' : `, ${evidence.commands.length} commands once`;
  return {
    figures: `${stored} readings emitted, ${delivered} held once${doubt}${carried}, epochs 1 to ${claims.at(-1)?.epoch ?? 0}`,
    faults,
  };
}

/** All claims in the serving record, by epoch. */
export function claimsIn(held: readonly HeldResource[]): ServingEntry[] {
  return held
    .filter(({ cse, path }) => cse === 'in' && /\/serving\/e\d+$/u.test(path))
    .map(({ content }) => decodeServingEntry(content))
    .sort((a, b) => a.epoch - b.epoch);
}

/** The results of a command that are held, by the names of their instances. */
export function resultsOf(
  held: readonly HeldResource[],
  device: string,
  id: string,
): { readonly name: string; readonly status: unknown; readonly isInDoubt: boolean }[] {
  return held.flatMap(({ path, content, labels }) => {
    const [, ae, container, name] = path.split('/');
    const { v } = (content ?? {}) as { v?: { id?: unknown; status?: unknown } };
    if (ae !== device || container !== 'results' || name === undefined || v?.id !== id) return [];
    return [{ name, status: v.status, isInDoubt: labels.includes(inDoubtLabel) }];
  });
}

function chainFaults(claims: readonly ServingEntry[]): string[] {
  return claims.flatMap(({ epoch, previousEpoch }, index) => {
    if (epoch !== index + 1) return [`the serving record has epoch ${epoch} in place ${index + 1}`];
    return previousEpoch === epoch - 1 ? [] : [`epoch ${epoch} names ${previousEpoch} as the one before`];
  });
}

function placeFaults({ site, held, isProvisional }: Evidence, claims: readonly ServingEntry[]): string[] {
  const faults = new Set<string>();
  const ledgers = new Map<number, Record<string, unknown>>();
  for (const { cse, path, content } of held) {
    const { epoch, first } = (content ?? {}) as { epoch?: number; first?: Record<string, unknown> };
    const isLedger = cse === 'in' && /\/serving\/s\d+$/u.test(path);
    if (isLedger && epoch !== undefined) ledgers.set(epoch, first ?? {});
  }
  const newest = claims.at(-1)?.epoch;
  if (newest !== undefined && !ledgers.has(newest)) faults.add(`epoch ${newest} has no ledger`);
  for (const { cse, path, type, content } of held) {
    const [, ae, container = '', name] = path.split('/');
    const isReading = type === ResourceType.contentInstance && ae === site.device && container in streams;
    if (!isReading || name === undefined) continue;
    for (const { epoch, seq } of readingsOf(name, content)) {
      if (epoch === 0 && isProvisional) continue;
      const claimed = claims[Number(epoch) - 1]?.cse.cseId;
      if (claimed !== `/id-${cse}`) {
        faults.add(`${container} at ${cse} carries epoch ${epoch}, claimed for ${claimed ?? 'nobody'}`);
      }
      const first = ledgers.get(Number(epoch))?.[container];
      if (typeof first === 'number' && Number(seq) < first) {
        faults.add(`${container}: ${seq} is at ${cse}, where epoch ${epoch} begins with ${first}`);
      }
    }
  }
  return [...faults];
}

/** The other AEs of the bundle are where the gateway's own is, and nowhere else in use (I5). */
function otherFaults({ held, others }: Evidence, claims: readonly ServingEntry[]): string[] {
  const serving = claims.at(-1)?.cse.cseId;
  return others.flatMap((name) => {
    const stateAt = new Map(
      held
        .filter(({ type, path }) => type === ResourceType.ae && path.split('/')[1] === name)
        .map(({ cse, labels }) => [`/id-${cse}`, labels.find((label) => label.startsWith('baton:state='))]),
    );
    const faults = [...stateAt]
      .filter(([cseId, state]) => state !== `baton:state=${cseId === serving ? 'serving' : 'moved'}`)
      .map(([cseId, state]) => `${cseId} holds ${name} as ${state ?? 'unlabelled'}`);
    return stateAt.has(serving ?? '') ? faults : [...faults, `${serving} lacks ${name}`];
  });
}

function commandFaults(held: readonly HeldResource[], device: string, id: string): string[] {
  const results = resultsOf(held, device, id);
  const names = new Set(results.map(({ name }) => name));
  const sure = results.filter(({ isInDoubt }) => !isInDoubt);
  if (names.size === 1 && sure.length <= 1) {
    const [status] = results.map((result) => result.status);
    return status === 'done' ? [] : [`command ${id} came to ${JSON.stringify(status)}`];
  }
  return [`command ${id} has ${results.length} results under ${names.size} names`];
}
