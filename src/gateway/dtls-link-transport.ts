import { serveRequests } from '../coap/coap-binding.ts';
import { DtlsBinding } from '../coap/dtls-binding.ts';
import { DtlsServer } from '../coap/dtls-server.ts';
import { CoapEndpoint } from '../coap/endpoint.ts';
import type { DtlsLibrary } from '../host/dtls-library.ts';
import type { Host } from '../host/host.ts';
import type { SocketAddress } from '../host/network.ts';
import { formatPointOfAccess, parsePointOfAccess } from '../onem2m/address.ts';
import type { PointOfAccess } from '../onem2m/address.ts';
import type { Binding, RequestHandler } from '../onem2m/binding.ts';
import type { LinkConfig, PskConfig } from './config.ts';
import { openLinkSocket } from './link-socket.ts';
import { noWay } from './link-transport.ts';
import type { CseAddress, LinkTransport } from './link-transport.ts';
import { PskRing } from './psk-ring.ts';

/** What the DTLS side of a link is made of. */
export interface DtlsLinkTransportOptions {
  readonly host: Host;
  readonly link: LinkConfig;
  readonly psk: readonly PskConfig[];
  /** Answers what comes in, by whichever session; without it nothing is listened for. */
  readonly handler?: RequestHandler;
  /** Told why a file of a key cannot be used, and, with `undefined`, that it can. */
  readonly onKey?: (keyFile: string, failure: string | undefined) => void;
}

interface Listener {
  readonly endpoint: CoapEndpoint;
  readonly pointOfAccess: string;
}

const bindingsMax = 32;

/**
 * CoAP over DTLS on one link: a session for each CSE, shared by all originators, on a socket of its own that leaves by the
 * address of the link, and one port at which CSEs open sessions to notify. A CSE that calls shows the same identity and
 * key by which it is called. CSEs at plain points of access never hear of that port, nor those at coaps of the plain one.
 */
export class DtlsLinkTransport implements LinkTransport {
  readonly schemes = ['coaps'] as const;
  readonly #options: DtlsLinkTransportOptions;
  readonly #ring: PskRing;
  readonly #listener: Listener | undefined;
  readonly #bindings = new Map<string, DtlsBinding>();
  #isClosed = false;

  private constructor(options: DtlsLinkTransportOptions, ring: PskRing, listener: Listener | undefined) {
    this.#options = options;
    this.#ring = ring;
    this.#listener = listener;
  }

  /** Opens the port for notifications where there are keys; throws `IoError` with the way out when it cannot be had. */
  static async open(options: DtlsLinkTransportOptions): Promise<DtlsLinkTransport> {
    const { host, psk, handler } = options;
    const ring = new PskRing(options);
    const isCalled = psk.length > 0 && handler !== undefined && host.dtls !== undefined;
    const listener = isCalled ? await listen(options, ring, host.dtls, handler) : undefined;
    return new DtlsLinkTransport(options, ring, listener);
  }

  obstacleTo(pointOfAccess: PointOfAccess): string | undefined {
    if (this.#options.host.dtls === undefined) return 'there is no DTLS here';
    if (keyFor(this.#options.psk, pointOfAccess.host) !== undefined) return undefined;
    const { host } = pointOfAccess;
    return `there is no key for ${host}; give one under security.psk: { host: ${host}, identity: …, keyFile: … }`;
  }

  /** The session is looked up for each request: one that was left is opened again for whoever still asks there. */
  bindingTo(_cse: CseAddress, pointOfAccess: PointOfAccess): Binding {
    return {
      send: (request, options) => this.#sessionAt(pointOfAccess).send(request, options),
      // It ends with the link or when its CSE is left, not with one of those who use it.
      close: () => Promise.resolve(),
    };
  }

  #sessionAt(pointOfAccess: PointOfAccess): Binding {
    if (this.#isClosed) return noWay('the link is closed');
    const { host: name, port } = pointOfAccess;
    const key = `${name}|${port}`;
    const known = this.#bindings.get(key);
    if (known !== undefined) return known;
    const psk = keyFor(this.#options.psk, name);
    const { host, link, handler } = this.#options;
    const { dtls, clock, entropy, network } = host;
    if (psk === undefined || dtls === undefined) return noWay(this.obstacleTo(pointOfAccess) ?? '');
    if (this.#bindings.size >= bindingsMax) return noWay(`${bindingsMax} DTLS sessions are in use`);
    const binding = new DtlsBinding({
      library: dtls,
      openSocket: () => network.openDatagram({ localAddress: link.localAddress }),
      resolvePeer: async () => ({ address: await this.#ring.resolve(name), port }),
      credentials: () => this.#ring.load(psk),
      clock,
      entropy,
      ...(handler === undefined ? {} : { handler }),
    });
    this.#bindings.set(key, binding);
    return binding;
  }

  ownPointOfAccess(pointOfAccess: PointOfAccess): string {
    const { scheme, host, port } = pointOfAccess;
    return this.#listener?.pointOfAccess ?? formatPointOfAccess(scheme, host, port);
  }

  /** Ends the session: what is still kept there for this gateway finds nobody. */
  async leave(_cse: CseAddress, { host, port }: PointOfAccess): Promise<void> {
    const key = `${host}|${port}`;
    const binding = this.#bindings.get(key);
    this.#bindings.delete(key);
    await binding?.close();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const bindings = [...this.#bindings.values()];
    this.#bindings.clear();
    await Promise.all([this.#listener?.endpoint.close(), ...bindings.map((binding) => binding.close())]);
  }
}

async function listen(
  { host, link }: DtlsLinkTransportOptions,
  ring: PskRing,
  dtls: () => Promise<DtlsLibrary>,
  handler: RequestHandler,
): Promise<Listener> {
  const { clock, entropy, network } = host;
  const library = await dtls();
  await ring.loadAll();
  const keyOf = (identity: string, from: SocketAddress): Uint8Array | undefined =>
    ring.keyOf(identity, from.address);
  const socket = await openLinkSocket(network, link, 'securePort');
  const server = new DtlsServer({ socket, library, keyOf, clock, entropy });
  const endpoint = new CoapEndpoint({ socket: server, clock, entropy });
  serveRequests(endpoint, handler);
  const { address, port } = server.local;
  const advertised = link.advertise === undefined ? undefined : parsePointOfAccess(link.advertise)?.host;
  return { endpoint, pointOfAccess: formatPointOfAccess('coaps', advertised ?? address, port) };
}

function keyFor(psk: readonly PskConfig[], host: string): PskConfig | undefined {
  return psk.find((each) => each.host === host) ?? psk.find((each) => each.host === undefined);
}
