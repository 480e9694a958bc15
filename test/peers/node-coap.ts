// Proves of the CoAP endpoint against the `coap` package: its server answers our client.
import assert from 'node:assert/strict';
import { createServer } from 'coap';
import { millis } from '../../src/base/units.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import type { PeerBench, PeerPart } from './peer-bench.ts';

const local = '127.0.0.1';

/** The `coap` package, which needs nothing but Node. */
export const nodeCoapPart: PeerPart = {
  name: 'node-coap',
  programs: [],
  run: async (bench: PeerBench) => {
    const { clock, entropy, network } = bench.host;
    const server = createServer((request, response) => response.end(request.url));
    const port = await bench.freeUdpPort(local);
    await new Promise<void>((resolve) => server.listen(port, local, () => resolve()));
    bench.defer(() => new Promise<void>((resolve) => void server.close(() => resolve())));
    const socket = await network.openDatagram({ localAddress: local });
    const endpoint = new CoapEndpoint({ socket, clock, entropy });
    bench.defer(() => endpoint.close());
    await bench.check('our client: GET', async () => {
      const request = { code: '0.01', path: ['a'], query: [], options: new Map(), payload: new Uint8Array() };
      const answer = await endpoint.request({ address: local, port }, request, { deadlineMs: millis(5_000) });
      assert.equal(answer.ok && Buffer.from(answer.value.payload).toString(), '/a');
    });
  },
};
