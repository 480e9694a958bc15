// A client of a CSE for a moment, from a port of its own.
import { millis } from '../../src/base/units.ts';
import { CoapBinding } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import type { Host } from '../../src/host/host.ts';
import type { SocketAddress } from '../../src/host/network.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';

const answerMs = millis(3_000);

/** Lets `work` speak to the CSE at `peer` over CoAP and CBOR as `originator`. */
export async function speakingOverCoap<T>(
  { network, clock, entropy }: Pick<Host, 'network' | 'clock' | 'entropy'>,
  peer: SocketAddress,
  originator: string,
  work: (client: CseClient) => Promise<T>,
): Promise<T> {
  const socket = await network.openDatagram({ localAddress: peer.address });
  const endpoint = new CoapEndpoint({ socket, clock, entropy });
  const binding = new CoapBinding({ endpoint, clock, peer, serialisation: 'cbor' });
  try {
    return await work(new CseClient({ binding, originator, entropy, deadlineMs: answerMs }));
  } finally {
    await endpoint.close();
  }
}
