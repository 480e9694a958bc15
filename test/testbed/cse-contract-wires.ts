// How the parties of the contract speak over real loopback sockets: the bindings of the gateway over CoAP or MQTT, and
// places where an AE receives notifications.
import { millis } from '../../src/base/units.ts';
import type { Millis } from '../../src/base/units.ts';
import { CoapBinding, serveRequests } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy, randomHex } from '../../src/host/entropy.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import { MqttBinding } from '../../src/mqtt/mqtt-binding.ts';
import { MqttSession } from '../../src/mqtt/mqtt-session.ts';
import type { MqttSessionOptions } from '../../src/mqtt/mqtt-connect.ts';
import { MqttPresence } from '../../src/mqtt/mqtt-presence.ts';
import { buildTopic, parseTopic, responseTopic } from '../../src/mqtt/topics.ts';
import { parsePointOfAccess } from '../../src/onem2m/address.ts';
import type { Binding, RequestHandler } from '../../src/onem2m/binding.ts';
import { decodeBody, decodeRequest, encodeBody, encodeResponse } from '../../src/onem2m/serialisation.ts';
import type { CseName, NotificationEndpoint } from './cse-contract-bench.ts';

const network = new NodeNetwork();
const clock = new NodeClock();
const entropy = new NodeEntropy();
const address = '127.0.0.1';

/** One way to speak. */
export interface ContractWires {
  /** A gateway's way to a CSE. */
  bind(originator: string, cse: CseName, pointOfAccess: string): Promise<Binding>;
  listen(handler: RequestHandler): Promise<NotificationEndpoint>;
}

async function openEndpoint(): Promise<CoapEndpoint> {
  const socket = await network.openDatagram({ localAddress: address });
  return new CoapEndpoint({ socket, clock, entropy });
}

/** CoAP with CBOR, a socket for each client and receiver. */
export const coapWires: ContractWires = {
  bind: async (_originator, _cse, pointOfAccess) => {
    const endpoint = await openEndpoint();
    const peer = { address, port: parsePointOfAccess(pointOfAccess)?.port ?? 0 };
    const binding = new CoapBinding({ endpoint, clock, peer, serialisation: 'cbor' });
    return {
      send: (request, options) => binding.send(request, options),
      close: () => endpoint.close(),
    };
  },
  listen: async (handler) => {
    const endpoint = await openEndpoint();
    serveRequests(endpoint, handler);
    return {
      pointOfAccess: `coap://${address}:${endpoint.local.port}`,
      close: () => endpoint.close(),
    };
  },
};

/** MQTT with CBOR through one broker, a session for each client and receiver. */
export function mqttWires(broker: { address: string; port: number }, deadlineMs: Millis): ContractWires {
  const { address: host, port } = broker;
  const session = (): MqttSessionOptions => ({
    network,
    clock,
    endpoint: { host, port, clientId: `A::${randomHex(entropy, 6)}` },
    deadlineMs: millis(deadlineMs),
    protocolVersion: 4,
    clean: true,
  });
  let listeners = 0;
  return {
    bind: async (originator, cse) => {
      const options = session();
      const { clientId } = options.endpoint;
      const presence = new MqttPresence({
        clock,
        clientId,
        isTransient: true,
        open: (attempt) => MqttSession.open({ ...options, signal: attempt.signal }),
      });
      const binding = new MqttBinding({
        presence,
        clock,
        cseId: `/id-${cse}`,
        serialisation: 'cbor',
        credentialId: clientId,
      });
      const attached = await binding.attach(originator, { deadlineMs });
      if (!attached.ok) throw new Error(attached.error.message);
      return {
        send: (request, limits) => binding.send(request, limits),
        close: () => presence.close(),
      };
    },
    // An AE's receiver is known by its topic prefix here, because it listens before its AE has a name. As the URL of a
    // notification target the same point of access is a whole topic.
    listen: async (handler) => {
      const opened = await MqttSession.open(session());
      if (!opened.ok) throw new Error(opened.error.message);
      const prefix = `receiver${++listeners}`;
      const receiver = opened.value;
      receiver.onMessage(({ topic, payload }) => {
        const serialisation = payload[0] === 0x7b ? 'json' : 'cbor';
        const request = decodeRequest(decodeBody(payload, serialisation));
        const originator = (request.from ?? '').replace('/', '');
        const asked = parseTopic(topic) ?? {
          prefix: '',
          kind: 'req',
          originator,
          receiver: prefix,
          serialisation,
        };
        void handler(request).then((response) =>
          receiver.publish(
            buildTopic(responseTopic(asked)),
            encodeBody(encodeResponse({ releaseVersionIndicator: '4', ...response }), serialisation),
            { deadlineMs },
          ),
        );
      });
      await receiver.subscribe([prefix, `${prefix}/oneM2M/req/#`], { deadlineMs });
      return {
        pointOfAccess: `mqtt://${host}:${port}/${prefix}`,
        close: () => receiver.close(),
      };
    },
  };
}
