import { errorText } from '../../../base/errors.ts';
import { err } from '../../../base/result.ts';
import type { Result } from '../../../base/result.ts';
import { BlockService } from '../../../coap/block-service.ts';
import { CoapBinding } from '../../../coap/coap-binding.ts';
import { CoapEndpoint } from '../../../coap/endpoint.ts';
import type { Clock } from '../../../host/clock.ts';
import type { Entropy } from '../../../host/entropy.ts';
import type { Network } from '../../../host/network.ts';
import { formatPointOfAccess, parsePointOfAccess } from '../../../onem2m/address.ts';
import type { DeliveryError, SendOptions } from '../../../onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../../onem2m/primitives.ts';
import type { CseRequestHandler, CseTransport } from '../cse-transport.ts';
import { answerMessage } from './coap-answer.ts';

/** The CoAP binding of a testbed CSE on Baton's own endpoint: one socket for both directions, any network and clock. */
export class OwnCoapTransport implements CseTransport {
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #address: string;
  #port: number;
  #endpoint: Promise<CoapEndpoint> | undefined;

  /** `port` 0, the default, takes any free port at the first `listen` and the same again after a restart. */
  constructor(options: {
    network: Network;
    clock: Clock;
    entropy: Entropy;
    address?: string;
    port?: number;
  }) {
    this.#network = options.network;
    this.#clock = options.clock;
    this.#entropy = options.entropy;
    this.#address = options.address ?? '127.0.0.1';
    this.#port = options.port ?? 0;
  }

  /** Throws `IoError` when the port cannot be had. */
  async listen(handler: CseRequestHandler): Promise<string> {
    const endpoint = await this.#open();
    const service = new BlockService({
      clock: this.#clock,
      handler: (message) => answerMessage(handler, message),
    });
    endpoint.onRequest((message, from) => service.answer(message, from));
    return formatPointOfAccess('coap', this.#address, this.#port);
  }

  canReach(pointOfAccess: string): boolean {
    return parsePointOfAccess(pointOfAccess)?.scheme === 'coap';
  }

  async send(
    pointOfAccess: string,
    request: RequestPrimitive,
    options: SendOptions & { serialisation: Serialisation },
  ): Promise<Result<ResponsePrimitive, DeliveryError>> {
    const poa = parsePointOfAccess(pointOfAccess);
    if (poa?.scheme !== 'coap') {
      return err({ kind: 'unreachable', message: `${pointOfAccess} is no CoAP point of access` });
    }
    try {
      const peer = { address: await this.#network.resolve(poa.host), port: poa.port };
      const endpoint = await this.#open();
      const { serialisation } = options;
      const binding = new CoapBinding({ endpoint, clock: this.#clock, peer, serialisation });
      return await binding.send(request, options);
    } catch (error) {
      return err({ kind: 'unreachable', message: `${pointOfAccess}: ${errorText(error)}` });
    }
  }

  async close(): Promise<void> {
    const endpoint = this.#endpoint;
    this.#endpoint = undefined;
    await endpoint?.then(
      (each) => each.close(),
      () => undefined,
    );
  }

  #open(): Promise<CoapEndpoint> {
    if (this.#endpoint === undefined) {
      const opening = this.#openEndpoint();
      this.#endpoint = opening;
      opening.catch(() => {
        if (this.#endpoint === opening) this.#endpoint = undefined;
      });
    }
    return this.#endpoint;
  }

  async #openEndpoint(): Promise<CoapEndpoint> {
    const socket = await this.#network.openDatagram({ localAddress: this.#address, port: this.#port });
    this.#port = socket.local.port;
    return new CoapEndpoint({ socket, clock: this.#clock, entropy: this.#entropy });
  }
}
