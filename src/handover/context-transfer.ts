/**
 * What a move takes along beside the manifest (G2): what others created under the AEs, the state of flexContainers, the newest
 * instances where the manifest wants them, and our places in groups that others keep. None of it is waited for by the switch: it
 * follows, bounded, and can be repeated; what exists at the target is kept.
 *
 * The source is read while it is reachable. What was seen of it before (`ContextSnapshot`) serves when it is not, so that an
 * abrupt loss costs the instances that only the source had, not the subscriptions of others.
 */
import { errorText } from '../base/errors.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import { parseTimestamp } from '../onem2m/primitives.ts';
import type { AeManifest, BundleManifest, RecentPolicy, ResourceManifest } from './bundle-manifest.ts';
import { bounded, foreignIn, recreated } from './foreign-resources.ts';
import type { ForeignResource } from './foreign-resources.ts';
import type { CseReference } from './handover-state.ts';
import type { BundleMove } from './moved-references.ts';
import { inOrder, readRecent, writeCopies } from './recent-instances.ts';
import type { InstanceRoot, ReadInstance } from './recent-instances.ts';
import type { ObservedAe, ObservedResource } from './repair-plan.ts';

/** State of a flexContainer of the manifest. */
export interface FlexState {
  readonly ae: string;
  /** Where it is below its AE. */
  readonly path: string;
  readonly custom: Readonly<Record<string, unknown>>;
  /** `YYYYMMDDTHHMMSS` by the clock of its CSE. */
  readonly lastModifiedTime: string;
}

/** What was seen at a CSE of what the manifest does not say. */
export interface ContextSnapshot {
  readonly cse: CseReference;
  readonly foreign: readonly ForeignResource[];
  readonly states: readonly FlexState[];
  /** Paths below the CSEBase by resource ID, of resources that others may have referred to by it. */
  readonly paths: readonly (readonly [string, string])[];
}

/** Something that a move could not take along. */
export interface NotTransferred {
  /** Where it is below the CSEBase, for example `gw1/temperature/watch`. */
  readonly path: string;
  readonly reason: string;
}

/** What a transfer came to. */
export interface TransferReport {
  /** Foreign resources that the target has now. */
  readonly foreign: number;
  /** flexContainers whose state was taken along. */
  readonly states: number;
  /** Instances that were copied, or were there already. */
  readonly copies: number;
  readonly notTransferred: readonly NotTransferred[];
  /** False when a CSE did not answer: another try may bring more. */
  readonly isComplete: boolean;
}

/** What one transfer is about. */
export interface TransferCall {
  readonly source: { readonly client: CseClient; readonly cse: CseReference };
  readonly target: { readonly client: CseClient; readonly cse: CseReference };
  /** What the source was seen to hold, now or before. */
  readonly snapshot: ContextSnapshot | undefined;
  /** Instances that this gateway has written to the source, for when that cannot be asked. */
  readonly written: (ae: string, path: string) => readonly ReadInstance[];
  readonly options: CallOptions;
}

/** Attributes of a flexContainer that are not its specialisation's own (TS-0001 9.6.35). */
const standardAttributes: ReadonlySet<string> = new Set([
  ...['resourceType', 'resourceId', 'resourceName', 'parentId', 'creationTime', 'lastModifiedTime'],
  ...['expirationTime', 'labels', 'accessControlPolicyIds', 'dynamicAuthorizationConsultationIds', 'creator'],
  ...['custodian', 'location', 'announceTo', 'announcedAttribute', 'announceSyncType', 'stateTag'],
  ...['containerDefinition', 'ontologyRef', 'contentSize', 'nodeLink', 'fcinEnabled'],
  ...['maxNrOfInstances', 'maxByteSize', 'maxInstanceAge', 'currentNrOfInstances', 'currentByteSize'],
]);

/** What is worth remembering of what a CSE was seen to hold. */
export function snapshotOf(
  bundle: BundleManifest,
  cse: CseReference,
  observed: ReadonlyMap<string, ObservedAe>,
): { readonly snapshot: ContextSnapshot; readonly left: readonly ForeignResource[] } {
  const { kept, left } = bounded(foreignIn(bundle, observed));
  const states: FlexState[] = [];
  const paths: [string, string][] = [];
  const visit = (
    ae: string,
    path: string,
    tree: ObservedResource,
    manifest: readonly ResourceManifest[],
  ): void => {
    for (const [name, child] of tree.children) {
      const at = path === '' ? name : `${path}/${name}`;
      const { resourceId, lastModifiedTime } = child.attributes;
      if (typeof resourceId === 'string' && paths.length < pathsMax) paths.push([resourceId, `${ae}/${at}`]);
      const known = manifest.find((each) => each.name === name);
      if (known?.resourceType === ResourceType.flexContainer && typeof lastModifiedTime === 'string') {
        const custom = customOf(child.attributes);
        states.push({ ae, path: at, custom, lastModifiedTime });
      }
      visit(ae, at, child, known?.children ?? []);
    }
  };
  for (const { name, resources } of bundle.aes) {
    const tree = observed.get(name);
    if (typeof tree === 'object') visit(name, '', tree, resources);
  }
  return { snapshot: { cse, foreign: kept, states, paths: kept.length === 0 ? [] : paths }, left };
}

const pathsMax = 4096;

function customOf(attributes: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(attributes).filter(([name]) => !standardAttributes.has(name)));
}

/** One move's worth of work beside the manifest; see the header of this file. */
export class ContextTransfer {
  readonly #bundle: BundleManifest;
  readonly #call: TransferCall;
  readonly #move: BundleMove;
  readonly #notTransferred: NotTransferred[] = [];
  #foreign = 0;
  #states = 0;
  #copies = 0;
  #isComplete = true;

  constructor(bundle: BundleManifest, call: TransferCall) {
    this.#bundle = bundle;
    this.#call = call;
    this.#move = {
      source: call.source.cse,
      target: call.target.cse,
      aeIds: Object.fromEntries(bundle.aes.map(({ name, aeId }) => [name, aeId])),
      pathOf: new Map(call.snapshot?.paths ?? []),
    };
  }

  /** Takes along what can be; never rejects. The subscriptions of others come first: they miss what happens meanwhile. */
  async run(): Promise<TransferReport> {
    try {
      for (const resource of this.#call.snapshot?.foreign ?? []) await this.#recreate(resource);
      for (const state of this.#call.snapshot?.states ?? []) await this.#restore(state);
      await this.#copyRecent();
    } catch (error) {
      this.#isComplete = false;
      this.#notTransferred.push({ path: this.#bundle.device, reason: errorText(error) });
    }
    return {
      foreign: this.#foreign,
      states: this.#states,
      copies: this.#copies,
      notTransferred: this.#notTransferred,
      isComplete: this.#isComplete,
    };
  }

  async #recreate(resource: ForeignResource): Promise<void> {
    const { client, cse } = this.#call.target;
    const ae = this.#bundle.aes.find(({ name }) => name === resource.ae);
    if (ae === undefined) return;
    const path = `${resource.ae}/${resource.path}`;
    const wanted = recreated(this.#move, ae, resource);
    if ('reason' in wanted) {
      this.#notTransferred.push({ path, reason: wanted.reason });
      return;
    }
    const options = { ...this.#call.options, from: ae.aeId, resultContent: ResultContent.nothing };
    const parent = [cse.cseBaseName, ...path.split('/').slice(0, -1)].join('/');
    const steps = [
      ...(wanted.policy === undefined
        ? []
        : [
            {
              to: `${cse.cseBaseName}/${ae.name}`,
              type: ResourceType.accessControlPolicy,
              content: wanted.policy.content,
            },
          ]),
      { to: parent, type: resource.resourceType as ResourceType, content: wanted.content },
    ];
    for (const { to, type, content } of steps) {
      const created = await client.create(to, type, content, options);
      if (created.ok || isRejectedWith(created.error, ResponseStatusCode.conflict)) continue;
      this.#note(path, created.error);
      return;
    }
    this.#foreign += 1;
  }

  /** Brings a flexContainer to the state that it had, unless somebody has changed it at the target since. */
  async #restore({ ae: name, path, custom, lastModifiedTime }: FlexState): Promise<void> {
    const { client, cse } = this.#call.target;
    const ae = this.#bundle.aes.find((each) => each.name === name);
    const manifest = ae === undefined ? undefined : resourceAt(ae, path);
    if (ae === undefined || manifest === undefined) return;
    const address = `${cse.cseBaseName}/${name}/${path}`;
    const options = { ...this.#call.options, from: ae.aeId };
    const read = await client.retrieve(address, options);
    if (!read.ok) return this.#note(`${name}/${path}`, read.error);
    const held = (read.value.primitiveContent?.[manifest.root] ?? {}) as Readonly<Record<string, unknown>>;
    const isUntouched = held.creationTime === held.lastModifiedTime && (held.stateTag ?? 0) === 0;
    const timeOf = (value: unknown): number => parseTimestamp(String(value)) ?? 0;
    if (!isUntouched && timeOf(held.lastModifiedTime) > timeOf(lastModifiedTime)) return;
    const changed = Object.entries(custom).filter(
      ([key, value]) => JSON.stringify(held[key]) !== JSON.stringify(value),
    );
    this.#states += 1;
    if (changed.length === 0) return;
    const content = { [manifest.root]: Object.fromEntries(changed) };
    const updated = await client.update(address, content, {
      ...options,
      resultContent: ResultContent.nothing,
    });
    if (!updated.ok) this.#note(`${name}/${path}`, updated.error);
  }

  async #copyRecent(): Promise<void> {
    const places = this.#bundle.aes.flatMap((ae) =>
      recentIn(ae.resources, '').map((place) => ({ ae, ...place })),
    );
    // A few at a time: what is delivered meanwhile goes first.
    for (let at = 0; at < places.length; at += copiesTogether) {
      await Promise.all(places.slice(at, at + copiesTogether).map((place) => this.#copy(place)));
    }
  }

  async #copy({ ae, path, policy, root, copiesPath }: RecentPlace & { ae: AeManifest }): Promise<void> {
    const { source, target, written } = this.#call;
    const options = { ...this.#call.options, from: ae.aeId };
    const readAt = (at: string): ReturnType<typeof readRecent> =>
      readRecent(
        source.client,
        { cseId: source.cse.cseId, address: `${source.cse.cseBaseName}/${ae.name}/${at}`, root },
        policy,
        options,
      );
    const reads = await Promise.all([path, ...(copiesPath === path ? [] : [copiesPath])].map(readAt));
    const found: ReadInstance[] = [...written(ae.name, path)];
    for (const read of reads) {
      if ('reason' in read) {
        if (!read.isAnswer) this.#isComplete = false;
        if (found.length === 0)
          this.#notTransferred.push({ path: `${ae.name}/${path}`, reason: read.reason });
      } else found.push(...read);
    }
    const address = `${target.cse.cseBaseName}/${ae.name}/${copiesPath}`;
    const place = { cseId: target.cse.cseId, address, root };
    // What the target has the originals of, or has been written to it meanwhile, takes no place from what it lacks.
    const elsewhere = found.filter(({ from }) => from !== target.cse.cseId);
    const wanted = newest(inOrder(elsewhere), policy);
    // Beside what others write, `la` has to stay the newest one.
    const fresh = copiesPath === path ? await this.#newerThanThere(place, wanted, options) : wanted;
    const { copied, reason, isAnswer } = await writeCopies(target.client, place, fresh, options);
    this.#copies += copied;
    if (reason === undefined) return;
    if (isAnswer !== true) this.#isComplete = false;
    this.#notTransferred.push({ path: `${ae.name}/${path}`, reason });
  }

  async #newerThanThere(
    place: Parameters<typeof readRecent>[1],
    wanted: readonly ReadInstance[],
    options: CallOptions,
  ): Promise<readonly ReadInstance[]> {
    // A time series is in the order of its times whatever comes when.
    if (place.root === 'timeSeriesInstance') return wanted;
    const there = await readRecent(this.#call.target.client, place, { kind: 'last', count: 1 }, options);
    if ('reason' in there || there[0] === undefined) return wanted;
    const [held] = there;
    const timeOf = ({ at }: ReadInstance): number => parseTimestamp(at) ?? 0;
    return wanted.filter((each) => each.name !== held.name && timeOf(each) >= timeOf(held));
  }

  #note(path: string, error: CseFailure): void {
    if (error.kind !== 'rejected') this.#isComplete = false;
    this.#notTransferred.push({ path, reason: error.message });
  }
}

const copiesTogether = 4;

interface RecentPlace {
  readonly path: string;
  readonly policy: RecentPolicy;
  readonly root: InstanceRoot;
  /** Where copies go: for a stream beside its container, so that its newest instance is its newest reading. */
  readonly copiesPath: string;
}

/** The resources of an AE whose newest instances are taken along. */
function recentIn(resources: readonly ResourceManifest[], parent: string): RecentPlace[] {
  return resources.flatMap(({ name, recent, resourceType, children = [] }) => {
    const path = `${parent}${name}`;
    const beside = resources.some((each) => each.name === `${name}.recent`) ? `${path}.recent` : path;
    const root = resourceType === ResourceType.timeSeries ? 'timeSeriesInstance' : 'contentInstance';
    const own = recent === undefined ? [] : [{ path, policy: recent, root, copiesPath: beside } as const];
    return [...own, ...recentIn(children, `${path}/`)];
  });
}

/** The newest of several sources that a policy asks for. */
function newest(instances: readonly ReadInstance[], policy: RecentPolicy): readonly ReadInstance[] {
  if (policy.kind === 'last') return instances.slice(-policy.count);
  const endMs = parseTimestamp(instances.at(-1)?.at ?? '') ?? 0;
  return instances.filter(({ at }) => (parseTimestamp(at) ?? 0) >= endMs - policy.spanMs);
}

function resourceAt({ resources }: AeManifest, path: string): ResourceManifest | undefined {
  let level: readonly ResourceManifest[] | undefined = resources;
  let found: ResourceManifest | undefined;
  for (const step of path.split('/')) {
    found = level?.find(({ name }) => name === step);
    level = found?.children;
  }
  return found;
}
