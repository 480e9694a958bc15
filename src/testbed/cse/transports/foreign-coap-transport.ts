import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { IoError, errorText } from '../../../base/errors.ts';
import { err, ok } from '../../../base/result.ts';
import type { Result } from '../../../base/result.ts';
import { decodeResponseMessage, encodeRequestMessage } from '../../../coap/mapping.ts';
import type { CoapMessage } from '../../../coap/message.ts';
import type { Clock } from '../../../host/clock.ts';
import type { Network } from '../../../host/network.ts';
import { formatPointOfAccess, parsePointOfAccess } from '../../../onem2m/address.ts';
import type { DeliveryError, SendOptions } from '../../../onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../../onem2m/primitives.ts';
import type { CseRequestHandler, CseTransport } from '../cse-transport.ts';
import { answerMessage } from './coap-answer.ts';
import { ForeignCoapClient } from './foreign-coap-client.ts';
import { ForeignCoapServer } from './foreign-coap-server.ts';

/** The CoAP binding of a testbed CSE on the `coap` package (node-coap): a stack that is not ours. */
export class ForeignCoapTransport implements CseTransport {
  readonly #network: Network;
  readonly #clock: Clock;
  readonly #address: string;
  #port: number;
  #server: ForeignCoapServer | undefined;
  #client: Promise<ForeignCoapClient> | undefined;

  /** `port` 0, the default, takes any free port at the first `listen` and the same again after a restart. */
  constructor(options: { network: Network; clock: Clock; address?: string; port?: number }) {
    this.#network = options.network;
    this.#clock = options.clock;
    this.#address = options.address ?? '127.0.0.1';
    this.#port = options.port ?? 0;
  }

  /** Throws `IoError` when the port cannot be had. */
  async listen(handler: CseRequestHandler): Promise<string> {
    const socket = await openSocket(this.#address, this.#port);
    this.#port = socket.address().port;
    this.#server = new ForeignCoapServer(socket, this.#clock, (message) => answerMessage(handler, message));
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
    const peer = parsePointOfAccess(pointOfAccess);
    if (peer?.scheme !== 'coap') {
      return err({ kind: 'unreachable', message: `${pointOfAccess} is no CoAP point of access` });
    }
    try {
      const client = await this.#openClient();
      const address = await this.#network.resolve(peer.host);
      const message = encodeRequestMessage(request, options.serialisation);
      const answered = await client.request({ address, port: peer.port }, message, options);
      return answered.ok ? readAnswer(answered.value, request, pointOfAccess) : answered;
    } catch (error) {
      return err({ kind: 'unreachable', message: `${pointOfAccess}: ${errorText(error)}` });
    }
  }

  async close(): Promise<void> {
    const [server, client] = [this.#server, this.#client];
    this.#server = undefined;
    this.#client = undefined;
    await Promise.all([
      server?.close(),
      client?.then(
        (each) => each.close(),
        () => undefined,
      ),
    ]);
  }

  /** The socket to ask from is opened with the first request. */
  #openClient(): Promise<ForeignCoapClient> {
    if (this.#client === undefined) {
      const opening = openSocket(this.#address, 0).then(
        (socket) => new ForeignCoapClient(socket, this.#clock),
      );
      this.#client = opening;
      opening.catch(() => {
        if (this.#client === opening) this.#client = undefined;
      });
    }
    return this.#client;
  }
}

function readAnswer(
  message: CoapMessage,
  request: RequestPrimitive,
  pointOfAccess: string,
): Result<ResponsePrimitive, DeliveryError> {
  try {
    const response = decodeResponseMessage(message);
    const { requestIdentifier } = request;
    if (response.requestIdentifier === requestIdentifier) return ok(response);
    const said = response.requestIdentifier.slice(0, 40);
    const text = `asked as ${requestIdentifier}, answered as ${said}`;
    return err({ kind: 'malformed', message: `${pointOfAccess}: ${text}` });
  } catch (error) {
    return err({ kind: 'malformed', message: `${pointOfAccess}: ${errorText(error)}` });
  }
}

function openSocket(address: string, port: number): Promise<Socket> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  return new Promise((resolve, reject) => {
    socket.once('error', (cause) => {
      socket.close();
      reject(
        new IoError(`cannot listen for CoAP on ${address} port ${port}: ${errorText(cause)}`, { cause }),
      );
    });
    socket.bind(port, address, () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}
