import { millis } from '../../base/units.ts';
import type { CancelTimer } from '../../host/clock.ts';
import { randomHex } from '../../host/entropy.ts';
import { Operation, ResourceType, ResponseStatusCode, isSuccess } from '../../onem2m/enums.ts';
import { encodeTimestamp } from '../../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import type { RemoteCse } from '../../onem2m/resources.ts';
import { registeredCse } from './access-control.ts';
import { storeResource } from './cse-core.ts';
import type { CseCore, RegistrarSettings } from './cse-core.ts';

type Call = Omit<RequestPrimitive, 'requestIdentifier' | 'from'>;

/**
 * Registration of a CSE at its registrar (TS-0001 10.2.2.7): a remoteCSE there with a lease that is renewed, and the
 * registrar's remoteCSE here. Tries for ever; a registrar that forgot us is registered at again.
 */
export class Registration {
  readonly #core: CseCore;
  readonly #registrar: RegistrarSettings;
  #cancel: CancelTimer = () => undefined;

  constructor(core: CseCore, registrar: RegistrarSettings) {
    this.#core = core;
    this.#registrar = registrar;
    core.lifetime.addEventListener('abort', () => this.#cancel(), { once: true });
  }

  /** Makes one attempt and schedules what comes after it. */
  async keep(): Promise<void> {
    const core = this.#core;
    const isRegistered = (await this.#renew()) || (await this.#register());
    if (core.lifetime.aborted) return;
    const { registrationCheckMs, registrationRetryMs } = core.settings;
    const waitMs = isRegistered ? registrationCheckMs : registrationRetryMs;
    this.#cancel = core.clock.schedule(millis(waitMs), () => void this.keep());
  }

  async #renew(): Promise<boolean> {
    if (registeredCse(this.#core, this.#registrar.cseId) === undefined) return false;
    return this.#update();
  }

  async #register(): Promise<boolean> {
    const core = this.#core;
    const { cseId, cseBaseName } = core.settings;
    const content: RemoteCse = {
      ...this.#lease(),
      resourceName: localName(cseId),
      cseType: core.settings.cseType,
      cseBase: `${cseId}/${cseBaseName}`,
      cseId,
      requestReachability: true,
    };
    const created = await this.#call({
      operation: Operation.create,
      to: this.#registrar.cseId,
      resourceType: ResourceType.remoteCse,
      primitiveContent: { remoteCse: content },
    });
    const code = created?.responseStatusCode;
    const wasKnown =
      code === ResponseStatusCode.originatorHasAlreadyRegistered || code === ResponseStatusCode.conflict;
    if (code !== ResponseStatusCode.created && !(wasKnown && (await this.#update()))) return false;
    return this.#mirror();
  }

  async #update(): Promise<boolean> {
    const { cseId } = this.#core.settings;
    const response = await this.#call({
      operation: Operation.update,
      to: `${this.#registrar.cseId}/${this.#registrar.cseBaseName}/${localName(cseId)}`,
      primitiveContent: { remoteCse: this.#lease() },
    });
    return response !== undefined && isSuccess(response.responseStatusCode);
  }

  async #mirror(): Promise<boolean> {
    const core = this.#core;
    const { cseId, pointOfAccess, cseBaseName } = this.#registrar;
    const response = await this.#call({ operation: Operation.retrieve, to: cseId });
    const theirs = response?.primitiveContent?.cseBase;
    if (theirs === undefined || core.lifetime.aborted) return false;
    if (registeredCse(core, cseId) === undefined) {
      storeResource(core, {
        type: ResourceType.remoteCse,
        root: 'remoteCse',
        parent: core.tree.root,
        name: localName(cseId),
        createdBy: core.settings.cseId,
        arrivalMs: core.clock.monotonicMs(),
        attributes: {
          cseType: theirs.cseType,
          cseBase: `${cseId}/${cseBaseName}`,
          cseId,
          pointOfAccess: [...new Set([pointOfAccess, ...(theirs.pointOfAccess ?? [])])],
          requestReachability: true,
          supportedReleaseVersions: theirs.supportedReleaseVersions ?? ['4'],
          contentSerialization: theirs.contentSerialization ?? [],
        },
      });
    }
    core.emit({ kind: 'registered', cseId: core.settings.cseId });
    return true;
  }

  #lease(): RemoteCse {
    const { settings, clock, pointsOfAccess, tree } = this.#core;
    return {
      pointOfAccess: [...pointsOfAccess],
      labels: [...settings.labels],
      supportedReleaseVersions: tree.root.attributes.supportedReleaseVersions as string[],
      contentSerialization: tree.root.attributes.contentSerialization as string[],
      expirationTime: encodeTimestamp(clock.unixMs() + settings.registrationLeaseMs),
    };
  }

  async #call(call: Call): Promise<ResponsePrimitive | undefined> {
    const core = this.#core;
    const { registrationCheckMs, requestDeadlineMs } = core.settings;
    const sent = await core.send(
      this.#registrar.pointOfAccess,
      {
        ...call,
        from: core.settings.cseId,
        requestIdentifier: randomHex(core.entropy, 6),
        releaseVersionIndicator: '4',
      },
      {
        serialisation: core.settings.serialisation,
        deadlineMs: millis(Math.min(registrationCheckMs, requestDeadlineMs)),
      },
    );
    return sent.ok ? sent.value : undefined;
  }
}

/** The resource name of a CSE's remoteCSE: its CSE-ID without the slash. */
function localName(cseId: string): string {
  return cseId.slice(1);
}
