import { cseId as toCseId } from '../base/units.ts';
import { ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Candidate, CoverageCell } from '../decision/candidate.ts';
import { parsePointOfAccess } from '../onem2m/address.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import type { PrimitiveContent } from '../onem2m/resources.ts';

/** The label under which targets are found. */
export const targetLabel = 'baton:target';

const targetsMax = 64;

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
  for (const address of found.value.slice(targetsMax)) {
    rejected.push({ address, reason: `more than ${targetsMax} targets are published` });
  }
  const outcomes = await Promise.all(addresses.map((address) => client.retrieve(address, options)));
  for (const [index, outcome] of outcomes.entries()) {
    const address = addresses[index] ?? '';
    const parsed = outcome.ok ? parseTarget(outcome.value.primitiveContent ?? {}) : outcome.error.message;
    if (typeof parsed === 'string') rejected.push({ address, reason: parsed });
    else candidates.set(parsed.cseId, { ...candidates.get(parsed.cseId), ...parsed });
  }
  return ok({ candidates: [...candidates.values()], rejected });
}

/** The candidate that a published resource describes, or why it describes none. */
export function parseTarget(content: PrimitiveContent): Candidate | string {
  const { contentInstance, remoteCse } = content;
  if (typeof remoteCse === 'object') {
    const { cseId, cseBase, pointOfAccess, labels } = remoteCse;
    const texts = textsIn(labels);
    return candidateOf({
      cseId,
      cseBaseName: typeof cseBase === 'string' ? cseBase.split('/').pop() : undefined,
      pointsOfAccess: pointOfAccess,
      coverage: texts.map(cellOfLabel).filter((cell) => cell !== undefined),
      hosting: texts
        .map((label) => /^baton:mec=(.+)$/u.exec(label)?.[1])
        .find((state) => state !== undefined),
    });
  }
  if (typeof contentInstance === 'object') {
    const described = contentInstance.content;
    if (typeof described !== 'object' || described === null) return 'its content is no object';
    return candidateOf(described as Record<string, unknown>);
  }
  return 'it is neither a remoteCSE nor a contentInstance';
}

function candidateOf(fields: Record<string, unknown>): Candidate | string {
  const { cseId, cseBaseName, hosting } = fields;
  if (typeof cseId !== 'string' || !/^\/[^/\s]{1,255}$/u.test(cseId))
    return `"${String(cseId)}" is no CSE-ID like /id-mn1`;
  if (typeof cseBaseName !== 'string' || !/^[^/\s]{1,255}$/u.test(cseBaseName))
    return `${cseId} has no CSEBase name`;
  const pointsOfAccess = textsIn(fields.pointsOfAccess).filter(
    (poa) => parsePointOfAccess(poa)?.scheme === 'coap',
  );
  const coverage = Array.isArray(fields.coverage) ? fields.coverage.filter(isCell) : [];
  return {
    cseId: toCseId(cseId),
    cseBaseName,
    pointsOfAccess,
    coverage,
    ...(hosting === 'instantiated' || hosting === 'provisioned' || hosting === 'notProvisioned'
      ? { hosting }
      : {}),
  };
}

function textsIn(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string').slice(0, 256) : [];
}

function isCell(value: unknown): value is CoverageCell {
  if (typeof value !== 'object' || value === null) return false;
  const { arfcn, pci } = value as Record<string, unknown>;
  return Number.isInteger(arfcn) && Number.isInteger(pci);
}

function cellOfLabel(label: string): CoverageCell | undefined {
  const match = /^baton:cell=(\d{1,7})-(\d{1,4})$/u.exec(label);
  return match === null ? undefined : { arfcn: Number(match[1]), pci: Number(match[2]) };
}
