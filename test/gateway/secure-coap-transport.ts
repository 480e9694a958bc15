import { err, ok } from '../../src/base/result.ts';
import type { Result } from '../../src/base/result.ts';
import { BlockService } from '../../src/coap/block-service.ts';
import { DtlsBinding } from '../../src/coap/dtls-binding.ts';
import { DtlsServer } from '../../src/coap/dtls-server.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import type { DtlsCredentials } from '../../src/host/dtls-credentials.ts';
import { loadDtlsLibrary } from '../../src/host/dtls-library.ts';
import type { Host } from '../../src/host/host.ts';
import type { DatagramSocket } from '../../src/host/network.ts';
import { formatPointOfAccess, parsePointOfAccess } from '../../src/onem2m/address.ts';
import type { DeliveryError, SendOptions } from '../../src/onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import type { CseRequestHandler, CseTransport } from '../../src/testbed/cse/cse-transport.ts';
import { answerMessage } from '../../src/testbed/cse/transports/coap-answer.ts';

const address = '127.0.0.1';

/** A testbed CSE that speaks coaps and nothing else: it is called, and it calls, with one identity and key. */
export class SecureCoapTransport implements CseTransport {
  readonly #host: Pick<Host, 'clock' | 'entropy' | 'network'>;
  readonly #credentials: DtlsCredentials;
  readonly #bindings = new Map<string, DtlsBinding>();
  #endpoint: CoapEndpoint | undefined;
  #port = 0;
  #isCrashing = false;

  constructor(host: Pick<Host, 'clock' | 'entropy' | 'network'>, credentials: DtlsCredentials) {
    this.#host = host;
    this.#credentials = credentials;
  }

  async listen(handler: CseRequestHandler): Promise<string> {
    const { clock, entropy, network } = this.#host;
    const open = await network.openDatagram({ localAddress: address, port: this.#port });
    const socket: DatagramSocket = {
      local: open.local,
      // A crashed process takes leave of nobody.
      send: (data, to) => (this.#isCrashing ? Promise.resolve(ok(undefined)) : open.send(data, to)),
      onMessage: (handler) => open.onMessage(handler),
      close: () => open.close(),
    };
    this.#isCrashing = false;
    const server = new DtlsServer({
      socket,
      library: await loadDtlsLibrary(),
      keyOf: (identity) => (identity === this.#credentials.identity ? this.#credentials.key : undefined),
      clock,
      entropy,
    });
    this.#port = server.local.port;
    this.#endpoint = new CoapEndpoint({ socket: server, clock, entropy });
    const service = new BlockService({ clock, handler: (message) => answerMessage(handler, message) });
    this.#endpoint.onRequest((message, from) => service.answer(message, from));
    return formatPointOfAccess('coaps', address, this.#port);
  }

  canReach(pointOfAccess: string): boolean {
    return parsePointOfAccess(pointOfAccess)?.scheme === 'coaps';
  }

  send(
    pointOfAccess: string,
    request: RequestPrimitive,
    options: SendOptions,
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const poa = parsePointOfAccess(pointOfAccess);
    if (poa?.scheme !== 'coaps') {
      return Promise.resolve(err({ kind: 'unreachable', message: `${pointOfAccess} is not coaps` }));
    }
    const { clock, entropy, network } = this.#host;
    let binding = this.#bindings.get(pointOfAccess);
    binding ??= new DtlsBinding({
      library: loadDtlsLibrary,
      openSocket: () => network.openDatagram({ localAddress: address }),
      resolvePeer: async () => ({ address: await network.resolve(poa.host), port: poa.port }),
      credentials: () => Promise.resolve(this.#credentials),
      clock,
      entropy,
    });
    this.#bindings.set(pointOfAccess, binding);
    return binding.send(request, options);
  }

  async close(): Promise<void> {
    this.#isCrashing = true;
    const bindings = [...this.#bindings.values()];
    this.#bindings.clear();
    await Promise.all([this.#endpoint?.close(), ...bindings.map((binding) => binding.close())]);
    this.#endpoint = undefined;
  }
}
