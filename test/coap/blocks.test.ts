// Proves of block-wise transfer beyond the plain case (binding.test.ts): what is held between blocks is bounded in number,
// for each peer, in octets and in time; a block that comes once more is taken once; sizes that are announced are believed;
// blocks of one answer carry one entity tag, and a body that changed is fetched again where that does no harm; either side
// may ask for smaller blocks; a peer that forgot what was sent gets it again, some times; RFC 9175's Echo is given back.
import fc from 'fast-check';
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { BlockService } from '../../src/coap/block-service.ts';
import { Transfer } from '../../src/coap/blockwise.ts';
import type { TransferOptions } from '../../src/coap/blockwise.ts';
import { HeldBodies, heldBodiesLimits } from '../../src/coap/held-bodies.ts';
import { encodeUint } from '../../src/coap/message.ts';
import type { CoapMessage } from '../../src/coap/message.ts';
import { canonicalPeer } from '../../src/coap/peer-address.ts';
import { bodyBytesMax } from '../../src/onem2m/serialisation.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { messageOf, openBench, peer } from './test-socket.ts';

const text = (length: number): Buffer<ArrayBuffer> =>
  Buffer.from(Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) % 251));
const at = (port: number): typeof peer => ({ ...peer, port });
const tagOf = (message: CoapMessage | undefined): string =>
  Buffer.from(message?.options.get(4)?.[0] ?? []).toString('hex');

await t.test('bodies between their blocks are bounded', async (t) => {
  const clock = new SimulatedClock();
  const held = new HeldBodies<number>(clock);
  const { bodies, bodiesPerPeer, bytes, lifetimeMs } = heldBodiesLimits;
  for (let count = 0; count < bodiesPerPeer + 1; count++) held.hold(`k${count}`, count, 10, peer);
  t.equal(held.get('k0'), undefined, 'the eldest of a peer gives way to its own');
  t.equal(held.get('k1'), 1);
  t.equal(held.bytes, 10 * bodiesPerPeer);
  for (let port = 1; port <= bodies; port++) held.hold(`p${port}`, port, 10, at(port));
  t.equal(held.size, bodies);
  t.equal(held.get('k4'), undefined, 'the eldest of all gives way to others');
  held.hold('large', 1, bytes - 5, at(1));
  t.equal(held.get('large'), 1);
  t.equal(held.size, 1, 'octets are bounded');
  held.hold('large', 2, 7, at(1));
  t.equal(held.bytes, 7, 'what takes the place of another is counted once');
  await clock.advance(lifetimeMs - 1);
  t.equal(held.get('large'), 2);
  await clock.advance(1);
  t.equal(held.get('large'), undefined, 'and so is time');
  t.same([held.size, held.bytes], [0, 0]);

  const service = new BlockService({ clock, handler: () => Promise.resolve(messageOf('2.04')) });
  const flood = (path: string, from: typeof peer): Promise<CoapMessage | undefined> => {
    const block1 = { number: 0, more: true, size: 1024 };
    return service.answer(messageOf('0.02', { path: [path], payload: text(1024), block1 }), from);
  };
  const victim = at(60_000);
  await flood('mine', victim);
  for (let count = 0; count < 1_000; count++) await flood(`x${count}`, at(1));
  t.ok(service.load.bodies <= 1 + bodiesPerPeer, `one peer holds ${service.load.bodies - 1} bodies`);
  const block1 = { number: 1, more: false, size: 1024 };
  const done = messageOf('0.02', { path: ['mine'], payload: text(5), block1 });
  t.match(await service.answer(done, victim), { code: '2.04' }, 'and takes no place of others');
  for (let port = 1; port <= 1_000; port++) await flood('x', at(port));
  t.ok(service.load.bodies <= bodies && service.load.bytes <= bytes);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(40), fc.nat(9), fc.nat(400_000), fc.nat(60_000)), { maxLength: 200 }),
      (steps) => {
        const store = new HeldBodies<number>(clock);
        for (const [key, port, size] of steps) {
          if (size % 5 === 0) store.drop(`${key}`);
          else store.hold(`${key}`, size, size, at(port));
          if (store.size > bodies || store.bytes > bytes || store.bytes < 0) return false;
        }
        return true;
      },
    ),
    { seed: 20_26, numRuns: 200 },
  );
});

await t.test('serving: repeats, sizes, tags', async (t) => {
  const clock = new SimulatedClock();
  const seen: Uint8Array[] = [];
  let answer = messageOf('2.04');
  const handler = (message: CoapMessage): Promise<CoapMessage> => {
    seen.push(message.payload);
    return Promise.resolve(answer);
  };
  const service = new BlockService({ clock, handler });
  const body = text(200);
  const send = (number: number, fields: Partial<CoapMessage> = {}): Promise<CoapMessage | undefined> => {
    const more = number < 3;
    const payload = body.subarray(number * 64, number * 64 + 64);
    return service.answer(
      messageOf('0.02', { payload, block1: { number, more, size: 64 }, ...fields }),
      peer,
    );
  };
  for (const number of [0, 0, 1, 1, 1, 2, 1]) await send(number);
  t.match(await send(2), { code: '2.31' }, 'the block that came last may come again');
  t.match(await send(3), { code: '2.04' });
  t.same(
    seen.map((each) => Buffer.from(each)),
    [Buffer.from(body)],
    'and is taken once',
  );
  await send(0);
  await send(1);
  t.match(await send(1, { payload: text(64) }), { code: '4.08' }, 'other octets are no repeat');
  await clock.advance(heldBodiesLimits.lifetimeMs);
  t.match(await send(2), { code: '4.08' }, 'a body is forgotten after its lifetime');

  const size1 = (value: number): Partial<CoapMessage> => ({ options: new Map([[60, [encodeUint(value)]]]) });
  const refused = await send(0, size1(bodyBytesMax + 1));
  t.match(refused, { code: '4.13' }, 'a body that is announced as too large is refused at its first block');
  t.same(refused?.options.get(60), [encodeUint(bodyBytesMax)], 'with what would be taken');
  await send(0, size1(200));
  for (const number of [1, 2]) await send(number, number === 1 ? size1(200) : {});
  t.match(await send(3), { code: '2.04' }, 'Size1 may come with some blocks and not with others');
  await send(0, { options: new Map([[292, [Buffer.of(1)]]]) });
  t.match(
    await send(1, { options: new Map([[292, [Buffer.of(2)]]]) }),
    { code: '4.08' },
    'Request-Tag parts bodies',
  );

  const small = new BlockService({ clock, handler, blockBytes: 32 });
  const first = messageOf('0.02', {
    payload: body.subarray(0, 64),
    block1: { number: 0, more: true, size: 64 },
  });
  t.match(await small.answer(first, peer), { code: '2.31', block1: { number: 0, more: true, size: 32 } });
  const second = messageOf('0.02', {
    payload: body.subarray(64, 96),
    block1: { number: 2, more: true, size: 32 },
  });
  t.match(
    await small.answer(second, peer),
    { code: '2.31' },
    'smaller blocks go on from where the larger ended',
  );

  answer = messageOf('2.05', { payload: body });
  const get = (number: number, size: number, service_ = service, fields: Partial<CoapMessage> = {}) =>
    service_.answer(messageOf('0.01', { block2: { number, more: false, size }, ...fields }), peer);
  const blocks = [await get(0, 64), await get(1, 64), await get(3, 64)];
  t.match(blocks, [{ block2: { more: true } }, { block2: { more: true } }, { block2: { more: false } }]);
  t.ok(tagOf(blocks[0]).length > 0 && new Set(blocks.map(tagOf)).size === 1, 'one tag');
  const before = seen.length;
  answer = messageOf('2.05', { payload: body.map((octet) => octet ^ 1) });
  t.equal(tagOf(await get(2, 64)), tagOf(blocks[0]), 'the blocks of a body that is being fetched stay');
  t.not(tagOf(await get(0, 64)), tagOf(blocks[0]), 'another body has another tag');
  t.equal(seen.length, before + 1);
  answer = messageOf('2.05', { payload: body, options: new Map([[4, [Buffer.of(9)]]]) });
  t.equal(tagOf(await get(0, 64)), '09', "the handler's own tag is kept");
  t.match(
    await get(0, 1024, small),
    { block2: { number: 0, more: true, size: 32 } },
    'never larger than set',
  );
  const total = await get(0, 64, service, { options: new Map([[28, [new Uint8Array()]]]) });
  t.same(total?.options.get(28), [encodeUint(200)], 'Size2 is told who asks for it');
  const fresh = new BlockService({ clock, handler });
  t.match(await get(2, 64, fresh), { block2: { number: 2 } }, 'a GET may begin in the middle');
  t.match(await get(9, 64, fresh), { code: '4.00' }, 'but not behind the end');
  answer = messageOf('2.05', { payload: text(3) });
  t.match(await get(1, 64, new BlockService({ clock, handler })), { code: '4.00' });
});

/** Asks a scripted peer; resolves to what came of it and what was sent. */
async function exchange(
  answerer: (message: CoapMessage, index: number) => CoapMessage | undefined,
  message: CoapMessage,
  options: Partial<TransferOptions> = {},
) {
  const bench = openBench();
  const sent: CoapMessage[] = [];
  bench.socket.onSent = ({ messageId, token, message: part }) => {
    if (part === undefined) return;
    sent.push(part);
    const answer = answerer(part, sent.length - 1);
    if (answer === undefined) return;
    bench.clock.schedule(millis(10), () =>
      bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token }, answer),
    );
  };
  const settings = { deadlineMs: millis(5_000), ...options };
  const work = new Transfer(bench.endpoint, bench.clock, peer, message, settings).result;
  const result = await bench.clock.advanceUntil(work);
  return { result, sent, isIdle: bench.clock.pendingCount + bench.endpoint.load.exchanges === 0 };
}

await t.test('asking: what was lost or changed is begun again', async (t) => {
  const upload = messageOf('0.02', { path: ['a'], payload: text(4_000) });
  const accepts = ({ block1 }: CoapMessage): CoapMessage =>
    block1?.more === true ? messageOf('2.31', { block1 }) : messageOf('2.04');
  const forgetful = await exchange(
    (message, index) => (index === 2 ? messageOf('4.08') : accepts(message)),
    upload,
  );
  t.match(forgetful.result, { ok: true, value: { code: '2.04' } });
  t.same(
    forgetful.sent.map(({ block1 }) => block1?.number),
    [0, 1, 2, 0, 1, 2, 3],
    'a peer that forgot gets all of it again',
  );
  const always = await exchange(
    (message) => (message.block1?.number === 1 ? messageOf('4.08') : accepts(message)),
    upload,
  );
  t.match(always.result, { ok: true, value: { code: '4.08' } }, 'some times');
  t.equal(always.sent.length, 8);
  t.ok(always.isIdle);
  const atOnce = await exchange(() => messageOf('4.08'), upload);
  t.equal(atOnce.sent.length, 1, 'the first block cannot be missing');

  const get = messageOf('0.01', { path: ['a'] });
  const body = text(300);
  const serve = ({ block2 }: CoapMessage, tag: number): CoapMessage => {
    const size = Math.min(block2?.size ?? 64, 64);
    const number = block2?.number ?? 0;
    const payload = body.subarray(number * size, (number + 1) * size);
    const more = (number + 1) * size < body.length;
    return messageOf('2.05', {
      payload,
      block2: { number, more, size },
      options: new Map([[4, [Buffer.of(tag)]]]),
    });
  };
  const changed = await exchange((message, index) => serve(message, index < 2 ? 1 : 2), get);
  t.same(changed.result.ok && changed.result.value.payload, Buffer.from(body));
  t.equal(changed.sent.length, 3 + 5, 'what changed is fetched again');
  const unsteady = await exchange((message, index) => serve(message, index), get);
  t.match(unsteady.result, { ok: false, error: { kind: 'malformed', message: /changed/ } }, 'some times');
  t.equal(unsteady.sent.length, 8);
  const dropped = await exchange(
    (message, index) => (index === 3 ? messageOf('4.04') : serve(message, 1)),
    get,
  );
  t.same(dropped.result.ok && dropped.result.value.payload, Buffer.from(body), 'and so is what was dropped');
  const posted = await exchange(
    (message, index) => (index === 3 ? messageOf('4.08') : serve(message, 1)),
    messageOf('0.02', { path: ['a'] }),
  );
  t.match(posted.result, { ok: false, error: { kind: 'malformed' } }, 'a POST is not made twice for it');
  t.equal(posted.sent.length, 4);

  const announced = (size: number): CoapMessage => {
    const whole = serve(get, 1);
    return { ...whole, options: new Map([...whole.options, [28, [encodeUint(size)]]]) };
  };
  const huge = await exchange(() => announced(bodyBytesMax + 1), get);
  t.match(huge.result, { ok: false, error: { message: /announced/ } });
  t.equal(huge.sent.length, 1, 'an answer that is announced as too large is not fetched');
});

await t.test('asking: smaller blocks, Echo, odd options', async (t) => {
  const body = text(300);
  const service = new BlockService({
    clock: new SimulatedClock(),
    handler: ({ payload }) => Promise.resolve(messageOf('2.04', { payload })),
  });
  // The service answers later than the scripted peers do, so it is asked through an endpoint of its own.
  const bench = openBench();
  bench.socket.onSent = ({ messageId, token, message }) => {
    if (message === undefined) return;
    sizes.push(message.block1?.size ?? 0, message.block2?.size ?? 0);
    void service.answer(message, peer).then((answer) => {
      if (answer !== undefined)
        bench.socket.receiveMessage({ type: 'acknowledgement', messageId, token }, answer);
    });
  };
  const sizes: number[] = [];
  const message = messageOf('0.03', { path: ['a'], payload: body });
  const settings = { deadlineMs: millis(5_000), blockBytes: 64 };
  const echoed = await new Transfer(bench.endpoint, bench.clock, peer, message, settings).result;
  t.same(echoed.ok && echoed.value.payload, body);
  t.ok(Math.max(...sizes) === 64, 'no block is larger than asked for');
  t.equal(sizes.length / 2, 5 + 4, 'five out, and the other four in');

  const odd = await exchange(
    ({ block2 }) => {
      const number = block2?.number ?? 0;
      const payload = body.subarray(number * 64, number * 64 + 64);
      return messageOf('2.05', { payload, block2: { number, more: number < 4, size: 64 } });
    },
    messageOf('0.01'),
    { blockBytes: 16 },
  );
  t.match(odd.result, { ok: false }, 'blocks that are larger than asked for do not fit');

  const value = Buffer.from('fresh?');
  const wary = await exchange(
    (part) =>
      part.options.has(252) ? messageOf('2.04') : messageOf('4.01', { options: new Map([[252, [value]]]) }),
    messageOf('0.02'),
  );
  t.match(wary.result, { ok: true, value: { code: '2.04' } }, 'Echo is given back');
  t.same(
    wary.sent.map((part) => part.options.get(252)?.[0]),
    [undefined, value],
  );
  const never = await exchange(
    () => messageOf('4.01', { options: new Map([[252, [value]]]) }),
    messageOf('0.02'),
  );
  t.match(never.result, { ok: true, value: { code: '4.01' } });
  t.equal(never.sent.length, 2, 'once');
  const zeroLength = await exchange(
    () => messageOf('2.04', { block1: { number: 0, more: false, size: 16 } }),
    messageOf('0.02', { payload: text(5) }),
  );
  t.match(zeroLength.result, { ok: true, value: { code: '2.04' } }, 'a block option of no octets is legal');
  const once = await exchange(() => messageOf('2.05'), messageOf('0.01'), { type: 'nonConfirmable' });
  t.match(once.result, { ok: true });
});

await t.test('peers are known by their addresses as datagrams name them', (t) => {
  const rows: readonly (readonly [string, string])[] = [
    ['192.0.2.1', '192.0.2.1'],
    ['::1', '::1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['::ffff:7f00:1', '::ffff:127.0.0.1'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['FE80::0:1%eth0', 'fe80::1%eth0'],
    ['::1%lo', '::1%lo'],
    ['no:address', 'no:address'],
  ];
  for (const [written, canonical] of rows) {
    t.same(canonicalPeer({ address: written, port: 1 }), { address: canonical, port: 1 }, written);
  }
  t.end();
});
