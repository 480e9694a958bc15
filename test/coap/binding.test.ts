// Proves of the oneM2M CoAP binding: the golden datagrams are written and read octet by octet; paths, queries, options,
// status codes and Content-Formats are mapped as TS-0008 says and what is broken is refused; bodies go out and come in by
// blocks under one token and one deadline, smaller when the peer asks, never wrongly put together and never over 64 KiB;
// and all of it against a CoAP stack that is not ours, as client and as server.
import * as coap from 'coap';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import type { Result } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { BlockService } from '../../src/coap/block-service.ts';
import { requestInBlocks } from '../../src/coap/blockwise.ts';
import { CoapBinding, serveRequests } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import {
  coapCodeOf,
  decodeRequestMessage,
  decodeResponseMessage,
  encodeRequestMessage,
  encodeResponseMessage,
  serialisationOf,
} from '../../src/coap/mapping.ts';
import { decodeDatagram, encodeDatagram } from '../../src/coap/message.ts';
import type { CoapMessage } from '../../src/coap/message.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import type { DeliveryError } from '../../src/onem2m/binding.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { hex, messageOf, openBench, peer } from './test-socket.ts';
import type { Bench } from './test-socket.ts';

const common = { from: 'Sgw1', releaseVersionIndicator: '4' };
const golden: readonly (readonly [string, number, string, RequestPrimitive, string])[] = [
  [
    'AE',
    0x1001,
    'c0de',
    {
      ...common,
      operation: 1,
      to: 'cse-mn1',
      requestIdentifier: 'q1',
      resourceType: 2,
      primitiveContent: {
        ae: {
          resourceName: 'gw1',
          appId: 'Nbaton',
          requestReachability: true,
          supportedReleaseVersions: ['4'],
        },
      },
    },
    '42021001c0deb76373652d6d6e31113c513cd1ed0241348453677731427131ffa1666d326d3a6165a462726e6367773163617069664e6261746f6e627272f563737276816134',
  ],
  [
    'CNT',
    0x1002,
    'c0df',
    {
      ...common,
      operation: 1,
      to: 'cse-mn1/gw1',
      requestIdentifier: 'q2',
      resourceType: 3,
      resultContent: 0,
      primitiveContent: { container: { resourceName: 'd' } },
    },
    '42021002c0dfb76373652d6d6e3103677731113c3572636e3d30213cd1ed0341348453677731427132ffa1676d326d3a636e74a162726e6164',
  ],
  [
    'CIN',
    0x1003,
    'c0e0',
    {
      ...common,
      operation: 1,
      to: 'cse-mn1/gw1/d',
      requestIdentifier: 'q3',
      resourceType: 4,
      resultContent: 0,
      primitiveContent: { contentInstance: { resourceName: 'b1-1', content: 21.5 } },
    },
    '42021003c0e0b76373652d6d6e31036777310164113c3572636e3d30213cd1ed0441348453677731427133ffa1676d326d3a63696ea262726e6462312d3163636f6efb4035800000000000',
  ],
  [
    'GET',
    0x1004,
    'c0e1',
    { ...common, operation: 2, to: 'Sgw1', requestIdentifier: 'q4' },
    '42011004c0e1b453677731613cd1f1348453677731427134',
  ],
  [
    'DEL',
    0x1005,
    'c0e2',
    { ...common, operation: 4, to: '-/gw1', requestIdentifier: 'q5' },
    '42041005c0e2b12d03677731d1f7348453677731427135',
  ],
];

await t.test('golden datagrams', (t) => {
  for (const [name, messageId, token, request, expected] of golden) {
    const { accept, ...message } = encodeRequestMessage(request, 'cbor');
    t.equal(accept, 60, `${name}: asks for CBOR`);
    // The recorded DELETE carries no Accept; ours always does, because a CSE may answer in JSON otherwise.
    const data = encodeDatagram(
      { type: 'confirmable', messageId, token: hex(token) },
      name === 'DEL' ? message : { ...message, accept: 60 },
    );
    t.equal(Buffer.from(data).toString('hex'), expected, name);
    const datagram = decodeDatagram(hex(expected));
    t.match(datagram, { type: 'confirmable', messageId, token: Buffer.from(hex(token)) });
    const decoded = decodeRequestMessage(datagram.message as CoapMessage);
    t.same(decoded.request, request, `${name} read`);
  }
  t.end();
});

const base: RequestPrimitive = { operation: 2, to: 'cse-mn1', requestIdentifier: 'q' };
const roundTrip = (request: RequestPrimitive): RequestPrimitive => {
  const data = encodeDatagram(
    { type: 'confirmable', messageId: 1, token: hex('01') },
    encodeRequestMessage(request, 'json'),
  );
  return decodeRequestMessage(decodeDatagram(data).message as CoapMessage).request;
};

await t.test('older option numbers, posted operations, answers in Location-Path', (t) => {
  const request: RequestPrimitive = {
    ...common,
    operation: 2,
    to: 'x',
    requestIdentifier: 'q1',
    responseType: 1,
  };
  const older = encodeRequestMessage(request, 'json', { optionSet: 'r2' });
  t.same([...older.options.keys()].sort(), [256, 257], 'originator and identifier; no release version there');
  t.equal(Buffer.from(older.options.get(256)?.[0] ?? []).toString(), 'Sgw1');
  t.equal(older.accept, 50);
  const create = { ...request, operation: 1, resourceType: 2, primitiveContent: { ae: {} } } as const;
  t.ok(encodeRequestMessage(create, 'json', { optionSet: 'r2' }).options.has(267));
  const empty = { code: '2.05', path: [], query: [], payload: new Uint8Array() };
  const answer = new Map([
    [265, [hex('07d0')]],
    [257, [Buffer.from('q1')]],
  ]);
  t.same(decodeResponseMessage({ ...empty, options: answer }), {
    responseStatusCode: 2000,
    requestIdentifier: 'q1',
  });
  const octets = encodeDatagram(
    { type: 'acknowledgement', messageId: 1, token: hex('01') },
    { ...empty, options: answer },
  );
  t.same(decodeDatagram(octets).message?.options, answer, 'options 257 and 265 come through');

  const posted = encodeRequestMessage({ ...request, operation: 4 }, 'cbor', { nonBlocking: 'post' });
  t.equal(posted.code, '0.02');
  t.same(posted.query, ['rt=1', 'op=4']);
  t.equal(decodeRequestMessage(posted).request.operation, 4);
  t.equal(decodeRequestMessage({ ...posted, code: '0.01' }).request.operation, 2, 'in a POST only');
  t.throws(() => decodeRequestMessage({ ...posted, query: ['op=6'] }), DecodeError);
  t.equal(
    encodeRequestMessage({ ...request, operation: 4 }, 'cbor').code,
    '0.04',
    'by default on its own method',
  );

  const accepted = new Map<number, Uint8Array[]>([
    [307, [hex('03e9')]],
    [283, [Buffer.from('q1')]],
    [259, [Buffer.from('20260101T000000,123456')]],
    [8, [Buffer.from('cse-mn1/req1')]],
  ]);
  const location = decodeResponseMessage({ ...empty, code: '2.01', options: accepted });
  t.match(location, {
    primitiveContent: { uri: 'cse-mn1/req1' },
    originatingTimestamp: '20260101T000000,123456',
  });
  accepted.set(8, [Buffer.from('cse-mn1'), Buffer.from('req1')]);
  t.match(decodeResponseMessage({ ...empty, code: '2.01', options: accepted }), {
    primitiveContent: { uri: 'cse-mn1/req1' },
  });
  for (const status of [undefined, new Uint8Array()]) {
    const options = new Map<number, Uint8Array[]>(accepted);
    options.delete(307);
    if (status !== undefined) options.set(307, [status]);
    t.throws(() => decodeResponseMessage({ ...empty, options }), DecodeError, 'no status, no success');
  }
  t.end();
});

await t.test('paths, queries, options', (t) => {
  const paths: readonly (readonly [string, string[]])[] = [
    ['cse-mn1/gw1/data', ['cse-mn1', 'gw1', 'data']],
    ['Sgw1', ['Sgw1']],
    ['-', ['-']],
    ['-/gw1', ['-', 'gw1']],
    ['/id-mn1', ['~', 'id-mn1']],
    ['/id-mn1/cse-mn1/gw1', ['~', 'id-mn1', 'cse-mn1', 'gw1']],
    ['//sp.example/id-mn1/x', ['_', 'sp.example', 'id-mn1', 'x']],
  ];
  for (const [to, path] of paths) {
    t.same(encodeRequestMessage({ ...base, to }, 'cbor').path, path, to);
    t.equal(roundTrip({ ...base, to }).to, to);
  }
  const full: RequestPrimitive = {
    operation: 2,
    to: '/id-in',
    from: '/id-mn1/Sgw1',
    requestIdentifier: 'q7',
    releaseVersionIndicator: '4',
    resultContent: 11,
    responseType: 2,
    notificationUris: ['/id-mn1/Sgw1', 'coap://192.0.2.1'],
    discoveryResultType: 1,
    requestExpirationTimestamp: '5000',
    resultExpirationTimestamp: '6000',
    operationExecutionTime: '20260101T000000',
    originatingTimestamp: '20260101T000001',
    eventCategory: 100,
    groupRequestIdentifier: 'g1',
    attributeList: ['poa', 'lbl'],
    filterCriteria: {
      filterUsage: 1,
      resourceType: [2, 3],
      labels: ['dev=1', 'a+b', '50%', 'a&b', 'ü', '%3D'],
      createdBefore: '20260101T000000',
      createdAfter: '20250101T000000',
      modifiedSince: '20250101T000000',
      unmodifiedSince: '20260101T000000',
      contentFilterType: ['application/json'],
      level: 2,
      offset: 1,
      limit: 10,
      applyRelativePath: 'x',
      attributes: { csi: ['/id-mn1', '/id-mn2'], own: ['5'] },
      sizeAbove: 5,
      filterOperation: 2,
      childLabels: ['a=b', 'c'],
      childResourceType: [4, 3],
      expireBefore: '20260101T000000',
    },
  };
  t.same(roundTrip(full), full, 'every parameter goes there and back');
  const { query } = encodeRequestMessage(full, 'cbor');
  t.ok(query.includes('lbl=dev%3D1+a%2Bb+50%25+a%26b+ü+%253D'), 'a value holds no bare = + & %');
  t.ok(query.includes('rt=2') && query.includes('atrl=poa+lbl') && query.includes('ty=2+3'));
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { minLength: 1, maxLength: 5 }),
      (labels) => {
        t.same(roundTrip({ ...base, filterCriteria: { labels } }).filterCriteria?.labels, labels);
      },
    ),
    { numRuns: 200 },
  );
  const read = (query: string[]): RequestPrimitive =>
    decodeRequestMessage({ ...encodeRequestMessage(base, 'cbor'), query }).request;
  t.same(
    read(['lbl=a', 'ty=3', 'lbl=b+c', 'ty=4', 'csi=x', 'csi=y', 'arp=%C3%BC']).filterCriteria,
    {
      labels: ['a', 'b', 'c'],
      resourceType: [3, 4],
      attributes: { csi: ['x', 'y'] },
      applyRelativePath: 'ü',
    },
    'repeated tags add up; escaped UTF-8 is read',
  );
  t.same(read(['__proto__=x', 'constructor=y', 'lbl']).filterCriteria, {
    labels: [''],
    attributes: { constructor: ['y'] },
  });
  for (const query of [
    ['rcn=x'],
    ['rcn='],
    ['rcn=1+2'],
    ['ty=3+x'],
    ['lim=-1'],
    ['lim=1e3'],
    ['fu=0x1'],
    Array.from({ length: 65 }, () => 'lbl=a'),
  ]) {
    t.throws(() => read(query), DecodeError, query[0] ?? '');
  }
  const message = encodeRequestMessage(base, 'cbor');
  t.throws(
    () => decodeRequestMessage({ ...message, options: new Map() }),
    /283/,
    'without a request identifier',
  );
  t.throws(() => decodeRequestMessage({ ...message, code: '0.05' }), /0\.05/);
  const create = encodeRequestMessage({ ...base, operation: 1, resourceType: 4 }, 'cbor');
  t.equal(decodeRequestMessage(create).request.operation, 1);
  const notify = encodeRequestMessage({ ...base, operation: 5 }, 'cbor');
  t.equal(notify.code, '0.02');
  t.equal(decodeRequestMessage(notify).request.operation, 5, 'POST without a type is a notification');
  const broken = new Map([...create.options, [267, [new Uint8Array(5)]] as const]);
  t.throws(() => decodeRequestMessage({ ...create, options: broken }), /TY/, 'a broken type is none');
  t.end();
});

await t.test('answers: status codes and formats', (t) => {
  const rows: readonly (readonly [string, readonly number[]])[] = [
    ['2.01', [1001, 1002, 2001]],
    ['2.02', [2002]],
    ['2.04', [2004]],
    ['2.05', [2000]],
    ['4.00', [4000, 4102, 4104, 4110, 4123, 4124, 5106, 5219, 6010, 6022, 6023, 6024, 6028, 6029, 4999]],
    ['4.02', [4120, 4122]],
    ['4.03', [4101, 4103, 4105, 4106, 4107, 4108, 4109, 4111, 4116, 4117, 4126, 4127]],
    ['4.03', [5105, 5203, 5205, 5208, 5214, 5215, 5218, 5222]],
    ['4.04', [4004, 4118, 4119, 5103, 5107, 6003, 6005]],
    ['4.05', [4005]],
    ['4.06', [5207]],
    ['4.15', [4015]],
    ['5.00', [5000, 5204, 5209, 5210, 5211, 5212, 5216, 5217, 5221, 6020, 6021, 6025, 6026, 5999]],
    ['5.01', [4001, 4125, 5001, 5206]],
    ['5.04', [4008, 6030, 6031]],
  ];
  for (const [code, statuses] of rows)
    for (const status of statuses) t.equal(coapCodeOf(status), code, `${status}`);
  const taken = encodeResponseMessage({ responseStatusCode: 2000, requestIdentifier: 'q' }, 'cbor', 5);
  t.equal(taken.code, '2.04');
  t.same(taken.options.get(271), [Buffer.from('4')], 'an answer names its release');
  const refusedNotify = {
    responseStatusCode: 4103,
    requestIdentifier: 'q',
    primitiveContent: { debugInfo: 'no' },
  };
  t.match(encodeResponseMessage(refusedNotify, 'cbor', 5), { code: '4.03', contentFormat: 60 });

  const response: ResponsePrimitive = {
    responseStatusCode: 2001,
    requestIdentifier: 'q',
    primitiveContent: { contentInstance: { resourceId: 'cin1', content: { v: 1.7e12 } } },
  };
  for (const serialisation of ['json', 'cbor'] as const) {
    t.same(decodeResponseMessage(encodeResponseMessage(response, serialisation)), response, serialisation);
  }
  const status = (octets: string): CoapMessage =>
    messageOf('2.05', { options: new Map([[307, [hex(octets)]]]) });
  t.equal(decodeResponseMessage(status('0fa0')).responseStatusCode, 4000, 'option 307 decides, not the code');
  for (const [name, message] of [
    ['missing', messageOf('2.05')],
    ['empty', status('')],
    ['five octets', status('0000000fa0')],
  ] as const) {
    t.throws(() => decodeResponseMessage(message), { code: 'DECODE', message: /307/ }, `${name} status`);
  }
  const debug = Buffer.from('{"m2m:dbg":"rqet in the past"}');
  const error = { ...status('0fa8'), code: '5.04' };
  for (const contentFormat of [50, 10_001, 10_003, 10_009, undefined]) {
    const message = { ...error, payload: debug, ...(contentFormat === undefined ? {} : { contentFormat }) };
    t.match(
      decodeResponseMessage(message).primitiveContent,
      { debugInfo: 'rqet in the past' },
      `format ${contentFormat}`,
    );
  }
  t.throws(
    () => decodeResponseMessage({ ...error, contentFormat: 60, payload: debug }),
    DecodeError,
    'the format decides',
  );
  for (const contentFormat of [0, 41, 10_002, 10_014, 65_000]) {
    t.throws(
      () => decodeResponseMessage({ ...error, contentFormat, payload: debug }),
      /Content-Format/,
      `${contentFormat}`,
    );
    t.equal(serialisationOf(contentFormat), undefined);
  }
  for (const format of [60, 10_010, 10_011, 10_012, 10_013]) t.equal(serialisationOf(format), 'cbor');
  t.end();
});

type Answerer = (message: CoapMessage, index: number) => CoapMessage | undefined;

/** Sends a request in blocks to a scripted peer; returns the outcome and all blocks that were sent. */
async function exchange(t: Test, answerer: Answerer, payload = new Uint8Array(), deadlineMs = 5000) {
  const bench: Bench = openBench();
  const sent: CoapMessage[] = [];
  const tokens = new Set<string>();
  bench.socket.onSent = ({ messageId, token, message }) => {
    if (message === undefined) return;
    sent.push(message);
    tokens.add(Buffer.from(token).toString('hex'));
    const answer = answerer(message, sent.length - 1);
    if (answer === undefined) return;
    bench.clock.schedule(millis(10), () =>
      bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token }, answer),
    );
  };
  const request = messageOf('0.02', { path: ['a'], payload, options: new Map([[283, [hex('71')]]]) });
  const work: Promise<Result<CoapMessage, DeliveryError>> = requestInBlocks(
    bench.endpoint,
    bench.clock,
    peer,
    request,
    {
      deadlineMs: millis(deadlineMs),
    },
  );
  const result = await bench.clock.advanceUntil(work);
  t.equal(bench.clock.pendingCount, 0, 'no timer is left');
  t.equal(tokens.size, 1, 'all blocks share one token');
  return { result, sent, elapsedMs: bench.clock.monotonicMs() };
}

const text = (length: number): Buffer<ArrayBuffer> =>
  Buffer.from(Array.from({ length }, (_, index) => index % 251));
const joined = (messages: readonly CoapMessage[]): Buffer =>
  Buffer.concat(messages.map(({ payload }) => payload));

await t.test('blocks: sending', async (t) => {
  const accepts: Answerer = ({ block1 }) =>
    block1 === undefined ? messageOf('2.04') : messageOf(block1.more ? '2.31' : '2.04', { block1 });
  for (const [length, blocks] of [
    [0, 1],
    [1024, 1],
    [1025, 2],
    [2048, 2],
    [20_000, 20],
  ] as const) {
    const { result, sent } = await exchange(t, accepts, text(length));
    t.match(result, { ok: true, value: { code: '2.04' } });
    t.equal(sent.length, blocks, `${length} bytes in ${blocks} blocks`);
    t.same(joined(sent), Buffer.from(text(length)));
    t.ok(
      sent.every(
        ({ block1 }, index) =>
          block1 === undefined || (block1.number === index && block1.more === index < blocks - 1),
      ),
    );
  }
  const shrinks: Answerer = (message) =>
    message.block1?.more === true
      ? messageOf('2.31', { block1: { ...message.block1, size: 256 } })
      : messageOf('2.04');
  const smaller = await exchange(t, shrinks, text(2000));
  t.same(
    smaller.sent.map(({ block1 }) => [block1?.number, block1?.size]),
    [
      [0, 1024],
      [4, 256],
      [5, 256],
      [6, 256],
      [7, 256],
    ],
  );
  t.same(joined(smaller.sent), Buffer.from(text(2000)), 'smaller blocks go on where the larger ended');
  const tooLarge: Answerer = (message, index) =>
    index === 0
      ? messageOf('4.13', { block1: { number: 0, more: true, size: 512 } })
      : accepts(message, index);
  const again = await exchange(t, tooLarge, text(1500));
  t.same(
    again.sent.slice(1).map(({ block1 }) => block1?.size),
    [512, 512, 512],
  );
  t.same(
    joined(again.sent.slice(1)),
    Buffer.from(text(1500)),
    'a peer that wants less gets it from the start',
  );
  const rows: readonly (readonly [string, Answerer, object])[] = [
    [
      'taken under another number',
      () => messageOf('2.31', { block1: { number: 5, more: true, size: 1024 } }),
      { ok: false, error: { kind: 'malformed' } },
    ],
    [
      'done before the end',
      () => messageOf('2.01'),
      { ok: false, error: { kind: 'malformed', message: /before the body was complete/ } },
    ],
    ['refused', () => messageOf('4.03'), { ok: true, value: { code: '4.03' } }],
    ['too large for good', () => messageOf('4.13'), { ok: true, value: { code: '4.13' } }],
    [
      'silence in the middle',
      (message, index) => (index < 2 ? accepts(message, index) : undefined),
      { ok: false, error: { kind: 'deadline' } },
    ],
    [
      'larger blocks wanted',
      ({ block1 }) =>
        block1?.more === true ? messageOf('2.31', { block1: { ...block1, size: 1024 } }) : messageOf('2.04'),
      { ok: true },
    ],
  ];
  for (const [name, answerer, expected] of rows) {
    const { result, elapsedMs } = await exchange(t, answerer, text(5000), 3000);
    t.match(result, expected, name);
    t.ok(elapsedMs <= 3000, `${name}: one deadline for all blocks`);
  }
});

await t.test('blocks: receiving', async (t) => {
  const body = text(20_000);
  const serve =
    (size: number): Answerer =>
    ({ block2 }) => {
      const used = Math.min(size, block2?.size ?? size);
      const start = (block2?.number ?? 0) * (block2?.size ?? used);
      const end = start + used;
      return messageOf('2.05', {
        payload: body.subarray(start, end),
        block2: { number: start / used, more: end < body.length, size: used },
      });
    };
  for (const size of [1024, 512, 64]) {
    const { result, sent } = await exchange(t, serve(size));
    t.same(result.ok ? result.value.payload : result, Buffer.from(body), `blocks of ${size}`);
    t.equal(sent.length, Math.ceil(body.length / size));
    t.ok(
      sent
        .slice(1)
        .every(
          ({ payload, block1, options }) => payload.length === 0 && block1 === undefined && options.has(283),
        ),
    );
  }
  const shrinking = await exchange(t, (message, index) => serve(index < 2 ? 1024 : 128)(message, index));
  t.same(
    shrinking.result.ok ? shrinking.result.value.payload : shrinking.result,
    Buffer.from(body),
    'smaller on the way',
  );
  const both = await exchange(
    t,
    (message, index) => {
      const { block1 } = message;
      return block1?.more === true ? messageOf('2.31', { block1 }) : serve(1024)(message, index);
    },
    text(3000),
  );
  t.same(
    both.result.ok ? both.result.value.payload : both.result,
    Buffer.from(body),
    'blocks out, then blocks in',
  );

  const part = (number: number, more = true, length = 64, fields: Partial<CoapMessage> = {}): CoapMessage =>
    messageOf('2.05', { payload: text(length), block2: { number, more, size: 64 }, ...fields });
  const rows: readonly (readonly [string, Answerer, RegExp])[] = [
    ['starts in the middle', () => part(3), /got block 3/],
    ['the same block again', () => part(0), /asked for block 1/],
    ['a block left out', (_, index) => part(index === 0 ? 0 : 2), /got block 2/],
    ['no block option', (_, index) => (index === 0 ? part(0) : messageOf('2.05')), /got no block/],
    ['another code', (_, index) => (index === 0 ? part(0) : { ...part(1), code: '4.04' }), /answered 4\.04/],
    ['an empty block', (_, index) => (index === 0 ? part(0) : part(1, true, 0)), /holds 0/],
    ['a short block', (_, index) => (index === 0 ? part(0) : part(1, true, 63)), /holds 63/],
    ['an overfull block', (_, index) => (index === 0 ? part(0) : part(1, false, 65)), /holds 65/],
    [
      'larger blocks',
      (_, index) =>
        index === 0 ? part(0) : part(0, true, 64, { block2: { number: 0, more: true, size: 1024 } }),
      /asked for block 1/,
    ],
    [
      'another version',
      (_, index) => part(index, true, 64, { options: new Map([[4, [Buffer.of(index)]]]) }),
      /changed/,
    ],
    [
      'without end',
      (_, index) =>
        messageOf('2.05', { payload: text(1024), block2: { number: index, more: true, size: 1024 } }),
      /over 65536 bytes/,
    ],
    [
      'one block over',
      (_, index) =>
        messageOf('2.05', { payload: text(1024), block2: { number: index, more: index < 64, size: 1024 } }),
      /over 65536 bytes/,
    ],
  ];
  for (const [name, answerer, message] of rows) {
    const { result, sent } = await exchange(t, answerer);
    t.match(result, { ok: false, error: { kind: 'malformed', message } }, name);
    t.ok(sent.length <= 65, `${name}: ends`);
  }
  const slow = await exchange(
    t,
    (message, index) => (index < 3 ? serve(64)(message, index) : undefined),
    undefined,
    700,
  );
  t.match(slow.result, { ok: false, error: { kind: 'deadline' } });
  t.equal(slow.elapsedMs, 700, 'one deadline for all blocks');
});

await t.test('blocks: serving', async (t) => {
  const seen: Uint8Array[] = [];
  const service = new BlockService({
    clock: new SimulatedClock(),
    handler: (message) => {
      seen.push(message.payload);
      return Promise.resolve(messageOf('2.05', { payload: text(3000) }));
    },
  });
  const send = (number: number, more: boolean, length = 64, from = peer): Promise<CoapMessage | undefined> =>
    service.answer(messageOf('0.02', { payload: text(length), block1: { number, more, size: 64 } }), from);
  t.match(await send(0, true), { code: '2.31', block1: { number: 0 } });
  t.match(await send(1, true), { code: '2.31' });
  t.match(await send(2, false, 5), {
    code: '2.05',
    block1: { number: 2 },
    block2: { number: 0, more: true, size: 1024 },
  });
  t.same(seen[0], Buffer.concat([text(64), text(64), text(5)]));
  const next = (number: number, size = 1024): Promise<CoapMessage | undefined> =>
    service.answer(messageOf('0.02', { block2: { number, more: false, size } }), peer);
  t.match(await next(1), { block2: { number: 1, more: true } });
  t.match(await next(2), { payload: Buffer.from(text(3000).subarray(2048)), block2: { more: false } });
  t.match(await next(5, 512), { payload: Buffer.from(text(3000).subarray(2560)), block2: { more: false } });
  t.match(await next(3), { code: '4.00' }, 'beyond the end');
  t.equal(seen.length, 1, 'the handler ran once');

  t.match(await send(1, true), { code: '4.08' }, 'a block without the one before');
  await send(0, true);
  t.match(await send(2, true), { code: '4.08' }, 'a gap');
  await send(0, true);
  t.match(await send(1, false, 64, { ...peer, port: 9 }), { code: '4.08' }, 'a block from another peer');
  t.match(await send(0, true, 63), { code: '4.00' }, 'a block shorter than it says');
  t.match(await send(1, true), { code: '4.08' }, 'begins nothing');
  let code: string | undefined = '2.31';
  let number = 0;
  for (; code === '2.31' && number < 5000; number++) code = (await send(number, true))?.code;
  t.equal(code, '4.13', 'a body without end is cut off');
  t.equal(number, 1025, 'at 64 KiB');
  t.equal(seen.length, 1);
  for (let port = 1; port <= 40; port++) await send(0, true, 64, { ...peer, port });
  t.match(await send(1, true, 64, { ...peer, port: 5 }), { code: '4.08' }, 'the eldest bodies gave way');
  t.match(await send(1, true, 64, { ...peer, port: 40 }), { code: '2.31' });
});

await t.test('binding: what an answer may be', async (t) => {
  const bench = openBench();
  let answer = messageOf('2.05');
  bench.socket.onSent = ({ messageId, token }) =>
    bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token }, answer);
  const binding = new CoapBinding({ endpoint: bench.endpoint, clock: bench.clock, peer });
  const send = (request: RequestPrimitive = base) => binding.send(request, { deadlineMs: millis(100) });
  t.match(await send(), { ok: false, error: { kind: 'malformed', message: /307/ } });
  const status = [307, [hex('07d0')]] as const;
  answer = messageOf('2.05', { options: new Map([status]) });
  t.match(await send(), { ok: true, value: { responseStatusCode: 2000, requestIdentifier: 'q' } });
  answer = messageOf('2.05', { options: new Map([status, [283, [Buffer.from('other')]]]) });
  t.match(await send(), { ok: false, error: { kind: 'malformed', message: /answered as other/ } });
  answer = messageOf('2.05', { options: new Map([status]), payload: hex('c100'), contentFormat: 60 });
  t.match(await send(), { ok: false, error: { kind: 'malformed', message: /a tag/ } });
  const unsendable = { ...base, operation: 3, primitiveContent: { ae: { appName: new Date(0) } } };
  t.match(await send(unsendable as unknown as RequestPrimitive), {
    ok: false,
    error: { kind: 'malformed', message: /not sent/ },
  });
  await binding.close();
  t.match(await send(), { ok: false, error: { kind: 'malformed' } }, 'the endpoint outlives a binding');
});

/** node-coap wants unregistered options by their number as text. */
const optionName = (number: number): string => String(number);

await t.test('foreign stack as server', async (t) => {
  const large = 'y'.repeat(20_000);
  const tokens: string[] = [];
  const clock = new NodeClock();
  const server = coap.createServer({ type: 'udp4' }, (request, response) => {
    tokens.push(request._packet.token?.toString('hex') ?? '');
    const identifier = request._packet.options?.find(({ name }) => String(name) === '283')?.value;
    const isCbor = request.headers['Content-Format'] === 'application/cbor';
    response.setOption(optionName(307), Buffer.from([0x07, 0xd1]));
    response.setOption(optionName(283), identifier as Buffer);
    response.setOption('Content-Format', isCbor ? 'application/cbor' : 'application/json');
    const echo = {
      responseStatusCode: 2001,
      requestIdentifier: 'x',
      primitiveContent: { uri: String(request.payload.length) },
    };
    const { payload } = encodeResponseMessage(echo, isCbor ? 'cbor' : 'json');
    response.code = '2.01';
    if (request.url.includes('large')) response.end(Buffer.from(JSON.stringify({ 'm2m:uri': large })));
    else if (request.url.includes('slow')) clock.schedule(millis(80), () => response.end(payload));
    else response.end(payload);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', () => resolve()));
  t.teardown(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  const { port } = (server as unknown as { _sock: { address(): { port: number } } })._sock.address();
  const socket = await new NodeNetwork().openDatagram({ localAddress: '127.0.0.1' });
  const endpoint = new CoapEndpoint({ socket, clock, entropy: new NodeEntropy() });
  t.teardown(() => endpoint.close());
  for (const serialisation of ['json', 'cbor'] as const) {
    const binding = new CoapBinding({ endpoint, clock, peer: { address: '127.0.0.1', port }, serialisation });
    const post = async (to: string, length: number): Promise<unknown> => {
      const content = { contentInstance: { content: 'x'.repeat(length) } };
      const request: RequestPrimitive = {
        ...base,
        operation: 1,
        resourceType: 4,
        to,
        primitiveContent: content,
      };
      const result = await binding.send(request, { deadlineMs: millis(5000) });
      if (!result.ok) t.fail(result.error.message.slice(0, 200));
      t.match(result.ok, true, `${serialisation} ${to} ${length}`);
      return result.ok ? result.value.primitiveContent?.uri : undefined;
    };
    await post('piggybacked', 5);
    await post('slow', 5);
    tokens.length = 0;
    t.ok(Number(await post('body', 20_000)) > 20_000, '20 kB went in blocks');
    t.equal(new Set(tokens).size, 1);
    if (serialisation === 'json') t.ok((await post('large', 5)) === large, '20 kB came in blocks');
  }
});

await t.test('foreign stack as client', async (t) => {
  const clock = new NodeClock();
  const socket = await new NodeNetwork().openDatagram({ localAddress: '127.0.0.1' });
  const endpoint = new CoapEndpoint({ socket, clock, entropy: new NodeEntropy() });
  t.teardown(() => endpoint.close());
  let runs = 0;
  serveRequests(endpoint, async (request) => {
    runs++;
    if (request.to === 'slow')
      await new Promise((resolve) => clock.schedule(millis(80), () => resolve(undefined)));
    const said = String(request.primitiveContent?.notification?.subscriptionReference?.length);
    const uri = request.to === 'large' ? 'z'.repeat(20_000) : said;
    return {
      responseStatusCode: 2001,
      requestIdentifier: request.requestIdentifier,
      primitiveContent: { uri },
    };
  });
  const agent = new coap.Agent({ type: 'udp4' });
  t.teardown(() => void agent.close());
  const ask = (pathname: string, length: number, format: 'json' | 'cbor'): Promise<ResponsePrimitive> =>
    new Promise((resolve, reject) => {
      const request = agent.request({
        hostname: '127.0.0.1',
        port: endpoint.local.port,
        pathname,
        method: 'POST',
      });
      request.setOption(optionName(283), Buffer.from('q1'));
      request.setOption('Content-Format', `application/${format}`);
      request.setOption('Accept', `application/${format}`);
      if (length > 1000) request.setOption('Block1', Buffer.of(6));
      request.on('response', (response: coap.IncomingMessage) => {
        const options = new Map<number, Uint8Array[]>();
        for (const { name, value } of response._packet.options ?? []) {
          if (/^\d+$/u.test(String(name))) options.set(Number(name), [value]);
        }
        const contentFormat = format === 'cbor' ? 60 : 50;
        resolve(
          decodeResponseMessage(
            messageOf(response.code, { options, contentFormat, payload: response.payload }),
          ),
        );
      });
      request.on('error', reject);
      const notification = { subscriptionReference: 's'.repeat(length) };
      request.end(
        Buffer.from(
          encodeRequestMessage({ ...base, operation: 5, primitiveContent: { notification } }, format).payload,
        ),
      );
    });
  for (const format of ['json', 'cbor'] as const) {
    for (const [path, length, uri] of [
      ['/quick', 5, '5'],
      ['/slow', 5, '5'],
      ['/body', 20_000, '20000'],
    ] as const) {
      runs = 0;
      t.match(
        await ask(path, length, format),
        { responseStatusCode: 2001, requestIdentifier: 'q1', primitiveContent: { uri } },
        `${format} ${path}`,
      );
      t.equal(runs, 1);
    }
    t.equal(
      (await ask('/large', 5, format)).primitiveContent?.uri?.length,
      20_000,
      `${format}: 20 kB in blocks`,
    );
  }
});
