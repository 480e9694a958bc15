// Proves of the network transports of the testbed CSE, over real loopback sockets and before any CSE exists: primitives
// cross each of them both ways in JSON and CBOR, long bodies included; the golden datagrams of the protocol reference
// are understood and answered with the options 307 and 283; the reproduced defects of the foreign CoAP stack do not
// show; broken, repeated and foreign datagrams change nothing; a closed transport is silent and can come back on its port.
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { decodeDatagram, encodeDatagram } from '../../src/coap/message.ts';
import type { CoapMessage, Datagram } from '../../src/coap/message.ts';
import { NodeClock, sleep, withDeadline } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import type { DatagramSocket } from '../../src/host/network.ts';
import { parsePointOfAccess } from '../../src/onem2m/address.ts';
import type { RequestPrimitive, ResponsePrimitive, Serialisation } from '../../src/onem2m/primitives.ts';
import { decodeBody } from '../../src/onem2m/serialisation.ts';
import type { CseTransport, RequestOrigin } from '../../src/testbed/cse/cse-transport.ts';
import { markCorrupt } from '../../src/testbed/cse/misbehaviour.ts';
import { ForeignCoapTransport } from '../../src/testbed/cse/transports/foreign-coap-transport.ts';
import { MqttTransport } from '../../src/testbed/cse/transports/mqtt-transport.ts';
import { OwnCoapTransport } from '../../src/testbed/cse/transports/own-coap-transport.ts';
import { MqttBroker } from '../../src/testbed/mqtt-broker.ts';

const network = new NodeNetwork();
const clock = new NodeClock();
const entropy = new NodeEntropy();
const broker = await MqttBroker.open();
t.teardown(() => broker.close());

const make = {
  foreign: () => new ForeignCoapTransport({ network, clock }),
  own: () => new OwnCoapTransport({ network, clock, entropy }),
  mqtt: (cseId = '/id-mn1') =>
    new MqttTransport({
      network,
      clock,
      cseId,
      broker: { host: broker.address, port: broker.port },
      clean: true,
    }),
};

const pairs: readonly (readonly [string, () => CseTransport, () => CseTransport])[] = [
  ['foreign CoAP asks foreign CoAP', make.foreign, make.foreign],
  ['own CoAP asks foreign CoAP', make.own, make.foreign],
  ['foreign CoAP asks own CoAP', make.foreign, make.own],
  ['own CoAP asks own CoAP', make.own, make.own],
  ['MQTT asks MQTT', () => make.mqtt('/id-in'), make.mqtt],
];

const long = 'x'.repeat(5_000);
const longer = Array.from({ length: 300 }, (_, index) => `/id-mn1/cin${index}`);

const requests: readonly RequestPrimitive[] = [
  {
    operation: 1,
    to: '/id-mn1/cse-mn1/gw1/data',
    from: 'Sgw1',
    requestIdentifier: 'r1',
    releaseVersionIndicator: '4',
    resourceType: 4,
    resultContent: 0,
    primitiveContent: { contentInstance: { resourceName: 'b-1', content: { t: 21.5, n: 5_000_000_000 } } },
  },
  {
    operation: 2,
    to: '/id-mn1',
    from: '/id-in/Corch',
    requestIdentifier: 'r2',
    releaseVersionIndicator: '4',
    filterCriteria: {
      filterUsage: 1,
      resourceType: [3, 4],
      labels: ['baton:dev=1', 'b&c'],
      attributes: { csi: ['/id-mn1'] },
    },
    requestExpirationTimestamp: '20990101T000000',
  },
  {
    operation: 3,
    to: '/id-mn1/Sgw1',
    from: 'Sgw1',
    requestIdentifier: 'r3',
    primitiveContent: { ae: { pointOfAccess: ['coap://127.0.0.1:1'], labels: [long] } },
  },
  { operation: 4, to: '/id-mn1/cse-mn1/gw1', from: 'Sgw1', requestIdentifier: 'r4' },
  {
    operation: 5,
    to: '/id-mn1/cse-mn1/gw1',
    from: '/id-in',
    requestIdentifier: 'r5',
    primitiveContent: {
      notification: {
        subscriptionReference: '/id-in/sub1',
        notificationEvent: {
          notificationEventType: 3,
          representation: { contentInstance: { content: 1 } },
        },
      },
    },
  },
];

interface Served {
  readonly request: RequestPrimitive;
  readonly origin: RequestOrigin;
}

/** A CSE that answers what it was told to and writes down what it was asked. */
function echo(served: Served[], primitiveContent?: ResponsePrimitive['primitiveContent']) {
  return (request: RequestPrimitive, origin: RequestOrigin): Promise<ResponsePrimitive> => {
    served.push({ request, origin });
    return Promise.resolve({
      responseStatusCode: 2000,
      requestIdentifier: request.requestIdentifier,
      ...(primitiveContent === undefined ? {} : { primitiveContent }),
    });
  };
}

const within = (serialisation: Serialisation, deadlineMs = 5_000) => ({
  deadlineMs: millis(deadlineMs),
  serialisation,
  receiver: '/id-mn1',
});

await t.test('primitives cross', async (t) => {
  for (const [name, makeClient, makeServer] of pairs) {
    for (const serialisation of ['cbor', 'json'] as const) {
      const client = makeClient();
      const server = makeServer();
      const served: Served[] = [];
      const answer = { uriList: longer };
      const pointOfAccess = await server.listen(echo(served, answer));
      t.ok(client.canReach(pointOfAccess) && server.canReach(pointOfAccess));
      t.notOk(client.canReach('http://127.0.0.1:80'));
      for (const request of requests) {
        const answered = await client.send(pointOfAccess, request, within(serialisation));
        const what = `${name}, ${serialisation}, ${request.requestIdentifier}`;
        t.match(answered, { ok: true, value: { responseStatusCode: 2000 } }, what);
        if (answered.ok) t.same(answered.value.primitiveContent, answer, `${what}: long answer`);
      }
      t.same(
        served.map(({ request }) => request),
        requests,
        `${name}, ${serialisation}: every request once, as it was sent`,
      );
      t.ok(served.every(({ origin }) => origin.serialisation === serialisation));
      await Promise.all([client.close(), server.close()]);
    }
  }
});

await t.test('silence, failure, corruption, absence and withdrawal', async (t) => {
  for (const [name, makeClient, makeServer] of pairs) {
    const client = makeClient();
    const server = makeServer();
    const pointOfAccess = await server.listen(async (request) => {
      const response = { responseStatusCode: 2000, requestIdentifier: request.requestIdentifier };
      switch (request.requestIdentifier) {
        case 'silent':
          return undefined;
        case 'throws':
          throw new Error('secret of the house');
        case 'slow':
          await sleep(clock, millis(120));
          return response;
        case 'headless':
          return markCorrupt(response, 'missingStatusCode');
        case 'garbage':
          return markCorrupt(response, 'garbageBody');
        default:
          return response;
      }
    });
    const ask = (requestIdentifier: string, deadlineMs = 5_000, signal?: AbortSignal) =>
      client.send(
        pointOfAccess,
        { operation: 2, to: '/id-mn1/x', from: 'Sgw1', requestIdentifier },
        { ...within('cbor', deadlineMs), ...(signal === undefined ? {} : { signal }) },
      );
    const isMqtt = pointOfAccess.startsWith('mqtt');
    t.match(await ask('silent', 120), { ok: false, error: { kind: 'deadline' } }, `${name}: silence`);
    const thrown = await ask('throws');
    t.match(thrown, { ok: true, value: { responseStatusCode: 5000 } }, `${name}: a defect is a 5000`);
    t.notMatch(JSON.stringify(thrown), /secret/u);
    t.match(await ask('slow'), { ok: true }, `${name}: slower than a piggybacked answer`);
    t.match(await ask('headless'), { ok: false, error: { kind: 'malformed' } }, `${name}: no status code`);
    t.match(
      await ask('garbage', 200),
      { ok: false, error: { kind: isMqtt ? 'deadline' : 'malformed' } },
      `${name}: nonsense`,
    );
    const controller = new AbortController();
    const withdrawn = ask('silent', 5_000, controller.signal);
    controller.abort();
    t.match(await withdrawn, { ok: false, error: { kind: 'cancelled' } }, `${name}: withdrawn`);
    t.match(await ask('late', 5_000, AbortSignal.abort()), { ok: false, error: { kind: 'cancelled' } });
    t.match(await ask('fine'), { ok: true }, `${name}: after all that it works`);
    t.match(
      await client.send('nonsense', { operation: 2, to: '/a', requestIdentifier: 'x' }, within('cbor')),
      { ok: false, error: { kind: 'unreachable' } },
    );

    const open = ask('silent');
    await sleep(clock, millis(20));
    await client.close();
    t.match(await open, { ok: false, error: { kind: 'closed' } }, `${name}: closing ends what is open`);
    await server.close();
    await server.close();
    const other = makeClient();
    const gone = await other.send(
      pointOfAccess,
      { operation: 2, to: '/id-mn1/x', requestIdentifier: 'y' },
      within('cbor', 60),
    );
    t.match(gone, { ok: false }, `${name}: a closed CSE is silent`);
    t.equal(await server.listen(echo([])), pointOfAccess, `${name}: it comes back where it was`);
    const back = await other.send(
      pointOfAccess,
      { operation: 2, to: '/id-mn1/x', requestIdentifier: 'z' },
      within('cbor'),
    );
    t.match(back, { ok: true }, `${name}: and answers`);
    await Promise.all([other.close(), server.close()]);
  }
});

await t.test('MQTT: who is addressed', async (t) => {
  const cse = make.mqtt('/id-mn1');
  await cse.listen(echo([]));
  const probe = make.mqtt('/id-probe');
  const heard: Served[] = [];
  await probe.listen(echo(heard));
  const poa = broker.pointOfAccess;
  const notify = (to: string, receiver?: string, deadlineMs = 80) =>
    cse.send(
      poa,
      { operation: 5, to, from: '/id-mn1', requestIdentifier: `n${heard.length}` },
      {
        serialisation: 'json',
        deadlineMs: millis(deadlineMs),
        ...(receiver === undefined ? {} : { receiver }),
      },
    );
  for (const [to, receiver] of [
    ['/id-probe/cse/x', undefined],
    ['//sp.example/id-probe/x', undefined],
    ['/id-mn1/id-probe', undefined],
    ['id-probe', undefined],
    ['/id-far/cse/x', '/id-probe'],
    [`${poa}//id-probe`, undefined],
    [`${poa}/oneM2M/req/id-mn1/id-probe/json`, undefined],
  ] as const) {
    const before = heard.length;
    const topic = to.includes('oneM2M');
    const sent = await notify(to, receiver, topic ? 80 : 5_000);
    // A whole topic is used as it is, without the leading slash of oneM2M's own, so that nobody listens here.
    if (topic) t.match(sent, { ok: false, error: { kind: 'deadline' } }, to);
    else t.match([sent.ok, heard.length], [true, before + 1], `${to} (${receiver ?? 'no receiver given'})`);
  }
  t.match(await notify('cse-mn1/gw1'), { ok: false, error: { message: /no MQTT receiver/u } });
  t.match(await notify(poa), { ok: false, error: { message: /no MQTT receiver/u } });

  const registration = make.mqtt('/id-new');
  t.match(
    await registration.send(
      poa,
      { operation: 2, to: '/id-mn1/x', from: '/id-new', requestIdentifier: 'q' },
      within('json'),
    ),
    { ok: true },
  );
  await Promise.all([cse.close(), probe.close(), registration.close()]);
});

/** A client of single datagrams. */
class RawPeer {
  readonly socket: DatagramSocket;
  readonly received: Datagram[] = [];
  readonly #port: number;
  #wake: () => void = () => undefined;

  private constructor(socket: DatagramSocket, pointOfAccess: string) {
    this.socket = socket;
    this.#port = parsePointOfAccess(pointOfAccess)?.port ?? 0;
    socket.onMessage((data) => {
      this.received.push(decodeDatagram(data)); // what a server sends must be CoAP, whatever it was sent
      this.#wake();
    });
  }

  static async open(pointOfAccess: string): Promise<RawPeer> {
    return new RawPeer(await network.openDatagram({ localAddress: '127.0.0.1' }), pointOfAccess);
  }

  async send(data: Uint8Array): Promise<void> {
    await this.socket.send(data, { address: '127.0.0.1', port: this.#port });
  }

  /** Sends and waits for one more datagram. */
  async ask(data: Uint8Array): Promise<Datagram> {
    const wanted = this.received.length + 1;
    await this.send(data);
    return this.wait(wanted);
  }

  async wait(count: number): Promise<Datagram> {
    const arrived = new Promise<void>((resolve) => {
      this.#wake = () => {
        if (this.received.length >= count) resolve();
      };
      this.#wake();
    });
    await withDeadline(clock, millis(5_000), `datagram ${count}`, arrived);
    const datagram = this.received[count - 1];
    if (datagram === undefined) throw new Error('no datagram');
    return datagram;
  }
}

const golden: readonly (readonly [string, string, number, string])[] = [
  [
    'AE',
    '42021001c0deb76373652d6d6e31113c513cd1ed0241348453677731427131ffa1666d326d3a6165a462726e6367773163617069664e6261746f6e627272f563737276816134',
    1,
    'cse-mn1',
  ],
  [
    'CNT',
    '42021002c0dfb76373652d6d6e3103677731113c3572636e3d30213cd1ed0341348453677731427132ffa1676d326d3a636e74a162726e6164',
    1,
    'cse-mn1/gw1',
  ],
  [
    'CIN',
    '42021003c0e0b76373652d6d6e31036777310164113c3572636e3d30213cd1ed0441348453677731427133ffa1676d326d3a63696ea262726e6462312d3163636f6efb4035800000000000',
    1,
    'cse-mn1/gw1/d',
  ],
  ['GET', '42011004c0e1b453677731613cd1f1348453677731427134', 2, 'Sgw1'],
  ['DEL', '42041005c0e2b12d03677731d1f7348453677731427135', 4, '-/gw1'],
];

const coapServers: readonly (readonly [string, () => CseTransport])[] = [
  ['foreign', make.foreign],
  ['own', make.own],
];

await t.test('golden datagrams', async (t) => {
  for (const [name, makeServer] of coapServers) {
    const server = makeServer();
    const served: Served[] = [];
    const pointOfAccess = await server.listen((request, origin) => {
      served.push({ request, origin });
      const { requestIdentifier } = request;
      const content = request.operation === 2 ? { ae: { aeId: 'Sgw1' } } : undefined;
      const responseStatusCode = [0, 2001, 2000, 2004, 2002, 2000][request.operation] ?? 0;
      return Promise.resolve({
        responseStatusCode,
        requestIdentifier,
        ...(content === undefined ? {} : { primitiveContent: content }),
      });
    });
    const peer = await RawPeer.open(pointOfAccess);
    for (const [index, [what, hex, operation, to]] of golden.entries()) {
      const data = Buffer.from(hex, 'hex');
      const answer = await peer.ask(data);
      const rqi = `q${index + 1}`;
      t.match(
        served.at(-1)?.request,
        { operation, to, from: 'Sgw1', requestIdentifier: rqi, releaseVersionIndicator: '4' },
        `${name}: ${what}`,
      );
      t.equal(served.at(-1)?.origin.accept, what === 'DEL' ? undefined : 'cbor');
      t.equal(answer.type, 'acknowledgement');
      t.equal(answer.messageId, 0x1001 + index);
      t.same(Buffer.from(answer.token), data.subarray(4, 6));
      t.match(answer.message?.code, ['', '2.01', '2.05', '2.04', '2.02'][operation]);
      const status = [0, 2001, 2000, 2004, 2002][operation] ?? 0;
      t.same(answer.message?.options.get(307), [Buffer.from([status >> 8, status & 255])]);
      t.same(answer.message?.options.get(283), [Buffer.from(rqi)]);
      if (what === 'GET') {
        t.equal(answer.message?.contentFormat, 60);
        t.same(decodeBody(answer.message?.payload ?? new Uint8Array(), 'cbor'), {
          'm2m:ae': { aei: 'Sgw1' },
        });
      } else {
        t.equal(answer.message?.payload.length, 0);
      }
    }
    t.same(served[2]?.request.primitiveContent, {
      contentInstance: { resourceName: 'b1-1', content: 21.5 },
    });
    t.equal(served[2]?.request.resultContent, 0);
    await Promise.all([peer.socket.close(), server.close()]);
  }
});

function coapRequest(changes: Partial<CoapMessage> & { code: string }, rqi = 'q'): CoapMessage {
  return {
    path: ['cse-mn1'],
    query: [],
    payload: new Uint8Array(),
    ...changes,
    options: new Map([[283, [Buffer.from(rqi)]], [279, [Buffer.from('Sgw1')]], ...(changes.options ?? [])]),
  };
}

const con = (messageId: number, token = messageId) => ({
  type: 'confirmable' as const,
  messageId,
  token: Uint8Array.of(token >> 8, token & 255),
});

await t.test('CoAP servers: Accept, formats, refusals', async (t) => {
  for (const [name, makeServer] of coapServers) {
    const server = makeServer();
    const served: Served[] = [];
    const pointOfAccess = await server.listen(echo(served, { ae: { aeId: 'Sgw1' } }));
    const peer = await RawPeer.open(pointOfAccess);
    let messageId = 1;
    const ask = async (message: CoapMessage): Promise<CoapMessage | undefined> =>
      (await peer.ask(encodeDatagram(con(messageId++), message))).message;
    const statusOf = (message: CoapMessage | undefined): number =>
      Buffer.from(message?.options.get(307)?.[0] ?? [0]).readUIntBE(0, 2);

    const body = Buffer.from('{"m2m:ae":{}}');
    for (const [accept, contentFormat, expected] of [
      [60, undefined, 60],
      [50, undefined, 50],
      [60, 50, 60],
      [undefined, 50, 50],
      [undefined, undefined, 50],
      [undefined, 10_001, 50],
    ] as const) {
      const answer = await ask(
        coapRequest({
          code: '0.03',
          ...(accept === undefined ? {} : { accept }),
          ...(contentFormat === undefined ? {} : { contentFormat, payload: body }),
        }),
      );
      t.equal(answer?.contentFormat, expected, `${name}: Accept ${accept}, Content-Format ${contentFormat}`);
    }
    const count = served.length;
    const refusals: readonly (readonly [string, CoapMessage, number, string])[] = [
      ['Accept xml', coapRequest({ code: '0.01', accept: 41 }), 5207, '4.06'],
      ['body in xml', coapRequest({ code: '0.03', contentFormat: 41, payload: body }), 4015, '4.15'],
      ['broken body', coapRequest({ code: '0.03', contentFormat: 60, payload: body }), 4000, '4.00'],
      ['broken query', coapRequest({ code: '0.01', query: ['rcn=x'] }), 4000, '4.00'],
      ['unknown method', coapRequest({ code: '0.06' }), 4000, '4.00'],
    ];
    for (const [what, message, status, code] of refusals) {
      const answer = await ask(message);
      t.equal(statusOf(answer), status, `${name}: ${what}`);
      t.equal(answer?.code, code);
      t.same(answer?.options.get(283), [Buffer.from('q')], `${name}: ${what} still echoes the identifier`);
    }
    const nameless = await ask({ ...coapRequest({ code: '0.01' }), options: new Map() });
    t.equal(statusOf(nameless), 4000, `${name}: no identifier`);
    t.ok(nameless?.options.has(283));
    const critical = await ask(coapRequest({ code: '0.01', options: new Map([[65_001, [Buffer.of(1)]]]) }));
    t.equal(critical?.code, '4.02', `${name}: an unknown critical option`);
    const secured = await ask(coapRequest({ code: '0.02', options: new Map([[9, [Buffer.of(1)]]]) }));
    t.equal(secured?.code, '4.02', `${name}: OSCORE is not spoken`);
    const observed = await ask(coapRequest({ code: '0.01', options: new Map([[6, [new Uint8Array()]]]) }));
    t.equal(observed?.code, '2.05', `${name}: Observe is elective and ignored`);
    t.notOk(observed?.options.has(6));
    t.equal(served.length, count + 1, `${name}: refused requests do not reach the CSE`);
    await Promise.all([peer.socket.close(), server.close()]);
  }
});

await t.test('CoAP servers: pings, repeats, garbage', async (t) => {
  for (const [name, makeServer] of coapServers) {
    const server = makeServer();
    const served: Served[] = [];
    const pointOfAccess = await server.listen(async (request, origin) => {
      const isSlow = request.requestIdentifier === 'slow';
      const answer = await echo(served)(request, origin);
      if (isSlow) await sleep(clock, millis(150));
      return answer;
    });
    const peer = await RawPeer.open(pointOfAccess);
    const ping = await peer.ask(Buffer.from('40000005', 'hex'));
    t.match(ping, { type: 'reset', messageId: 5 }, `${name}: a ping is answered by a reset`);

    const quick = encodeDatagram(con(10), coapRequest({ code: '0.01' }));
    const first = await peer.ask(quick);
    t.same(await peer.ask(quick), first, `${name}: a repeat gets the same answer`);
    t.equal(served.length, 1, `${name}: and runs nothing`);

    const slow = encodeDatagram(con(11), coapRequest({ code: '0.02' }, 'slow'));
    for (let repeat = 0; repeat < 4; repeat++) await peer.send(slow);
    const before = 3;
    const acknowledged = await peer.wait(before + 1);
    t.match(acknowledged, { type: 'acknowledgement', messageId: 11 });
    t.equal(acknowledged.message, undefined, `${name}: a slow request is acknowledged first`);
    const answered = await withDeadline(
      clock,
      millis(5_000),
      'the separate answer',
      (async () => {
        for (;;) {
          const found = peer.received.find(
            ({ message, token }) =>
              message !== undefined && Buffer.from(token).equals(Buffer.from(con(11).token)),
          );
          if (found !== undefined) return found;
          await sleep(clock, millis(5));
        }
      })(),
    );
    t.equal(answered.type, 'confirmable');
    t.ok(answered.message?.options.has(307));
    await peer.send(
      encodeDatagram({ type: 'acknowledgement', messageId: answered.messageId, token: new Uint8Array() }),
    );
    t.equal(served.length, 2, `${name}: a slow request that came four times ran once`);

    const seenBefore = served.length;
    for (const junk of ['', '00', 'ffffffff', '4f011234', '42', '4201', '60000001', '7000000a', '50000000']) {
      await peer.send(Buffer.from(junk, 'hex'));
    }
    for (let seed = 0; seed < 300; seed++) {
      const mutated = Buffer.from(golden[seed % 5]?.[1] ?? '', 'hex');
      mutated.writeUInt16BE(2_000 + seed, 2);
      for (let hit = 0; hit < 3; hit++) {
        const at = entropy.uint32() % mutated.length;
        if (at !== 2 && at !== 3) mutated[at] = entropy.uint32() & 255;
      }
      await peer.send(mutated);
      // Both ends live in this process: without a pause the system's receive buffer overflows.
      if (seed % 20 === 19) await sleep(clock, millis(2));
    }
    const alive = coapRequest({ code: '0.01' }, 'alive');
    await peer.send(encodeDatagram(con(0x7fff), alive));
    await withDeadline(
      clock,
      millis(5_000),
      'life',
      (async () => {
        while (!peer.received.some(({ messageId }) => messageId === 0x7fff)) await sleep(clock, millis(5));
      })(),
    );
    t.ok(served.length > seenBefore, `${name}: garbage changes nothing`);
    // Options and blocks that do not fit are refused below oneM2M.
    const refusals = ['4.02', '4.08', '4.13', '5.05', '2.31'];
    const isRefusal = ({ code, payload }: CoapMessage): boolean =>
      refusals.includes(code) ||
      (code === '4.00' && /^(?:option \d+ .*)?$/u.test(Buffer.from(payload).toString()));
    const unlawful = peer.received.flatMap(({ message }) =>
      message === undefined || message.options.has(307) || isRefusal(message)
        ? []
        : [`${message.code} ${Buffer.from(message.payload).toString()}`],
    );
    t.same(unlawful, [], `${name}: every answer carries a status, none the text of an exception`);
    const block1 = { number: 1, more: false, size: 16 };
    await peer.send(encodeDatagram(con(0x7ffe), { ...coapRequest({ code: '0.02' }), block1 }));
    await sleep(clock, millis(10));
    await Promise.all([peer.socket.close(), server.close()]);
    // A last block without the first leaves the foreign stack with a timer that would end the process here.
    await sleep(clock, millis(120));
  }
});

await t.test('CoAP clients: a peer that misbehaves', async (t) => {
  for (const [name, makeClient] of coapServers) {
    const client = makeClient();
    const peer = await network.openDatagram({ localAddress: '127.0.0.1' });
    const stranger = await network.openDatagram({ localAddress: '127.0.0.1' });
    let mode = 'ack';
    peer.onMessage((data, from) => {
      const { messageId, token, message } = decodeDatagram(data);
      if (message === undefined) return;
      const empty = new Uint8Array();
      const answer = (options: [number, Uint8Array[]][] = []): Uint8Array =>
        encodeDatagram(
          { type: 'acknowledgement', messageId, token },
          {
            code: '2.05',
            path: [],
            query: [],
            payload: empty,
            options: new Map([[307, [Buffer.of(7, 208)]], [283, message.options.get(283) ?? []], ...options]),
          },
        );
      switch (mode) {
        case 'ack':
          void peer.send(encodeDatagram({ type: 'acknowledgement', messageId, token: empty }), from);
          break;
        case 'reset':
          void peer.send(encodeDatagram({ type: 'reset', messageId, token: empty }), from);
          break;
        case 'stranger':
          void stranger.send(answer(), from);
          break;
        case 'emptyBlock1':
          void peer.send(answer([[27, [empty]]]), from);
          break;
        case 'junk':
          void peer.send(Buffer.from('ffffffffffff', 'hex'), from);
          void peer.send(Buffer.concat([answer().subarray(0, 6), Buffer.of(0xff)]), from);
          break;
        default:
          void peer.send(answer(), from);
      }
    });
    const pointOfAccess = `coap://127.0.0.1:${peer.local.port}`;
    const ask = (requestIdentifier: string, deadlineMs = 5_000) =>
      client.send(
        pointOfAccess,
        { operation: 5, to: 'Sgw1', from: '/id-mn1', requestIdentifier },
        within('cbor', deadlineMs),
      );
    for (const [next, kind] of [
      ['ack', 'deadline'],
      ['reset', 'reset'],
      ['stranger', 'deadline'],
      ['junk', 'deadline'],
    ] as const) {
      mode = next;
      t.match(await ask(next, 100), { ok: false, error: { kind } }, `${name}: ${next}`);
    }
    mode = 'emptyBlock1';
    await ask('emptyBlock1', 100); // legal, and what the answer says is a matter of taste; the process must live
    mode = 'fine';
    t.match(await ask('fine'), { ok: true, value: { responseStatusCode: 2000 } }, `${name}: still at work`);
    const many = await Promise.all(Array.from({ length: 100 }, (_, index) => ask(`m${index}`)));
    t.ok(
      many.every((each) => each.ok),
      `${name}: a hundred at once`,
    );
    await Promise.all([client.close(), peer.close(), stranger.close()]);
  }
});
