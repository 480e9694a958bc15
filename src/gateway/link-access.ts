import { printable } from '../base/text.ts';
import type { Millis } from '../base/units.ts';
import type { Host } from '../host/host.ts';
import { parsePointOfAccess } from '../onem2m/address.ts';
import type { PointOfAccess } from '../onem2m/address.ts';
import type { Binding, RequestHandler } from '../onem2m/binding.ts';
import { CseClient } from '../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../onem2m/enums.ts';
import { RequestWindows } from '../onem2m/request-window.ts';
import { CoapLinkTransport } from './coap-link-transport.ts';
import { noSecurity, plainMqtt } from './config.ts';
import type { LinkConfig, MqttConfig, SecurityConfig } from './config.ts';
import { DtlsLinkTransport } from './dtls-link-transport.ts';
import { noWay } from './link-transport.ts';
import type { CseAddress, LinkTransport } from './link-transport.ts';
import { MqttLinkTransport } from './mqtt-link-transport.ts';

/** What a link is opened with. */
export interface LinkAccessOptions {
  readonly host: Host;
  readonly link: LinkConfig;
  /** Time for a request unless its caller says otherwise. */
  readonly deadlineMs: Millis;
  /** Requests in flight to one CSE at most. */
  readonly requestsMax?: number;
  /**
   * Answers what comes in, by whatever protocol. Without it the link serves to ask only: beside a gateway that runs it takes
   * nothing away from it.
   */
  readonly handler?: RequestHandler;
  /** Brokers and credentials; without them plain brokers only. */
  readonly mqtt?: MqttConfig;
  readonly security?: SecurityConfig;
  /** Told when the session at a broker is lost or cannot be opened, and, with `undefined`, when it is there. */
  readonly onBroker?: (broker: string, failure: string | undefined) => void;
  /** Told why a file of a pre-shared key cannot be used, and, with `undefined`, that it can. */
  readonly onKey?: (keyFile: string, failure: string | undefined) => void;
}

/**
 * One access link as the way to every CSE. The scheme of a CSE's point of access chooses the protocol, and with it the point
 * of access at which that CSE notifies the gateway: there is one for each CSE, not one for the gateway.
 */
export class LinkAccess {
  readonly #host: Host;
  readonly #deadlineMs: Millis;
  readonly #transports: readonly LinkTransport[];
  readonly #windows: RequestWindows;

  private constructor(options: LinkAccessOptions, transports: readonly LinkTransport[]) {
    const { host, deadlineMs, requestsMax } = options;
    this.#host = host;
    this.#deadlineMs = deadlineMs;
    this.#transports = transports;
    const max = requestsMax === undefined ? {} : { max: requestsMax };
    this.#windows = new RequestWindows(host.clock, max);
  }

  /** Opens the sockets on the address of the link; throws `IoError` with the way out when the address is not there. */
  static async open(options: LinkAccessOptions): Promise<LinkAccess> {
    const { host, link, handler, mqtt = plainMqtt, security = noSecurity, onBroker, onKey } = options;
    const coap = await CoapLinkTransport.open(host, link, handler ?? refuse);
    const answering = handler === undefined ? {} : { handler };
    try {
      const dtls = await DtlsLinkTransport.open({
        host,
        link,
        psk: security.psk ?? [],
        ...answering,
        ...(onKey === undefined ? {} : { onKey }),
      });
      const mqttTransport = new MqttLinkTransport({
        host,
        link,
        mqtt,
        security,
        ...answering,
        ...(onBroker === undefined ? {} : { onState: onBroker }),
      });
      return new LinkAccess(options, [coap, dtls, mqttTransport]);
    } catch (error) {
      // Its socket would be in the way of the next attempt.
      await coap.close();
      throw error;
    }
  }

  /**
   * A client for a CSE. Never throws: what is wrong with the address shows in each outcome. Requests that a CSE leaves open
   * until something comes (`staysOpen`) take no place in the window, and say nothing of how fast it answers.
   */
  cseClient(cse: CseAddress, originator: string, options: { readonly staysOpen?: true } = {}): CseClient {
    const way = this.#wayTo(cse.pointOfAccess);
    const bindingTo = ({ transport, pointOfAccess }: Exclude<typeof way, string>): Binding => {
      const binding = transport.bindingTo(cse, pointOfAccess, originator);
      return options.staysOpen ? binding : this.#windows.bindingThrough(cse.pointOfAccess, binding);
    };
    return new CseClient({
      binding: typeof way === 'string' ? noWay(way) : bindingTo(way),
      originator,
      entropy: this.#host.entropy,
      deadlineMs: this.#deadlineMs,
    });
  }

  /** The point of access that a CSE is told to notify; its own where there is no way to it. */
  pointOfAccessFor(cse: CseAddress): string {
    const way = this.#wayTo(cse.pointOfAccess);
    return typeof way === 'string' ? cse.pointOfAccess : way.transport.ownPointOfAccess(way.pointOfAccess);
  }

  /** Why a CSE at this point of access cannot be spoken to over this link; undefined when it can. */
  obstacleTo(pointOfAccess: string): string | undefined {
    const way = this.#wayTo(pointOfAccess);
    return typeof way === 'string' ? way : undefined;
  }

  /** The CSE is left for good; see `LinkTransport.leave`. */
  async leave(cse: CseAddress): Promise<void> {
    const way = this.#wayTo(cse.pointOfAccess);
    if (typeof way !== 'string') await way.transport.leave(cse, way.pointOfAccess);
  }

  async close(): Promise<void> {
    await Promise.all(this.#transports.map((transport) => transport.close()));
  }

  #wayTo(text: string): { transport: LinkTransport; pointOfAccess: PointOfAccess } | string {
    const pointOfAccess = parsePointOfAccess(text);
    // It may have been published by anybody.
    const named = printable(text, 80);
    if (pointOfAccess === undefined) return `"${named}" is no point of access that is spoken here`;
    const transport = this.#transports.find(({ schemes }) => schemes.includes(pointOfAccess.scheme));
    if (transport === undefined) return `${named}: ${pointOfAccess.scheme} is not spoken over this link`;
    const obstacle = transport.obstacleTo(pointOfAccess);
    return obstacle === undefined ? { transport, pointOfAccess } : `${named}: ${obstacle}`;
  }
}

/** What a link that only asks says to requests. */
const refuse: RequestHandler = ({ requestIdentifier }) =>
  Promise.resolve({ responseStatusCode: ResponseStatusCode.operationNotAllowed, requestIdentifier });
