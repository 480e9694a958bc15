// One measurement in a process of its own: what it measures is the first argument, its extent the second. The outcome
// goes to the parent as a message.
import { Agent, createServer } from 'coap';
import { millis } from '../../../src/base/units.ts';
import { requestInBlocks } from '../../../src/coap/blockwise.ts';
import { CoapEndpoint } from '../../../src/coap/endpoint.ts';
import type { CoapMessage } from '../../../src/coap/message.ts';
import { NodeClock, settle, sleep } from '../../../src/host/clock.ts';
import { NodeEntropy } from '../../../src/host/entropy.ts';
import { NodeNetwork } from '../../../src/host/network.ts';
import type { SocketAddress } from '../../../src/host/network.ts';

/** What a worker is asked for. */
export type Job = 'rate-baton' | 'rate-node-coap' | 'heap' | 'deadline-idle' | 'deadline-busy';

/** Requests answered, and the time it took. */
export interface RateResult {
  readonly answered: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** Octets of the heap after collection. */
export interface HeapResult {
  readonly startBytes: number;
  readonly endBytes: number;
  readonly answered: number;
}

/** How far exchanges outlived their deadlines, and bare timers that were set beside them. */
export interface DeadlineResult {
  readonly exchanges: number;
  readonly lateMsMax: number;
  readonly timerLateMsMax: number;
  /** The exchange that was latest compared with the timer beside it. */
  readonly beyondTimerMsMax: number;
}

const inFlight = 64;
const local = '127.0.0.1';
const clock = new NodeClock();
const network = new NodeNetwork();
const path = ['cse-mn1', 'gw1', 'data'];
const body = Buffer.alloc(40, 1);
const answerBody = Buffer.alloc(12, 2);
const within = { deadlineMs: millis(10_000) };

const [job = '', extent = '0'] = process.argv.slice(2);
const result = await run(job as Job, Number(extent));
process.send?.(result, () => process.exit(0));

function run(what: Job, amount: number): Promise<RateResult | HeapResult | DeadlineResult> {
  switch (what) {
    case 'rate-baton':
      return rate(amount, openBaton);
    case 'rate-node-coap':
      return rate(amount, openNodeCoap);
    case 'heap':
      return heap(amount);
    case 'deadline-idle':
      return deadline(amount, false);
    case 'deadline-busy':
      return deadline(amount, true);
  }
}

/** Sends one confirmable POST and waits for its answer. */
type Ask = () => Promise<void>;

async function openEndpoint(): Promise<CoapEndpoint> {
  const socket = await network.openDatagram({ localAddress: local });
  return new CoapEndpoint({ socket, clock, entropy: new NodeEntropy() });
}

async function openBaton(): Promise<Ask> {
  const server = await openEndpoint();
  const client = await openEndpoint();
  const answer: CoapMessage = { code: '2.01', path: [], query: [], options: new Map(), payload: answerBody };
  server.onRequest(() => Promise.resolve(answer));
  const request: CoapMessage = {
    code: '0.02',
    path,
    query: [],
    contentFormat: 60,
    options: new Map(),
    payload: body,
  };
  return async () => {
    const answered = await client.request(server.local, request, within);
    if (!answered.ok) throw new Error(answered.error.message);
    if (answered.value.code !== '2.01') throw new Error(`answered ${answered.value.code}`);
  };
}

async function openNodeCoap(): Promise<Ask> {
  const port = await freePort();
  const server = createServer((_, response) => {
    response.code = '2.01';
    response.end(answerBody);
  });
  await new Promise<void>((resolve) => server.listen(port, local, () => resolve()));
  const agent = new Agent({ type: 'udp4' });
  const options = {
    host: local,
    port,
    method: 'POST',
    pathname: path.join('/'),
    confirmable: true,
    agent,
  } as const;
  return () =>
    new Promise((resolve, reject) => {
      const request = agent.request(options);
      request.setOption('Content-Format', Buffer.of(60));
      request.on('error', reject);
      request.on('response', (response: { code: string }) => {
        if (response.code === '2.01') resolve();
        else reject(new Error(`answered ${response.code}`));
      });
      request.end(body);
    });
}

/** The library takes a number, and says nothing of the one it got for 0. */
async function freePort(): Promise<number> {
  const socket = await network.openDatagram({ localAddress: local });
  const { port } = socket.local;
  await socket.close();
  return port;
}

/** Asks with a full window until `isOver`; returns how many were answered. */
async function pump(ask: Ask, isOver: (asked: number) => boolean): Promise<number> {
  let asked = 0;
  let answered = 0;
  const lane = async (): Promise<void> => {
    while (!isOver(asked)) {
      asked++;
      await ask();
      answered++;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return answered;
}

async function rate(seconds: number, open: () => Promise<Ask>): Promise<RateResult> {
  const ask = await open();
  await pump(ask, (asked) => asked >= 3_000);
  const startMs = clock.monotonicMs();
  const cpu = process.cpuUsage();
  const answered = await pump(ask, () => clock.monotonicMs() - startMs >= seconds * 1000);
  const { user, system } = process.cpuUsage(cpu);
  return { answered, seconds: (clock.monotonicMs() - startMs) / 1000, cpuSeconds: (user + system) / 1e6 };
}

async function heap(count: number): Promise<HeapResult> {
  const ask = await openBaton();
  await ask();
  const startBytes = await heapBytes();
  const answered = await pump(ask, (asked) => asked >= count);
  return { startBytes, endBytes: await heapBytes(), answered };
}

async function heapBytes(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    await settle();
    globalThis.gc?.();
  }
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}

/** One of three peers is silent, one acknowledges and is silent then, one does so within a body that comes in blocks. */
async function deadline(rounds: number, isBusy: boolean): Promise<DeadlineResult> {
  const client = await openEndpoint();
  const peers: SocketAddress[] = [];
  for (const acknowledges of [false, true]) {
    const socket = await network.openDatagram({ localAddress: local });
    peers.push(socket.local);
    socket.onMessage((data, from) => {
      if (acknowledges) void socket.send(Buffer.of(0x60, 0, data[2] ?? 0, data[3] ?? 0), from);
    });
  }
  const taker = await openEndpoint();
  taker.onRequest(({ block1 }) =>
    Promise.resolve(block1?.number === 0 ? { ...bare('2.31'), block1 } : undefined),
  );
  peers.push(taker.local);
  let isOver = false;
  const load = isBusy ? burn(() => isOver) : Promise.resolve();
  let exchanges = 0;
  let lateMsMax = 0;
  let timerLateMsMax = 0;
  let beyondTimerMsMax = 0;
  const lane = async (_: unknown, index: number): Promise<void> => {
    const peer = peers[index % 3] ?? client.local;
    const request: CoapMessage = {
      ...bare('0.02'),
      path,
      payload: new Uint8Array(peer === taker.local ? 3_000 : 0),
    };
    for (let round = 0; round < rounds; round++) {
      const deadlineMs = millis(50 + ((index * 37 + round * 101) % 1_200));
      const startMs = clock.monotonicMs();
      const late = (): number => clock.monotonicMs() - startMs - deadlineMs;
      const timer = sleep(clock, deadlineMs).then(late);
      const exchange = requestInBlocks(client, clock, peer, request, { deadlineMs }).then((ended) => {
        if (ended.ok || ended.error.kind !== 'deadline') throw new Error('a silent peer answered');
        return late();
      });
      const [timerLateMs, lateMs] = await Promise.all([timer, exchange]);
      exchanges++;
      lateMsMax = Math.max(lateMsMax, lateMs);
      timerLateMsMax = Math.max(timerLateMsMax, timerLateMs);
      beyondTimerMsMax = Math.max(beyondTimerMsMax, lateMs - timerLateMs);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  isOver = true;
  await load;
  await client.close();
  await taker.close();
  return { exchanges, lateMsMax, timerLateMsMax, beyondTimerMsMax };
}

function bare(code: string): CoapMessage {
  return { code, path: [], query: [], options: new Map(), payload: new Uint8Array() };
}

/** Holds the event loop for 30 ms out of every 40. */
async function burn(isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    for (const startMs = clock.monotonicMs(); clock.monotonicMs() - startMs < 30;);
    await sleep(clock, millis(10));
  }
}
