/**
 * How references change when the bundle moves from one CSE to another (TS-0001 7.2, TS-0004 7.3.3.15). A text that names an
 * entity means another one at another CSE:
 *
 *     Cviewer                 an AE of the CSE that holds the text: from elsewhere it is /id-src/Cviewer
 *     Sviewer                 the same, whose stem is its own everywhere: also /Sviewer
 *     Sgw1, /id-src/Sgw1      an AE of the bundle, which comes along: Sgw1, /id-dst/Sgw1
 *     //sp/id-src/Cgw1        the same, absolute
 *     /id-src                 the CSE that holds the bundle: its part is taken by /id-dst
 *     cse-src/gw1/data        a resource of the bundle: cse-dst/gw1/data; so are /id-src/-/gw1/data and its resource ID
 *     cse-src/app, 5f1c…      any other resource of that CSE: /id-src/cse-src/app
 *
 * Rights are never widened: a bare C stem is not carried over as it stands, because another AE may have it at the target, and
 * a wildcard over the AEs of the source still means those.
 */
import type { AccessControlRule, SetOfAcrs } from '../onem2m/resources.ts';
import type { CseReference } from './handover-state.ts';

/** A move of the bundle, as references see it. */
export interface BundleMove {
  readonly source: Pick<CseReference, 'cseId' | 'cseBaseName'>;
  readonly target: Pick<CseReference, 'cseId' | 'cseBaseName'>;
  /** AE-ID stem by name of the AEs that move. */
  readonly aeIds: Readonly<Record<string, string>>;
  /** Paths below the CSEBase of resources of the bundle, by their resource ID at the source. */
  readonly pathOf: ReadonlyMap<string, string>;
}

/** What an originator in a rule at the source is to be written as at the target. */
export function movedOriginators(move: BundleMove, originator: string): string[] {
  const { source, target } = move;
  const { prefix, spRelative } = split(originator);
  const isOwn = (stem: string): boolean => Object.values(move.aeIds).includes(stem);
  if (spRelative === undefined) {
    if (originator === 'all' || originator.includes('*') || isOwn(originator)) return [originator];
    const elsewhere = `${source.cseId}/${originator}`;
    return originator.startsWith('S') ? [originator, `/${originator}`, elsewhere] : [elsewhere];
  }
  if (spRelative === source.cseId) return [originator, `${prefix}${target.cseId}`];
  const stem = stemAt(spRelative, source.cseId);
  if (stem !== undefined && isOwn(stem)) return [`${prefix}${target.cseId}/${stem}`];
  return [originator];
}

/** Rules with every originator rewritten. */
export function movedRules(move: BundleMove, rules: SetOfAcrs): SetOfAcrs {
  const list = Array.isArray(rules.accessControlRule) ? rules.accessControlRule : [];
  const accessControlRule = list.map((rule): AccessControlRule => {
    const originators = Array.isArray(rule.accessControlOriginators) ? rule.accessControlOriginators : [];
    const moved = originators.flatMap((each) => movedOriginators(move, each));
    return { ...rule, accessControlOriginators: [...new Set(moved)] };
  });
  return { accessControlRule };
}

/** An address, or the ID of an AE, as it is to be written at the target. */
export function movedAddress(move: BundleMove, address: string): string {
  const { source, target } = move;
  // A point of access is the same from everywhere.
  if (/^[a-z]+:\/\//u.test(address)) return address;
  const { prefix, spRelative } = split(address);
  const isElsewhere = spRelative !== undefined && !spRelative.startsWith(`${source.cseId}/`);
  if (isElsewhere || spRelative === source.cseId) return address;
  const local = spRelative === undefined ? address : spRelative.slice(source.cseId.length + 1);
  const moved = movedPath(move, local);
  if (moved === undefined) return spRelative === undefined ? `${source.cseId}/${address}` : address;
  return spRelative === undefined ? moved : `${prefix}${target.cseId}/${moved}`;
}

/** Where a resource of the bundle is at the target, CSE-relative; undefined for one that does not move. */
function movedPath({ source, target, aeIds, pathOf }: BundleMove, local: string): string | undefined {
  const [first = '', ...rest] = local.split('/');
  if (rest.length === 0 && Object.values(aeIds).includes(first)) return first;
  const byId = pathOf.get(first);
  if (byId !== undefined) return [target.cseBaseName, byId, ...rest].join('/');
  const isStructured = first === source.cseBaseName || first === '-';
  if (!isStructured || rest[0] === undefined || aeIds[rest[0]] === undefined) return undefined;
  return [target.cseBaseName, ...rest].join('/');
}

/** `//sp/id-x/C1` as `//sp` and `/id-x/C1`; an SP-relative text has no prefix, and a CSE-relative one nothing of both. */
function split(text: string): { prefix: string; spRelative?: string } {
  const absolute = /^(\/\/[^/]+)(\/.*)$/u.exec(text);
  if (absolute !== null) return { prefix: absolute[1] ?? '', spRelative: absolute[2] ?? '' };
  return text.startsWith('/') ? { prefix: '', spRelative: text } : { prefix: '' };
}

function stemAt(spRelative: string, cseId: string): string | undefined {
  return spRelative.startsWith(`${cseId}/`) ? spRelative.slice(cseId.length + 1) : undefined;
}
