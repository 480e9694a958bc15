/**
 * A testbed CSE reached through an MQTT broker (TS-0010). Where a request goes follows from its point of access and its
 * receiver, or from its `to` where none is given:
 * - `to` is an MQTT URL with a path (a notification URI): the path is the whole topic;
 * - `to` names this CSE or no CSE (`Cgw1`, `/Sgw1`, `/id-mn1/Cgw1` at id-mn1): the receiver is the AE;
 * - any other SP-relative or absolute `to`: the receiver is the CSE it names.
 * The path of any other point of access prefixes the topic.
 */
import { IoError } from '../../../base/errors.ts';
import { err, ok } from '../../../base/result.ts';
import type { Result } from '../../../base/result.ts';
import { millis } from '../../../base/units.ts';
import type { CancelTimer, Clock } from '../../../host/clock.ts';
import type { Network } from '../../../host/network.ts';
import { MqttExchange, refusal, timeLeft } from '../../../mqtt/mqtt-exchange.ts';
import type { MqttRequestHandler, MqttRoute } from '../../../mqtt/mqtt-exchange.ts';
import { MqttSession } from '../../../mqtt/mqtt-session.ts';
import {
  encodeEntity,
  registrationRequestFilter,
  requestFilter,
  responseFilter,
} from '../../../mqtt/topics.ts';
import { formatPointOfAccess, parsePointOfAccess } from '../../../onem2m/address.ts';
import type { DeliveryError, SendOptions } from '../../../onem2m/binding.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../../onem2m/primitives.ts';
import { encodeBody, encodeResponse } from '../../../onem2m/serialisation.ts';
import type { CseRequestHandler, CseTransport } from '../cse-transport.ts';
import { corruptionOf } from '../misbehaviour.ts';
import { garbage } from './coap-answer.ts';

/** Which CSE, and which broker it listens at. */
export interface MqttTransportOptions {
  readonly network: Network;
  readonly clock: Clock;
  /** SP-relative ID of the CSE, `/id-mn1`. */
  readonly cseId: string;
  readonly broker: { readonly host: string; readonly port: number };
  /** Topic prefix, without leading slash; none by default. */
  readonly prefix?: string;
  /** True to start without what the broker kept for this CSE while it was down. */
  readonly clean?: boolean;
}

interface Link {
  readonly session: MqttSession;
  readonly exchange: MqttExchange;
  /** Topic prefixes under which answers are heard. */
  readonly prefixes: Map<string, Promise<Result<void, DeliveryError>>>;
}

const linksMax = 8;
const prefixesMax = 64;
const connectMs = millis(3_000);
const retryMs = millis(500);

/** The MQTT binding of a testbed CSE. A lost connection to its own broker is tried again every half second. */
export class MqttTransport implements CseTransport {
  readonly #options: MqttTransportOptions;
  readonly #level: string;
  readonly #links = new Map<string, Promise<Result<Link, DeliveryError>>>();
  readonly #open = new Set<Link>();
  #handler: CseRequestHandler | undefined;
  #cancelRetry: CancelTimer = () => undefined;
  #closed = false;

  constructor(options: MqttTransportOptions) {
    this.#options = options;
    this.#level = encodeEntity(options.cseId);
  }

  /** Throws `IoError` when the broker cannot be reached now. */
  async listen(handler: CseRequestHandler): Promise<string> {
    this.#closed = false;
    const { broker, prefix = '' } = this.#options;
    const linked = await this.#link(broker.host, broker.port);
    if (!linked.ok) throw new IoError(`CSE ${this.#options.cseId} cannot listen: ${linked.error.message}`);
    this.#handler = handler;
    return `${formatPointOfAccess('mqtt', broker.host, broker.port)}${prefix === '' ? '' : `/${prefix}`}`;
  }

  canReach(pointOfAccess: string): boolean {
    return parsePointOfAccess(pointOfAccess)?.scheme === 'mqtt';
  }

  async send(
    pointOfAccess: string,
    request: RequestPrimitive,
    options: SendOptions & { serialisation: Serialisation; receiver?: string },
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const poa = parsePointOfAccess(pointOfAccess);
    if (poa?.scheme !== 'mqtt') {
      return err({ kind: 'unreachable', message: `${pointOfAccess} is no MQTT point of access` });
    }
    const startMs = this.#options.clock.monotonicMs();
    const target = parsePointOfAccess(request.to);
    const path = target?.path.split('?')[0] ?? '';
    const receiver =
      target === undefined ? this.#receiverOf(request.to, options.receiver) : path.replace(/^\//u, '');
    const isTopic = target !== undefined && path !== '' && !path.startsWith('/');
    if (receiver === undefined || receiver === '') {
      return err({ kind: 'unreachable', message: `no MQTT receiver can be told from ${request.to}` });
    }
    const prefix = target === undefined ? poa.path : '';
    const linked = await this.#link(poa.host, poa.port);
    if (!linked.ok) return linked;
    const heard = await this.#hear(linked.value, prefix);
    if (!heard.ok) return heard;
    const route: MqttRoute = {
      prefix,
      kind: 'req',
      originator: this.#level,
      receiver: isTopic ? '+' : receiver,
      serialisation: options.serialisation,
      ...(isTopic ? { verbatimTopic: path } : {}),
    };
    const deadlineMs = timeLeft(this.#options.clock, startMs, options.deadlineMs);
    return linked.value.exchange.request(route, request, { ...options, deadlineMs });
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry();
    this.#handler = undefined;
    for (const link of this.#open) drop(link);
    this.#open.clear();
    this.#links.clear();
    return Promise.resolve();
  }

  #receiverOf(to: string, receiver: string | undefined): string | undefined {
    const levels = to.replace(/^\/+/u, '').split('/');
    const [first, second, third] = levels;
    try {
      if (receiver !== undefined) return encodeEntity(receiver);
      if (to.startsWith('//')) return encodeEntity(second ?? '');
      if (!to.startsWith('/')) return levels.length === 1 ? encodeEntity(to) : undefined;
      if (`/${first}` !== this.#options.cseId) return encodeEntity(first ?? '');
      return second !== undefined && third === undefined ? encodeEntity(second) : undefined;
    } catch {
      return undefined;
    }
  }

  #link(host: string, port: number): Promise<Result<Link, DeliveryError>> {
    const name = `${host} ${port}`;
    const known = this.#links.get(name);
    if (known !== undefined) return known;
    if (this.#links.size >= linksMax || this.#closed) {
      const kind = this.#closed ? 'closed' : 'busy';
      return Promise.resolve(err({ kind, message: `no further MQTT connection (${this.#links.size} open)` }));
    }
    const linking = this.#connect(name, host, port);
    this.#links.set(name, linking);
    void linking.then((result) => {
      if (!result.ok) this.#forget(name);
    });
    return linking;
  }

  async #connect(name: string, host: string, port: number): Promise<Result<Link, DeliveryError>> {
    const { network, clock, clean = false } = this.#options;
    const suffix = this.#isOwn(name) ? '' : `::${this.#links.size}`;
    const endpoint = { host, port, clientId: `C::${this.#level}${suffix}` };
    const opened = await MqttSession.open({ network, clock, endpoint, clean, deadlineMs: connectMs });
    if (!opened.ok) return opened;
    const session = opened.value;
    const bounds = { outstandingMax: 256, handlingMax: 256 };
    const exchange = new MqttExchange({ session, clock, encodeAnswer, ...bounds });
    const link: Link = { session, exchange, prefixes: new Map() };
    if (this.#closed) {
      drop(link);
      return err({ kind: 'closed', message: 'the transport was closed' });
    }
    this.#open.add(link);
    session.onClose((reason) => {
      exchange.fail({ kind: 'unreachable', message: `MQTT session: ${reason}` });
      this.#open.delete(link);
      this.#forget(name);
    });
    const subscribed = this.#isOwn(name) ? await this.#hearRequests(link) : ok(undefined);
    if (subscribed.ok) return ok(link);
    this.#open.delete(link);
    drop(link);
    return subscribed;
  }

  #hearRequests({ session, exchange }: Link): Promise<Result<void, DeliveryError>> {
    const { prefix = '' } = this.#options;
    exchange.onRequest((request, topic) => this.#answer(request, topic));
    const filters = [requestFilter(this.#level, prefix), registrationRequestFilter(this.#level, prefix)];
    return session.subscribe(filters, { deadlineMs: connectMs });
  }

  /** Makes sure that answers to requests under this topic prefix arrive. */
  #hear({ session, prefixes }: Link, prefix: string): Promise<Result<void, DeliveryError>> {
    const known = prefixes.get(prefix);
    if (known !== undefined) return known;
    if (prefixes.size >= prefixesMax) {
      return Promise.resolve(err({ kind: 'busy', message: `${prefixesMax} MQTT topic prefixes are in use` }));
    }
    const hearing = session.subscribe([responseFilter(this.#level, prefix)], { deadlineMs: connectMs });
    prefixes.set(prefix, hearing);
    void hearing.then((result) => {
      if (!result.ok) prefixes.delete(prefix);
    });
    return hearing;
  }

  #answer: MqttRequestHandler = (request, topic) => {
    const isAllowed =
      topic.kind === 'req' ||
      (request.operation === Operation.create &&
        (request.resourceType === ResourceType.ae || request.resourceType === ResourceType.remoteCse));
    if (!isAllowed) {
      const debugInfo = 'the registration topic takes only CREATE of an AE or a remoteCSE';
      return Promise.resolve(refusal(request.requestIdentifier, ResponseStatusCode.badRequest, debugInfo));
    }
    return this.#handler?.(request, { serialisation: topic.serialisation }) ?? Promise.resolve(undefined);
  };

  #isOwn(name: string): boolean {
    const { broker } = this.#options;
    return name === `${broker.host} ${broker.port}`;
  }

  #forget(name: string): void {
    this.#links.delete(name);
    if (this.#closed || this.#handler === undefined || !this.#isOwn(name)) return;
    this.#cancelRetry();
    this.#cancelRetry = this.#options.clock.schedule(retryMs, () => {
      const { broker } = this.#options;
      void this.#link(broker.host, broker.port);
    });
  }
}

/** An answer as it is, or broken where a scripted misbehaviour wants it so. */
function encodeAnswer(response: ResponsePrimitive, serialisation: Serialisation): Uint8Array {
  const wire = encodeResponse(response);
  switch (corruptionOf(response)) {
    case undefined:
      return encodeBody(wire, serialisation);
    case 'garbageBody':
      return garbage;
    case 'missingStatusCode':
      delete wire.rsc;
      return encodeBody(wire, serialisation);
  }
}

function drop(link: Link): void {
  link.exchange.fail({ kind: 'closed', message: 'the transport was closed' });
  link.session.abort();
}
