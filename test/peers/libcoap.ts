// Proves of the CoAP endpoint against the tools of libcoap: `coap-client` gets what our server serves.
import assert from 'node:assert/strict';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { run } from '../real/programs.ts';
import type { PeerBench, PeerPart } from './peer-bench.ts';

const client = 'coap-client-notls';
const server = 'coap-server-notls';
const local = '127.0.0.1';

/** The tools of libcoap without TLS. */
export const libcoapPart: PeerPart = {
  name: 'libcoap',
  programs: [client, server].map((command) => ({ command, debianPackage: 'libcoap3-bin' })),
  run: async (bench: PeerBench) => {
    const { clock, entropy, network } = bench.host;
    const socket = await network.openDatagram({ localAddress: local });
    const endpoint = new CoapEndpoint({ socket, clock, entropy });
    bench.defer(() => endpoint.close());
    endpoint.onRequest(({ path }) =>
      Promise.resolve({
        code: '2.05',
        path: [],
        query: [],
        options: new Map(),
        payload: Buffer.from(path.join('/')),
      }),
    );
    await bench.check('our server: GET', async () => {
      const said = await run(client, ['-m', 'get', `coap://${local}:${endpoint.local.port}/a/b`], 10_000);
      assert.equal(said.trim(), 'a/b');
    });
  },
};
