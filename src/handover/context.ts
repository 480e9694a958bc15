/**
 * The context of the gateway's bundle at a CSE: the AE with its access rights, a container for each stream, the command
 * container and the subscription that brings commands down. Everything here can be repeated: a resource that exists is
 * taken over. Requests of one dependency level are in flight together, so that preparing costs round trips by the depth
 * of the tree, not by its size.
 *
 * Labels tell a moved AE from a terminated one and a prepared one from a serving one:
 * `baton:dev=<device>`, `baton:state=prepared|serving|moved`, `baton:epoch=<n>`, `baton:since=<epoch of creation>`.
 * An AE that this transaction did not create may hold delivered readings; undoing never deletes it.
 */
import type { Epoch, Millis } from '../base/units.ts';
import { contentOf, isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure, CseOutcome } from '../onem2m/cse-client.ts';
import {
  AccessControlOperations,
  NotificationEventType,
  ResourceType,
  ResponseStatusCode,
  ResultContent,
} from '../onem2m/enums.ts';
import { encodeTimestamp, parseTimestamp } from '../onem2m/primitives.ts';
import type { Ae } from '../onem2m/resources.ts';
import type { WorkOutcome } from './runner.ts';
import type { CseReference } from './transition.ts';

/** What the bundle consists of. */
export interface BundleManifest {
  readonly device: string;
  /** AE-ID stem, the same at every CSE. */
  readonly aeId: string;
  /** Container names, one for each stream. */
  readonly streams: readonly string[];
  /** Originators beside the AE itself that may read its data and send it commands. */
  readonly readers: readonly string[];
}

/** How far a bundle has come at a CSE. */
export type BundleState = 'prepared' | 'serving' | 'moved';

/** How a CSE is left. */
export interface Leaving {
  /** Epoch that is written into the labels. */
  readonly epoch: Epoch;
  /** How long the AE is kept with all it holds. */
  readonly graceMs: Millis;
  /** Fetches what is still to be had there; nothing expires before it has succeeded. */
  readonly lastLook?: () => Promise<WorkOutcome>;
}

/** Name of the command container under the AE. */
export const commandContainer = 'cmd';

const subscriptionName = 'cmd-sub';
const registrationMs = 365 * 24 * 3600 * 1000;

/** Creates, repairs and releases the bundle at a CSE. */
export class BundleContext {
  readonly #manifest: BundleManifest;

  constructor(manifest: BundleManifest) {
    this.#manifest = manifest;
  }

  /** CSE-relative address of the AE. */
  aeAddress(cse: CseReference): string {
    return `${cse.cseBaseName}/${this.#manifest.device}`;
  }

  /** Brings the whole bundle into being; with everything there already it costs one round trip per level all the same. */
  async ensure(
    client: CseClient,
    cse: CseReference,
    wanted: { epoch: Epoch; state: BundleState; pointOfAccess: string },
    options: CallOptions,
  ): Promise<WorkOutcome> {
    const registered = await this.#register(client, cse, wanted, options);
    if (registered.kind !== 'succeeded') return registered;
    const address = this.aeAddress(cse);
    const children = await Promise.all([
      this.#ensureChild(client, address, ResourceType.accessControlPolicy, this.#policy(), options),
      ...[...this.#manifest.streams, commandContainer].map((name) =>
        this.#ensureChild(
          client,
          address,
          ResourceType.container,
          { container: { resourceName: name } },
          options,
        ),
      ),
    ]);
    const failed = children.find((failure) => failure !== undefined);
    if (failed !== undefined) return { kind: 'failed', reason: failed.message };
    const [rights, subscription] = await Promise.all([
      client.update(address, { ae: { accessControlPolicyIds: [`${address}/acp`] } }, options),
      this.#ensureChild(
        client,
        `${address}/${commandContainer}`,
        ResourceType.subscription,
        this.#subscription(),
        options,
      ),
    ]);
    if (!rights.ok) return { kind: 'failed', reason: rights.error.message };
    if (subscription !== undefined) return { kind: 'failed', reason: subscription.message };
    return { kind: 'succeeded' };
  }

  /** Writes the state into the AE's labels; the epoch of its creation is kept. */
  async label(
    client: CseClient,
    cse: CseReference,
    mark: { epoch: Epoch; state: BundleState },
    options: CallOptions,
  ): Promise<WorkOutcome> {
    const address = this.aeAddress(cse);
    const since = await this.#since(client, address, options);
    if (since.kind === 'gone') return { kind: 'failed', reason: `${address} is gone` };
    if (since.kind === 'failed') return since;
    const labels = this.#labels(mark.epoch, mark.state, since.epoch);
    const updated = await client.update(address, { ae: { labels } }, options);
    return updated.ok ? { kind: 'succeeded' } : { kind: 'failed', reason: updated.error.message };
  }

  /**
   * Leaves a CSE: no more commands from it, the AE marked as moved and, after a last look, kept for `graceMs` with all it
   * holds. The expiry is counted from the CSE's own clock, because ours may be wrong by years.
   */
  async release(
    client: CseClient,
    cse: CseReference,
    mark: Leaving,
    options: CallOptions,
  ): Promise<WorkOutcome> {
    const address = this.aeAddress(cse);
    const [since, unsubscribed] = await Promise.all([
      this.#since(client, address, options),
      client.delete(`${address}/${commandContainer}/${subscriptionName}`, options),
    ]);
    if (since.kind === 'gone') return { kind: 'succeeded' };
    if (since.kind === 'failed') return since;
    if (!unsubscribed.ok && !isRejectedWith(unsubscribed.error, ResponseStatusCode.notFound)) {
      return { kind: 'failed', reason: unsubscribed.error.message };
    }
    const labels = this.#labels(mark.epoch, 'moved', since.epoch);
    const labelled = await client.update(
      address,
      { ae: { labels } },
      { ...options, resultContent: ResultContent.attributes },
    );
    if (!labelled.ok) return { kind: 'failed', reason: labelled.error.message };
    const nowMs = cseTimeIn(labelled, 'ae');
    if (nowMs === undefined)
      return { kind: 'failed', reason: `${address}: the answer carries no lastModifiedTime` };
    const looked = await mark.lastLook?.();
    if (looked !== undefined && looked.kind !== 'succeeded') return looked;
    const expirationTime = encodeTimestamp(nowMs + mark.graceMs);
    const updated = await client.update(
      address,
      { ae: { expirationTime, requestReachability: false } },
      options,
    );
    return updated.ok ? { kind: 'succeeded' } : { kind: 'failed', reason: updated.error.message };
  }

  /** Takes back what preparing did: the AE is deleted if this epoch created it, marked as moved otherwise. */
  async undo(
    client: CseClient,
    cse: CseReference,
    mark: Leaving,
    options: CallOptions,
  ): Promise<WorkOutcome> {
    const address = this.aeAddress(cse);
    const since = await this.#since(client, address, options);
    if (since.kind === 'gone') return { kind: 'succeeded' };
    if (since.kind === 'failed') return since;
    if (since.epoch !== mark.epoch) return this.release(client, cse, mark, options);
    const deleted = await client.delete(address, options);
    if (deleted.ok || isRejectedWith(deleted.error, ResponseStatusCode.notFound))
      return { kind: 'succeeded' };
    return { kind: 'failed', reason: deleted.error.message };
  }

  async #register(
    client: CseClient,
    cse: CseReference,
    wanted: { epoch: Epoch; state: BundleState; pointOfAccess: string },
    options: CallOptions,
  ): Promise<WorkOutcome> {
    const { device, aeId } = this.#manifest;
    const reachable: Ae = { requestReachability: true, pointOfAccess: [wanted.pointOfAccess] };
    const created = await client.create(
      cse.cseBaseName,
      ResourceType.ae,
      {
        ae: {
          resourceName: device,
          appId: 'Nbaton',
          appName: 'baton',
          supportedReleaseVersions: ['4'],
          contentSerialization: ['application/cbor'],
          labels: this.#labels(wanted.epoch, wanted.state, wanted.epoch),
          ...reachable,
        },
      },
      { ...options, resultContent: ResultContent.attributes },
    );
    if (created.ok) {
      const assigned = contentOf(created.value, 'ae').aeId;
      if (typeof assigned === 'string' && assigned.split('/').pop() !== aeId) {
        return { kind: 'failed', reason: `${cse.cseId} assigned the AE-ID ${assigned} instead of ${aeId}` };
      }
      return { kind: 'succeeded' };
    }
    const exists =
      isRejectedWith(created.error, ResponseStatusCode.originatorHasAlreadyRegistered) ||
      isRejectedWith(created.error, ResponseStatusCode.alreadyExists) ||
      isRejectedWith(created.error, ResponseStatusCode.conflict);
    if (!exists) return { kind: 'failed', reason: created.error.message };
    return this.#takeOver(client, cse, wanted, reachable, options);
  }

  /** An AE of ours from an earlier stay: readable by us, or it is not ours. */
  async #takeOver(
    client: CseClient,
    cse: CseReference,
    wanted: { epoch: Epoch; state: BundleState },
    reachable: Ae,
    options: CallOptions,
  ): Promise<WorkOutcome> {
    const address = this.aeAddress(cse);
    const since = await this.#since(client, address, options);
    if (since.kind === 'gone')
      return { kind: 'failed', reason: `${address} is registered under another name` };
    if (since.kind === 'failed')
      return { kind: 'failed', reason: `${address} is held but not ours to use: ${since.reason}` };
    const labels = this.#labels(wanted.epoch, wanted.state, since.epoch);
    const updated = await client.update(
      address,
      { ae: { labels, ...reachable } },
      { ...options, resultContent: ResultContent.attributes },
    );
    if (!updated.ok) return { kind: 'failed', reason: updated.error.message };
    const nowMs = cseTimeIn(updated, 'ae');
    if (nowMs === undefined)
      return { kind: 'failed', reason: `${address}: the answer carries no lastModifiedTime` };
    const extended = await client.update(
      address,
      { ae: { expirationTime: encodeTimestamp(nowMs + registrationMs) } },
      options,
    );
    return extended.ok ? { kind: 'succeeded' } : { kind: 'failed', reason: extended.error.message };
  }

  async #since(
    client: CseClient,
    address: string,
    options: CallOptions,
  ): Promise<
    { kind: 'found'; epoch: Epoch | undefined } | { kind: 'gone' } | { kind: 'failed'; reason: string }
  > {
    const read = await client.retrieve(address, options);
    if (!read.ok) {
      if (isRejectedWith(read.error, ResponseStatusCode.notFound)) return { kind: 'gone' };
      return { kind: 'failed', reason: read.error.message };
    }
    const { aeId, labels } = contentOf(read.value, 'ae');
    if (typeof aeId !== 'string' || aeId.split('/').pop() !== this.#manifest.aeId) {
      return { kind: 'failed', reason: `${address} belongs to ${String(aeId)}` };
    }
    return { kind: 'found', epoch: sinceOf(labels) };
  }

  async #ensureChild(
    client: CseClient,
    parent: string,
    resourceType: ResourceType,
    content: Parameters<CseClient['create']>[2],
    options: CallOptions,
  ): Promise<CseFailure | undefined> {
    const created = await client.create(parent, resourceType, content, {
      ...options,
      resultContent: ResultContent.nothing,
    });
    if (created.ok || isRejectedWith(created.error, ResponseStatusCode.conflict)) return undefined;
    return created.error;
  }

  #labels(epoch: Epoch, state: BundleState, since: Epoch | undefined): string[] {
    const labels = [`baton:dev=${this.#manifest.device}`, `baton:state=${state}`, `baton:epoch=${epoch}`];
    return since === undefined ? labels : [...labels, `baton:since=${since}`];
  }

  #policy(): Parameters<CseClient['create']>[2] {
    const { aeId, readers } = this.#manifest;
    const own = { accessControlOriginators: [aeId], accessControlOperations: AccessControlOperations.all };
    const { create, retrieve, notify, discovery } = AccessControlOperations;
    const others = {
      accessControlOriginators: [...readers],
      accessControlOperations: create + retrieve + notify + discovery,
    };
    return {
      accessControlPolicy: {
        resourceName: 'acp',
        privileges: { accessControlRule: readers.length === 0 ? [own] : [own, others] },
        selfPrivileges: { accessControlRule: [own] },
      },
    };
  }

  #subscription(): Parameters<CseClient['create']>[2] {
    return {
      subscription: {
        resourceName: subscriptionName,
        eventNotificationCriteria: {
          notificationEventType: [NotificationEventType.createOfDirectChild],
          childResourceType: [ResourceType.contentInstance],
        },
        notificationUri: [this.#manifest.aeId],
        notificationContentType: 1,
      },
    };
  }
}

function sinceOf(labels: unknown): Epoch | undefined {
  if (!Array.isArray(labels)) return undefined;
  for (const label of labels) {
    const match = typeof label === 'string' ? /^baton:since=(\d{1,15})$/u.exec(label) : null;
    if (match !== null) return Number(match[1]) as Epoch;
  }
  return undefined;
}

function cseTimeIn(outcome: Extract<CseOutcome, { ok: true }>, root: 'ae'): number | undefined {
  const time = contentOf(outcome.value, root).lastModifiedTime;
  return typeof time === 'string' ? parseTimestamp(time) : undefined;
}
