import { Operation } from '../onem2m/enums.ts';
import type { BundleManifest } from './bundle-manifest.ts';
import { foreignIn } from './foreign-resources.ts';
import type { CseReference } from './handover-state.ts';
import { holds, planRepair } from './repair-plan.ts';
import type { ObservedAe, RepairRequest, WantedBundle } from './repair-plan.ts';

/** One way in which a CSE is not as the manifest says, or a resource that the manifest does not know. */
export interface ContextDifference {
  readonly kind: 'missing' | 'differs' | 'foreign' | 'unread';
  /** Name of the AE. */
  readonly ae: string;
  /** CSE-relative. */
  readonly address: string;
  /** Attributes that differ. */
  readonly attributes?: readonly string[];
  /** Who made it, of a foreign resource. */
  readonly creator?: string;
}

/**
 * The differences between the manifest and what was observed at a CSE. What is foreign is told, and is none to be repaired;
 * `unread` is an AE that the CSE has without showing what is below it.
 */
export function differencesOf(
  bundle: BundleManifest,
  cse: Pick<CseReference, 'cseId' | 'cseBaseName'>,
  observed: ReadonlyMap<string, ObservedAe>,
  wanted: WantedBundle,
): ContextDifference[] {
  const plan = planRepair(bundle, cse.cseBaseName, observed, wanted, cse.cseId).flat();
  const unread = new Set(
    bundle.aes.map(({ name }) => name).filter((name) => observed.get(name) === 'unread'),
  );
  const found = plan
    .filter(({ ae, life }) => !unread.has(ae) && life !== 'prolonged')
    .map((request) => differenceIn(request, observed))
    .filter((each) => each !== undefined);
  const foreign = foreignIn(bundle, observed).map(({ ae, path, creator }): ContextDifference => ({
    kind: 'foreign',
    ae,
    address: `${cse.cseBaseName}/${ae}/${path}`,
    ...(creator === undefined ? {} : { creator }),
  }));
  const hidden = [...unread].map((ae): ContextDifference => ({
    kind: 'unread',
    ae,
    address: `${cse.cseBaseName}/${ae}`,
  }));
  return [...merged(found), ...hidden, ...foreign];
}

function differenceIn(
  { operation, to, ae, content, life }: RepairRequest,
  observed: ReadonlyMap<string, ObservedAe>,
): ContextDifference | undefined {
  const [body] = Object.values(content) as (Readonly<Record<string, unknown>> | undefined)[];
  if (operation === Operation.create) {
    return { kind: 'missing', ae, address: `${to}/${String(body?.resourceName)}` };
  }
  const seen = observed.get(ae);
  const held = typeof seen === 'object' ? seen.attributes : {};
  const names = Object.entries(body ?? {})
    .filter(([name, value]) => life === undefined || !holds(held[name], value))
    .map(([name]) => name);
  return names.length === 0 ? undefined : { kind: 'differs', ae, address: to, attributes: names };
}

/** What differs in one resource as one difference. The policies of an AE that is missing come with it. */
function merged(differences: readonly ContextDifference[]): ContextDifference[] {
  const byAddress = new Map<string, ContextDifference>();
  for (const each of differences) {
    const known = byAddress.get(each.address);
    if (known === undefined) byAddress.set(each.address, each);
    else if (known.kind === 'differs' && each.attributes !== undefined) {
      byAddress.set(each.address, {
        ...known,
        attributes: [...(known.attributes ?? []), ...each.attributes],
      });
    }
  }
  return [...byAddress.values()];
}
