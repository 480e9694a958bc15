import { millis } from '../../base/units.ts';
import type { Millis } from '../../base/units.ts';
import type { Result } from '../../base/result.ts';
import { err, ok } from '../../base/result.ts';
import { sleep } from '../../host/clock.ts';
import type { Clock } from '../../host/clock.ts';
import { randomFraction } from '../../host/entropy.ts';
import type { Entropy } from '../../host/entropy.ts';
import type { DeliveryError } from '../../onem2m/binding.ts';
import { ResourceType } from '../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../onem2m/primitives.ts';
import { Announcer } from './announcer.ts';
import { respond } from './cse-core.ts';
import type { CseCore, CseEvent, CseSettings, ResourceChange } from './cse-core.ts';
import type { CseTransport, RequestOrigin } from './cse-transport.ts';
import { Delivery } from './delivery.ts';
import { ExpiryWatch } from './expiry.ts';
import { countInstance } from './instances.ts';
import type { Misbehaviour } from './misbehaviour.ts';
import { MissingDataWatch } from './missing-data.ts';
import { Notifier } from './notifier.ts';
import { PollingChannels } from './polling-channel.ts';
import { CseRefusal } from './refusal.ts';
import { Registration } from './registration.ts';
import { dispatch } from './request-dispatch.ts';
import { isInstance, structuredPath } from './resource-tree.ts';
import type { ResourceTree, StoredResource } from './resource-tree.ts';

/** What a run is made of. */
export interface CseRunOptions {
  readonly settings: CseSettings;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly transports: readonly CseTransport[];
  readonly pointsOfAccess: readonly string[];
  readonly tree: ResourceTree;
  readonly misbehaviour: Misbehaviour;
  readonly emit: (event: CseEvent) => void;
}

/** One life of a testbed CSE, from its start to its crash: composes the parts and hands changes round among them. */
export class CseRun implements CseCore {
  readonly settings: CseSettings;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly transports: readonly CseTransport[];
  readonly pointsOfAccess: readonly string[];
  readonly tree: ResourceTree;
  readonly lifetime: AbortSignal;
  readonly emit: (event: CseEvent) => void;
  readonly #end = new AbortController();
  readonly #misbehaviour: Misbehaviour;
  readonly #pollingChannels: PollingChannels;
  readonly #delivery: Delivery;
  readonly #observers: { observe(change: ResourceChange): void }[] = [];

  constructor(options: CseRunOptions) {
    this.settings = options.settings;
    this.clock = options.clock;
    this.entropy = options.entropy;
    this.transports = options.transports;
    this.pointsOfAccess = options.pointsOfAccess;
    this.tree = options.tree;
    this.emit = options.emit;
    this.lifetime = this.#end.signal;
    this.#misbehaviour = options.misbehaviour;
    this.#pollingChannels = new PollingChannels(this);
    this.#delivery = new Delivery(this, this.#pollingChannels);
    const notifier = new Notifier(this, this.#delivery);
    // Counters first: what subscribers and copies see must include them.
    this.#observers.push(
      { observe: (change) => this.#keepCounters(change) },
      notifier,
      new Announcer(this, this.#delivery),
      new MissingDataWatch(this, notifier),
    );
    // Removes at once what expired while the CSE was down, so the others must be observing by then.
    this.#observers.push(new ExpiryWatch(this));
    const { registrar } = options.settings;
    if (registrar !== undefined) void new Registration(this, registrar).keep();
  }

  /** Ends this run at once: timers stop, whatever is under way is never answered. */
  end(): void {
    this.#end.abort();
  }

  changed(change: ResourceChange): void {
    for (const observer of this.#observers) observer.observe(change);
  }

  perform(request: RequestPrimitive, origin: RequestOrigin): Promise<ResponsePrimitive> {
    return this.answer(request, origin, this.clock.monotonicMs());
  }

  /** Executes a request; a refusal becomes an error response with its debug text. */
  async answer(
    request: RequestPrimitive,
    origin: RequestOrigin,
    arrivalMs: number,
  ): Promise<ResponsePrimitive> {
    const parts = { core: this, delivery: this.#delivery, pollingChannels: this.#pollingChannels };
    try {
      return await dispatch(parts, request, origin, arrivalMs);
    } catch (error) {
      if (error instanceof CseRefusal) {
        return respond(request, error.responseStatusCode, { debugInfo: error.message });
      }
      throw error;
    }
  }

  async send(
    pointOfAccess: string,
    request: RequestPrimitive,
    options: { serialisation: Serialisation; deadlineMs: Millis },
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const transport = this.transports.find((each) => each.canReach(pointOfAccess));
    if (transport === undefined) {
      return err({ kind: 'unreachable', message: `no transport reaches ${pointOfAccess}` });
    }
    const action = this.#misbehaviour.decide('outgoing', request, request.resourceType);
    if (action?.kind === 'answer') {
      return ok(respond(request, action.responseStatusCode));
    }
    if (action?.kind === 'delay') await this.pause(action);
    if (action?.kind === 'dropRequest') {
      await this.pause({ delayMs: options.deadlineMs });
      return err({ kind: 'deadline', message: `no answer within ${options.deadlineMs} ms` });
    }
    if (this.lifetime.aborted) return err({ kind: 'closed', message: 'the CSE has ended' });
    return transport.send(pointOfAccess, request, { ...options, signal: this.lifetime });
  }

  /** Lets a scripted delay pass; returns early when the run ends. */
  async pause(delay: { delayMs: Millis; jitterMs?: Millis }): Promise<void> {
    const jitterMs = delay.jitterMs === undefined ? 0 : delay.jitterMs * randomFraction(this.entropy);
    await sleep(this.clock, millis(delay.delayMs + jitterMs), this.lifetime).catch(() => undefined);
  }

  #keepCounters(change: ResourceChange): void {
    const { resource } = change;
    if (change.kind === 'created' && isInstance(resource.type)) countInstance(resource, 1);
    if (change.kind !== 'deleted') return;
    if (isInstance(resource.type)) countInstance(resource, -1);
    for (const removed of change.removed) {
      if (removed.type === ResourceType.pollingChannel) this.#pollingChannels.close(removed);
      if (removed.type === ResourceType.accessControlPolicy) this.#unlinkPolicy(removed);
    }
  }

  /** TS-0004 7.4.2.2.4: references to a deleted policy go with it. */
  #unlinkPolicy(policy: StoredResource): void {
    const { cseId } = this.settings;
    const path = structuredPath(policy);
    const local = [policy.id, path, path.replace(/^[^/]+/u, '-')];
    const forms = [...local, ...local.map((each) => `${cseId}/${each}`)];
    for (const resource of this.tree.all()) {
      const policies = resource.attributes.accessControlPolicyIds;
      if (!Array.isArray(policies) || !policies.some((each) => forms.includes(each as string))) continue;
      const left = policies.filter((each) => !forms.includes(each as string));
      if (left.length === 0) delete resource.attributes.accessControlPolicyIds;
      else resource.attributes.accessControlPolicyIds = left;
    }
  }
}
