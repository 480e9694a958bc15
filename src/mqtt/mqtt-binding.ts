import { err } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import type { Clock } from '../host/clock.ts';
import type { Binding, DeliveryError, SendOptions } from '../onem2m/binding.ts';
import { Operation, ResourceType, isSuccess } from '../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../onem2m/primitives.ts';
import { timeLeft } from './mqtt-exchange.ts';
import type { MqttRoute } from './mqtt-exchange.ts';
import type { MqttHearing, MqttPresence } from './mqtt-presence.ts';
import {
  aeLevels,
  encodeEntity,
  registrationResponseFilter,
  requestFilter,
  responseFilter,
} from './topics.ts';

/** How to reach one CSE through a broker. */
export interface MqttBindingOptions {
  readonly presence: MqttPresence;
  readonly clock: Clock;
  /** SP-relative ID of the CSE, `/id-mn1`. */
  readonly cseId: string;
  /** How bodies are written; answers are read by their own topic. */
  readonly serialisation: Serialisation;
  /** Path of the CSE's point of access, without leading slash; none by default. */
  readonly topicPrefix?: string;
  /** Unique name under which AEs without an AE-ID register; needed only for those. */
  readonly credentialId?: string;
  /**
   * How an AE with a C stem names itself in topics: by its stem alone, or SP-relative as TS-0010 6.4 has it
   * (`id-mn1:Cgw1`). Both forms are heard in any case.
   */
  readonly addressing?: 'stem' | 'spRelative';
}

/** The oneM2M MQTT binding (TS-0010) of AEs towards one CSE. The presence that it uses may be shared. */
export class MqttBinding implements Binding {
  readonly #options: MqttBindingOptions;
  readonly #prefix: string;
  readonly #cseLevel: string;

  /** Throws `EncodeError` for a CSE-ID that cannot be a topic level. */
  constructor(options: MqttBindingOptions) {
    this.#options = options;
    this.#prefix = options.topicPrefix ?? '';
    this.#cseLevel = encodeEntity(options.cseId);
  }

  /**
   * Hears answers and requests for an AE from now on, although it has sent nothing yet. Throws `EncodeError` for an ID that
   * cannot be a topic level.
   */
  attach(originator: string, options: SendOptions): Promise<Result<void, DeliveryError>> {
    const levels = aeLevels(originator, this.#options.cseId);
    return this.#hear(`AE ${originator}`, options, {
      answers: levels.map((level) => responseFilter(level, this.#prefix)),
      requests: levels.map((level) => requestFilter(level, this.#prefix)),
    });
  }

  async send(
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const { clock, presence, credentialId } = this.#options;
    const startMs = clock.monotonicMs();
    const left = (): SendOptions => ({
      ...options,
      deadlineMs: timeLeft(clock, startMs, options.deadlineMs),
    });
    const isRegistration = isFirstRegistration(request);
    const originator = isRegistration ? credentialId : request.from;
    if (originator === undefined) {
      const message = isRegistration
        ? 'a registration without AE-ID needs a credentialId for its MQTT topic'
        : 'a request over MQTT needs an originator for its topic';
      return err({ kind: 'unreachable', message });
    }
    const attached = isRegistration
      ? await this.#attachCredential(originator, options)
      : await this.attach(originator, options);
    if (!attached.ok) return attached;
    const answered = await presence.request(this.#route(originator, isRegistration), request, left());
    const assigned = isRegistration && answered.ok ? assignedAeId(answered.value) : undefined;
    // The AE exists now whatever becomes of this; a failure shows when it first sends.
    if (assigned !== undefined) await this.attach(assigned, left());
    return answered;
  }

  /** Nothing to end: the session belongs to the presence. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  #attachCredential(credentialId: string, options: SendOptions): Promise<Result<void, DeliveryError>> {
    const answers = [registrationResponseFilter(encodeEntity(credentialId), this.#prefix)];
    return this.#hear(`credential ${credentialId}`, options, { answers, requests: [] });
  }

  #hear(name: string, options: SendOptions, hearing: MqttHearing): Promise<Result<void, DeliveryError>> {
    return this.#options.presence.hear(`${name} at ${this.#cseLevel} ${this.#prefix}`, hearing, options);
  }

  #route(originator: string, isRegistration: boolean): MqttRoute {
    return {
      prefix: this.#prefix,
      kind: isRegistration ? 'reg_req' : 'req',
      originator: isRegistration ? encodeEntity(originator) : this.#levelOf(originator),
      receiver: this.#cseLevel,
      serialisation: this.#options.serialisation,
    };
  }

  #levelOf(originator: string): string {
    const [stem = '', spRelative = stem] = aeLevels(originator, this.#options.cseId);
    return this.#options.addressing === 'spRelative' && originator.startsWith('C') ? spRelative : stem;
  }
}

/** CREATE of an AE that has no AE-ID yet: no originator, or only the kind of stem it wants (TS-0004 7.4.5). */
function isFirstRegistration(request: RequestPrimitive): boolean {
  if (request.operation !== Operation.create || request.resourceType !== ResourceType.ae) return false;
  return ['', 'C', 'S'].includes(request.from ?? '');
}

function assignedAeId(response: ResponsePrimitive): string | undefined {
  const aeId = response.primitiveContent?.ae?.aeId;
  return isSuccess(response.responseStatusCode) && typeof aeId === 'string' ? aeId : undefined;
}
