import { errorText } from '../base/errors.ts';
import { err } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { CoapBinding, serveRequests } from '../coap/coap-binding.ts';
import { CoapEndpoint } from '../coap/endpoint.ts';
import type { Host } from '../host/host.ts';
import { formatPointOfAccess } from '../onem2m/address.ts';
import type { PointOfAccess } from '../onem2m/address.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../onem2m/primitives.ts';
import type { LinkConfig } from './config.ts';
import { openLinkSocket } from './link-socket.ts';
import type { CseAddress, LinkTransport } from './link-transport.ts';

/** CoAP over the one UDP socket of a link, by which requests leave and notifications come. */
export class CoapLinkTransport implements LinkTransport {
  readonly schemes = ['coap'] as const;
  readonly #host: Host;
  readonly #endpoint: CoapEndpoint;
  readonly #ownPointOfAccess: string;

  private constructor(host: Host, endpoint: CoapEndpoint, link: LinkConfig) {
    this.#host = host;
    this.#endpoint = endpoint;
    const { address, port } = endpoint.local;
    this.#ownPointOfAccess = link.advertise ?? formatPointOfAccess('coap', address, port);
  }

  /** Opens the socket on the address of the link; throws `IoError` with the way out when the address is not there. */
  static async open(host: Host, link: LinkConfig, handler: RequestHandler): Promise<CoapLinkTransport> {
    const socket = await openLinkSocket(host.network, link, 'port');
    const endpoint = new CoapEndpoint({ socket, clock: host.clock, entropy: host.entropy });
    serveRequests(endpoint, handler);
    return new CoapLinkTransport(host, endpoint, link);
  }

  obstacleTo(): undefined {
    return undefined;
  }

  bindingTo(_cse: CseAddress, pointOfAccess: PointOfAccess): Binding {
    return new ResolvingBinding(this.#host, this.#endpoint, pointOfAccess);
  }

  ownPointOfAccess(): string {
    return this.#ownPointOfAccess;
  }

  /** Nothing is kept: a CSE that cannot deliver a notification over CoAP drops it. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return this.#endpoint.close();
  }
}

/** A binding whose host name is looked up when it is first used, and again after a failed look-up. */
class ResolvingBinding implements Binding {
  readonly #host: Host;
  readonly #endpoint: CoapEndpoint;
  readonly #pointOfAccess: PointOfAccess;
  #binding: CoapBinding | undefined;

  constructor(host: Host, endpoint: CoapEndpoint, pointOfAccess: PointOfAccess) {
    this.#host = host;
    this.#endpoint = endpoint;
    this.#pointOfAccess = pointOfAccess;
  }

  async send(
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    if (this.#binding === undefined) {
      try {
        const address = await this.#host.network.resolve(this.#pointOfAccess.host);
        const peer = { address, port: this.#pointOfAccess.port };
        this.#binding = new CoapBinding({ endpoint: this.#endpoint, clock: this.#host.clock, peer });
      } catch (error) {
        return err({ kind: 'unreachable', message: errorText(error) });
      }
    }
    return this.#binding.send(request, options);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
