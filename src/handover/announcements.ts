/**
 * Announcements of what serves (G3). The IN-CSE shows a copy of each announced AE with a link to the original; a move gives it a
 * second one, made by the target, beside that of the source. So that the IN-CSE never points to nothing, the source lets its copy
 * go only once that of the target is there, and until then its original stays, marked as moved.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { contentOf } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseOutcome } from '../onem2m/cse-client.ts';
import type { AeManifest, BundleManifest, ResourceManifest } from './bundle-manifest.ts';
import type { CseReference } from './handover-state.ts';
import { announcementsOf } from './repair-plan.ts';

/** True when some AE of the bundle is announced from this CSE. */
export function isAnnouncing(bundle: BundleManifest, cse: CseReference): boolean {
  return bundle.aes.some((ae) => announcementsOf(ae, cse.cseId).length > 0);
}

/** Announces what is announced with its AE, or, without targets, has the CSE remove those copies. */
export async function announceBelow(
  client: CseClient,
  cse: CseReference,
  ae: AeManifest,
  work: { readonly isServing: boolean; readonly options: CallOptions },
): Promise<readonly CseOutcome[]> {
  const targets = announcementsOf(ae, cse.cseId);
  if (targets.length === 0) return [];
  const announceTo = work.isServing ? targets : null;
  const updates = announcedBelow(ae.resources, `${cse.cseBaseName}/${ae.name}`).map(({ address, root }) =>
    client.update(address, { [root]: { announceTo } }, { ...work.options, from: ae.aeId }),
  );
  return Promise.all(updates);
}

function announcedBelow(
  resources: readonly ResourceManifest[],
  parent: string,
): { readonly address: string; readonly root: string }[] {
  return resources.flatMap(({ name, root, isAnnounced, children = [] }) => {
    const address = `${parent}/${name}`;
    return [...(isAnnounced ? [{ address, root }] : []), ...announcedBelow(children, address)];
  });
}

/** Whether every AE that is announced from a CSE has its copies; a reason when that cannot be told. */
export async function areAnnounced(
  client: CseClient,
  bundle: BundleManifest,
  cse: CseReference,
  options: CallOptions,
): Promise<Result<boolean, string>> {
  const looks = bundle.aes
    .filter((ae) => announcementsOf(ae, cse.cseId).length > 0)
    .map(async (ae): Promise<Result<boolean, string>> => {
      const address = `${cse.cseBaseName}/${ae.name}`;
      const read = await client.retrieve(address, { ...options, from: ae.aeId });
      if (!read.ok) return err(read.error.message);
      const { announceTo } = contentOf(read.value, 'ae');
      const there = Array.isArray(announceTo) ? announceTo.map(String) : [];
      // A CSE-ID alone is a wish; a resource below it is a copy.
      return ok(
        announcementsOf(ae, cse.cseId).every((target) => there.some((each) => each.startsWith(`${target}/`))),
      );
    });
  for (const look of await Promise.all(looks)) if (!look.ok || !look.value) return look;
  return ok(true);
}
