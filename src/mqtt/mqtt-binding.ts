import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis, UnixMillis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import { Operation, ResourceType, ResponseStatusCode, isSuccess } from '../onem2m/enums.ts';
import { parseTimestamp } from '../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../onem2m/primitives.ts';
import { MqttExchange, refusal, timeLeft } from './mqtt-exchange.ts';
import type { MqttExchangeCounters, MqttRoute } from './mqtt-exchange.ts';
import { MqttSession } from './mqtt-session.ts';
import type { MqttSessionOptions } from './mqtt-session.ts';
import {
  aeLevels,
  encodeEntity,
  registrationResponseFilter,
  requestFilter,
  responseFilter,
} from './topics.ts';

/** How to reach one CSE through one broker. */
export interface MqttBindingOptions {
  readonly session: MqttSessionOptions;
  /** SP-relative ID of the CSE, `/id-mn1`. */
  readonly cseId: string;
  /** How bodies are written; answers are read by their own topic. */
  readonly serialisation: Serialisation;
  /** Path of the CSE's point of access, without leading slash; none by default. */
  readonly topicPrefix?: string;
  /** AE-IDs to hear answers and requests for from the start; others are added when they first send. */
  readonly originators: readonly string[];
  /** Unique name under which AEs without an AE-ID register; needed only for those. */
  readonly credentialId?: string;
  /**
   * How an AE with a C stem names itself in topics: by its stem alone, or SP-relative as TS-0010 6.4 has it
   * (`id-mn1:Cgw1`). Both forms are heard in any case.
   */
  readonly addressing?: 'stem' | 'spRelative';
  /** Requests that may wait for an answer at once. */
  readonly outstandingMax?: number;
  /** The time of day where it is known well enough to drop requests that expired at the broker. */
  readonly wallTime?: () => UnixMillis | undefined;
}

const originatorsMax = 64;

/**
 * The oneM2M MQTT binding (TS-0010) of AEs towards one CSE over one session. It lives as long as its connection: after
 * `onClose` every request ends as `unreachable`, and the owner opens another one.
 */
export class MqttBinding implements Binding {
  readonly #session: MqttSession;
  readonly #exchange: MqttExchange;
  readonly #options: MqttBindingOptions;
  readonly #clock: Clock;
  readonly #prefix: string;
  readonly #cseLevel: string;
  readonly #attached = new Map<string, Promise<Result<void, DeliveryError>>>();
  #closeHandler: (reason: string) => void = () => undefined;
  #lostReason: string | undefined;

  private constructor(session: MqttSession, options: MqttBindingOptions) {
    this.#session = session;
    this.#options = options;
    this.#clock = options.session.clock;
    this.#prefix = options.topicPrefix ?? '';
    this.#cseLevel = encodeEntity(options.cseId);
    this.#exchange = new MqttExchange({
      session,
      clock: this.#clock,
      ...(options.outstandingMax === undefined ? {} : { outstandingMax: options.outstandingMax }),
    });
    session.onClose((reason) => {
      this.#lostReason = reason;
      this.#exchange.fail({ kind: 'unreachable', message: `MQTT session: ${reason}` });
      this.#closeHandler(reason);
    });
  }

  /**
   * Connects and subscribes for all originators within the session's deadline. Throws `EncodeError` for an ID that
   * cannot be a topic level.
   */
  static async open(options: MqttBindingOptions): Promise<Result<MqttBinding, DeliveryError>> {
    const { clock, deadlineMs } = options.session;
    const startMs = clock.monotonicMs();
    for (const originator of options.originators) encodeEntity(originator);
    const opened = await MqttSession.open(options.session);
    if (!opened.ok) return opened;
    const binding = new MqttBinding(opened.value, options);
    for (const originator of options.originators) {
      const attached = await binding.#attach(originator, timeLeft(clock, startMs, deadlineMs));
      if (attached.ok) continue;
      await binding.close();
      return attached;
    }
    return ok(binding);
  }

  /** The protocol level agreed with the broker, to begin with next time. */
  get protocolVersion(): 4 | 5 {
    return this.#session.protocolVersion;
  }

  /** What came in and led to nothing. */
  get counters(): MqttExchangeCounters {
    return this.#exchange.counters;
  }

  /** Sets who answers requests to the AEs (notifications). One past its expiry is answered 4008 instead. */
  onRequest(handler: RequestHandler): void {
    this.#exchange.onRequest((request) => {
      if (!this.#isExpired(request)) return handler(request);
      const { requestIdentifier } = request;
      const status = ResponseStatusCode.requestTimeout;
      return Promise.resolve(refusal(requestIdentifier, status, 'the request expired before it arrived'));
    });
  }

  /** Called once when the connection is lost; not after `close`. */
  onClose(handler: (reason: string) => void): void {
    this.#closeHandler = handler;
    if (this.#lostReason !== undefined) handler(this.#lostReason);
  }

  async send(
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const startMs = this.#clock.monotonicMs();
    const isRegistration = isFirstRegistration(request);
    const originator = isRegistration ? this.#options.credentialId : request.from;
    if (originator === undefined) {
      const message = isRegistration
        ? 'a registration without AE-ID needs a credentialId for its MQTT topic'
        : 'a request over MQTT needs an originator for its topic';
      return err({ kind: 'unreachable', message });
    }
    const attached = await this.#attach(originator, options.deadlineMs, isRegistration);
    if (!attached.ok) return attached;
    const leftMs = (): Millis => timeLeft(this.#clock, startMs, options.deadlineMs);
    const route = this.#route(originator, isRegistration);
    const answered = await this.#exchange.request(route, request, { ...options, deadlineMs: leftMs() });
    const assigned = isRegistration && answered.ok ? assignedAeId(answered.value) : undefined;
    // The AE exists now whatever becomes of this; a failure shows when it first sends.
    if (assigned !== undefined) await this.#attach(assigned, leftMs());
    return answered;
  }

  /** Ends the session. With `forget` the broker drops what it holds for it: for a CSE that is left for good. */
  async close(options: { forget?: boolean } = {}): Promise<void> {
    this.#exchange.fail({ kind: 'closed', message: 'the MQTT binding was closed' });
    await this.#session.close(options);
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

  #attach(
    originator: string,
    deadlineMs: Millis,
    isCredential = false,
  ): Promise<Result<void, DeliveryError>> {
    const name = `${isCredential ? 'credential' : 'AE'} ${originator}`;
    const known = this.#attached.get(name);
    if (known !== undefined) return known;
    if (this.#attached.size >= originatorsMax) {
      const message = `${originatorsMax} originators use this MQTT session; open another for ${originator}`;
      return Promise.resolve(err({ kind: 'busy', message }));
    }
    const attaching = this.#subscribe(originator, deadlineMs, isCredential);
    this.#attached.set(name, attaching);
    void attaching.then((result) => {
      if (!result.ok) this.#attached.delete(name);
    });
    return attaching;
  }

  #subscribe(
    originator: string,
    deadlineMs: Millis,
    isCredential: boolean,
  ): Promise<Result<void, DeliveryError>> {
    const filters = isCredential
      ? [registrationResponseFilter(encodeEntity(originator), this.#prefix)]
      : aeLevels(originator, this.#options.cseId).flatMap((level) => [
          responseFilter(level, this.#prefix),
          requestFilter(level, this.#prefix),
        ]);
    return this.#session.subscribe(filters, { deadlineMs: millis(deadlineMs) });
  }

  #isExpired(request: RequestPrimitive): boolean {
    const nowMs = this.#options.wallTime?.();
    const expiresAtMs = parseTimestamp(request.requestExpirationTimestamp ?? '');
    return nowMs !== undefined && expiresAtMs !== undefined && expiresAtMs < nowMs;
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
