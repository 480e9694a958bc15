import { cseId as toCseId } from '../base/units.ts';
import { ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { printable } from '../base/text.ts';
import type { Candidate, CoverageCell } from '../decision/candidate.ts';
import { hostingFromLabels } from '../decision/hosting.ts';
import { parsePointOfAccess } from '../onem2m/address.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import type { PrimitiveContent } from '../onem2m/resources.ts';

/** The label under which targets are found. */
export const targetLabel = 'baton:target';

const targetsMax = 64;
/** Labels, points of access and cells of one target that are looked at. */
const itemsMax = 256;

/** What discovery brought: usable candidates, and for what was not usable the reason. */
export interface DiscoveredCandidates {
  readonly candidates: readonly Candidate[];
  readonly rejected: readonly { readonly address: string; readonly reason: string }[];
}

/**
 * Finds the CSEs that may serve, below `base` at the IN-CSE: everything labelled `baton:target`, be it a remoteCSE that
 * carries its coverage in labels (`baton:cell=<arfcn>-<pci>`) or a contentInstance an orchestrator published
 * (`{cseId, cseBaseName, pointsOfAccess, coverage: [{arfcn, pci}], hosting?}`).
 */
export async function discoverCandidates(
  client: CseClient,
  base: string,
  options: CallOptions = {},
): Promise<Result<DiscoveredCandidates, CseFailure>> {
  const found = await client.discover(base, { labels: [targetLabel] }, options);
  if (!found.ok) return found;
  const candidates = new Map<string, Candidate>();
  const rejected: { address: string; reason: string }[] = [];
  const addresses = found.value.slice(0, targetsMax);
  const [beyond] = found.value.slice(targetsMax);
  if (beyond !== undefined) {
    const reason = `${found.value.length} targets are published; this one and those after it are beyond ${targetsMax}`;
    rejected.push({ address: beyond, reason });
  }
  const outcomes = await Promise.all(addresses.map((address) => client.retrieve(address, options)));
  for (const [index, outcome] of outcomes.entries()) {
    const address = addresses[index] ?? '';
    const parsed = outcome.ok ? parseTarget(outcome.value.primitiveContent ?? {}) : outcome.error.message;
    if (typeof parsed === 'string') rejected.push({ address, reason: parsed });
    else candidates.set(parsed.cseId, merge(candidates.get(parsed.cseId), parsed));
  }
  return ok({ candidates: [...candidates.values()], rejected });
}

/** The candidate that a published resource describes, or why it describes none. */
export function parseTarget(content: PrimitiveContent): Candidate | string {
  const remoteCse = fieldsOf(content.remoteCse);
  if (remoteCse !== undefined) {
    const { cseId, cseBase, pointOfAccess, labels } = remoteCse;
    const texts = textsIn(labels);
    return candidateOf({
      cseId,
      cseBaseName: typeof cseBase === 'string' ? cseBase.split('/').pop() : undefined,
      pointsOfAccess: pointOfAccess,
      coverage: texts.map(cellOfLabel).filter((cell) => cell !== undefined),
      hosting: hostingFromLabels(texts),
    });
  }
  const contentInstance = fieldsOf(content.contentInstance);
  if (contentInstance !== undefined) {
    const described = fieldsOf(contentInstance.content);
    if (described === undefined) return 'its content is no object';
    const { hosting } = described;
    return candidateOf({
      ...described,
      // What is not known must not pass for a CSE outside MEC.
      hosting:
        hosting === undefined || hosting === null
          ? undefined
          : hostingFromLabels([`baton:mec=${typeof hosting === 'string' ? hosting : ''}`]),
    });
  }
  return 'it is neither a remoteCSE nor a contentInstance';
}

/** Two descriptions of one CSE: both count, and of its hosting the less ready one. */
function merge(before: Candidate | undefined, next: Candidate): Candidate {
  if (before === undefined) return next;
  const said = [before.hosting, next.hosting].filter((stage) => stage !== undefined);
  const hosting = hostingFromLabels(said.map((stage) => `baton:mec=${stage}`));
  const pointsOfAccess = [...new Set([...before.pointsOfAccess, ...next.pointsOfAccess])];
  const coverage = [...before.coverage, ...next.coverage].slice(0, itemsMax);
  const { cseId, cseBaseName } = next;
  return { cseId, cseBaseName, pointsOfAccess, coverage, ...(hosting === undefined ? {} : { hosting }) };
}

type Fields = Readonly<Record<string, unknown>>;

function candidateOf(fields: Fields & { hosting: Candidate['hosting'] }): Candidate | string {
  const { cseId, cseBaseName, hosting } = fields;
  if (typeof cseId !== 'string' || !/^\/[^/\s]{1,255}$/u.test(cseId)) {
    const found = typeof cseId === 'string' ? `"${printable(cseId, 40)}"` : `a ${typeof cseId}`;
    return `${found} is no CSE-ID like /id-mn1`;
  }
  if (typeof cseBaseName !== 'string' || !/^[^/\s]{1,255}$/u.test(cseBaseName))
    return `${cseId} has no CSEBase name`;
  const pointsOfAccess = textsIn(fields.pointsOfAccess).filter(
    (poa) => parsePointOfAccess(poa) !== undefined,
  );
  const cells: readonly unknown[] = Array.isArray(fields.coverage) ? fields.coverage : [];
  const coverage = cells
    .slice(0, itemsMax)
    .map(cellOf)
    .filter((cell) => cell !== undefined);
  return {
    cseId: toCseId(cseId),
    cseBaseName,
    pointsOfAccess,
    coverage,
    ...(hosting === undefined ? {} : { hosting }),
  };
}

function textsIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string').slice(0, itemsMax) : [];
}

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null ? (value as Fields) : undefined;
}

function cellOf(value: unknown): CoverageCell | undefined {
  const { arfcn, pci } = fieldsOf(value) ?? {};
  if (typeof arfcn !== 'number' || typeof pci !== 'number') return undefined;
  return Number.isSafeInteger(arfcn) && Number.isSafeInteger(pci) ? { arfcn, pci } : undefined;
}

function cellOfLabel(label: string): CoverageCell | undefined {
  const match = /^baton:cell=(\d{1,7})-(\d{1,4})$/u.exec(label);
  return match === null ? undefined : { arfcn: Number(match[1]), pci: Number(match[2]) };
}
