import { err } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { IoError, errnoCode, errorText } from '../base/errors.ts';
import type { Millis } from '../base/units.ts';
import { CoapBinding, serveRequests } from '../coap/coap-binding.ts';
import { CoapEndpoint } from '../coap/endpoint.ts';
import type { Host } from '../host/host.ts';
import { formatPointOfAccess, parsePointOfAccess } from '../onem2m/address.ts';
import type { Binding, DeliveryError, RequestHandler, SendOptions } from '../onem2m/binding.ts';
import { CseClient } from '../onem2m/cse-client.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../onem2m/primitives.ts';
import type { LinkConfig } from './config.ts';

/** The sockets of one access link: the way to every CSE, and the point of access at which the gateway is notified. */
export class LinkAccess {
  /** What a CSE is told to notify. */
  readonly pointOfAccess: string;
  readonly #host: Host;
  readonly #endpoint: CoapEndpoint;
  readonly #deadlineMs: Millis;

  private constructor(host: Host, endpoint: CoapEndpoint, link: LinkConfig, deadlineMs: Millis) {
    this.#host = host;
    this.#endpoint = endpoint;
    this.#deadlineMs = deadlineMs;
    const { address, port } = endpoint.local;
    this.pointOfAccess = link.advertise ?? formatPointOfAccess('coap', address, port);
  }

  /** Opens the sockets on the address of the link; throws `IoError` with the way out when the address is not there. */
  static async open(
    host: Host,
    link: LinkConfig,
    deadlineMs: Millis,
    handler: RequestHandler,
  ): Promise<LinkAccess> {
    const { localAddress, port } = link;
    const wanted = { localAddress, ...(port === undefined ? {} : { port }) };
    const socket = await host.network.openDatagram(wanted).catch((cause: unknown) => {
      throw new IoError(`${errorText(cause)}; ${wayOut(cause, link)}`, { cause });
    });
    const endpoint = new CoapEndpoint({ socket, clock: host.clock, entropy: host.entropy });
    serveRequests(endpoint, handler);
    return new LinkAccess(host, endpoint, link, deadlineMs);
  }

  /** A client for the CSE at `pointOfAccess`. Never throws: what is wrong with the address shows in each outcome. */
  cseClient(pointOfAccess: string, originator: string): CseClient {
    return new CseClient({
      binding: new ResolvingBinding(this.#host, this.#endpoint, pointOfAccess),
      originator,
      entropy: this.#host.entropy,
      deadlineMs: this.#deadlineMs,
    });
  }

  close(): Promise<void> {
    return this.#endpoint.close();
  }
}

function wayOut(error: unknown, { name, localAddress, port }: LinkConfig): string {
  const code = errnoCode(error instanceof Error ? error.cause : error);
  if (code === 'EADDRNOTAVAIL') {
    return `bring the link up, or set localAddress of link ${name} to an address of this machine ("ip address" lists them), not ${localAddress}`;
  }
  if (code === 'EADDRINUSE') {
    return `end the program that uses it ("ss -ulnp" lists them), or set another port of link ${name}`;
  }
  if (code === 'EACCES') {
    return `choose a port of link ${name} above 1023, not ${port}, or give this user the right to it`;
  }
  return `check localAddress of link ${name}`;
}

/** A binding whose host name is looked up when it is first used, and again after a failed look-up. */
class ResolvingBinding implements Binding {
  readonly #host: Host;
  readonly #endpoint: CoapEndpoint;
  readonly #pointOfAccess: string;
  #binding: CoapBinding | undefined;

  constructor(host: Host, endpoint: CoapEndpoint, pointOfAccess: string) {
    this.#host = host;
    this.#endpoint = endpoint;
    this.#pointOfAccess = pointOfAccess;
  }

  async send(
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    if (this.#binding === undefined) {
      const parsed = parsePointOfAccess(this.#pointOfAccess);
      if (parsed?.scheme !== 'coap') {
        return err({ kind: 'unreachable', message: `${this.#pointOfAccess} is no CoAP point of access` });
      }
      try {
        const address = await this.#host.network.resolve(parsed.host);
        const peer = { address, port: parsed.port };
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
