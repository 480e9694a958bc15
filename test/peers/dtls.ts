// Proves of DTLS with a pre-shared key against the tools of libcoap 4.3, each built on OpenSSL and on GnuTLS:
// - our session at `coap-server`: a request, 20 kB in blocks both ways, datagrams lost on either side, a wrong key told as
//   that, an identity that the server does not know (libcoap takes it with its default key, so the key is found wrong);
// - our binding there: a restart of the server and a new address of ours, each of which kills the session without a sign:
//   one request goes unanswered, the next has a new session;
// - `coap-client` at our server: requests and 20 kB in blocks, a wrong key, losses on its side.
// The notes give what it costs: duration of a handshake, and what a request takes more than in the clear.
import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { ok } from '../../src/base/result.ts';
import { millis } from '../../src/base/units.ts';
import { requestInBlocks } from '../../src/coap/blockwise.ts';
import { DtlsBinding } from '../../src/coap/dtls-binding.ts';
import { DtlsServer } from '../../src/coap/dtls-server.ts';
import { openDtlsSession } from '../../src/coap/dtls-session.ts';
import type { DtlsSession } from '../../src/coap/dtls-session.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { loadDtlsLibrary } from '../../src/host/dtls-library.ts';
import type { DatagramSocket, SocketAddress } from '../../src/host/network.ts';
import type { RequestPrimitive } from '../../src/onem2m/primitives.ts';
import { run } from '../real/programs.ts';
import {
  RecordingServer,
  answered,
  bodyOf,
  deadlineMs,
  onLoopback,
  openEndpoint,
  requestOf,
} from './coap-rig.ts';
import type { PeerBench, PeerPart, PeerProgram } from './peer-bench.ts';

const local = '127.0.0.1';
const builds = ['openssl', 'gnutls'] as const;
type Build = (typeof builds)[number];
const tool = (kind: 'client' | 'server', build: Build): string => `coap-${kind}-${build}`;
const credentials = { identity: 'gw1', key: Buffer.from('secretPSK') };
const toolMs = 40_000;
/** A key that is not ours. */
const another = 'another';
const request: RequestPrimitive = {
  operation: 2,
  to: 'cse-mn1',
  from: 'Sgw1',
  requestIdentifier: 'q1',
  releaseVersionIndicator: '4',
};

/** The tools of libcoap with DTLS. */
export const dtlsPart: PeerPart = {
  name: 'dtls',
  programs: builds
    .flatMap((build) => [tool('client', build), tool('server', build)])
    .map((command) => ({ command, debianPackage: 'libcoap3-bin' })),
  run: async (bench) => {
    for (const build of builds) {
      await runServer(bench, build);
      await runBinding(bench, build);
      await runClient(bench, build);
    }
  },
};

interface Server {
  readonly program: PeerProgram;
  /** Where it speaks DTLS, and, a port below, in the clear. */
  readonly at: SocketAddress;
  readonly plain: SocketAddress;
}

/** `coap-server`, ready. */
async function startServer(bench: PeerBench, build: Build, args: readonly string[], port?: number): Promise<Server> {
  const first = port ?? (await bench.freeUdpPort(local));
  const command = tool('server', build);
  const program = bench.start(command, ['-A', local, '-p', String(first), '-k', credentials.key.toString(), '-h', 'hint', '-d', '20', ...args]);
  const probe = await openEndpoint(bench, local);
  await bench.until(command, async () => {
    assert.ok(program.isRunning(), program.output());
    return (await probe.ping(onLoopback(first), { deadlineMs: millis(300) })).ok;
  });
  return { program, at: onLoopback(first + 1), plain: onLoopback(first) };
} // prettier-ignore

/** What passed a socket, both ways together. */
interface Tally {
  octets: number;
  datagrams: number;
}

function tallied(socket: DatagramSocket, tally: Tally, loses: (count: number) => boolean = () => false): DatagramSocket {
  let count = 0;
  const add = (data: Uint8Array): void => {
    tally.octets += data.length;
    tally.datagrams += 1;
  };
  return {
    local: socket.local,
    send: (data, to) => {
      add(data);
      return loses(++count) ? Promise.resolve(ok(undefined)) : socket.send(data, to);
    },
    onMessage: (handler) =>
      socket.onMessage((data, from) => {
        add(data);
        handler(data, from);
      }),
    close: () => socket.close(),
  };
} // prettier-ignore

interface Opened {
  readonly session: DtlsSession;
  readonly endpoint: CoapEndpoint;
  readonly tally: Tally;
}

async function open(
  bench: PeerBench,
  peer: SocketAddress,
  options: Partial<typeof credentials> & { loses?: (count: number) => boolean; limitMs?: number } = {},
): Promise<Opened | string> {
  const { clock, entropy, network } = bench.host;
  const { loses, limitMs = 10_000, ...given } = options;
  const tally = { octets: 0, datagrams: 0 };
  const opened = await openDtlsSession({
    library: await loadDtlsLibrary(),
    socket: tallied(await network.openDatagram({ localAddress: local }), tally, loses),
    peer,
    credentials: { ...credentials, ...given },
    clock,
    deadlineMs: millis(limitMs),
  });
  if (!opened.ok) return opened.error.kind;
  const endpoint = new CoapEndpoint({ socket: opened.value, clock, entropy });
  bench.defer(() => endpoint.close());
  return { session: opened.value, endpoint, tally };
}

async function mustOpen(...args: Parameters<typeof open>): Promise<Opened> {
  const opened = await open(...args);
  if (typeof opened === 'string') assert.fail(opened);
  return opened;
}

async function runServer(bench: PeerBench, build: Build): Promise<void> {
  const { clock } = bench.host;
  const name = tool('server', build);
  const server = await startServer(bench, build, []);
  const put = async ({ endpoint }: Opened, at: SocketAddress): Promise<void> => {
    const put = requestOf('0.03', 'body', bodyOf(20_000));
    const stored = await requestInBlocks(endpoint, clock, at, put, { deadlineMs });
    assert.ok(stored.ok && /^2\.0[14]$/u.test(stored.value.code), JSON.stringify(stored));
    const got = answered(await requestInBlocks(endpoint, clock, at, requestOf('0.01', 'body'), { deadlineMs }), '2.05');
    assert.ok(Buffer.from(got.payload).equals(bodyOf(20_000)));
  }; // prettier-ignore
  await bench.check(`${name}: a handshake and a request`, () => measure(bench, server));
  await bench.check(`${name}: 20 kB in blocks, there and back`, async () =>
    put(await mustOpen(bench, server.at), server.at),
  );
  await bench.check(`${name}: a wrong key, and an identity that it does not know`, async () => {
    const key = Buffer.from('secretPSk');
    assert.equal(await open(bench, server.at, { key, limitMs: 4_000 }), 'wrongKey');
    assert.equal(await open(bench, server.at, { identity: 'gw2', key, limitMs: 4_000 }), 'wrongKey');
  });
  await bench.check(`${name}: every third of our datagrams is lost, from the first on`, async () => {
    const opened = await mustOpen(bench, server.at, { loses: (count) => count % 3 === 1, limitMs: 30_000 });
    answered(await opened.endpoint.request(server.at, requestOf('0.01', ''), { deadlineMs }), '2.05');
    return [`${opened.session.counters.repeatedFlights} flights sent again for want of an answer`];
  });
  const lossy = await startServer(bench, build, ['-l', '3,6,12']);
  await bench.check(`${name}: some of its datagrams are lost`, async () => {
    const opened = await mustOpen(bench, lossy.at, { limitMs: 30_000 });
    await put(opened, lossy.at);
  });
  for (const { program } of [server, lossy]) await program.stop();
}

/** Durations and octets, beside the same request in the clear. */
async function measure(bench: PeerBench, server: Server): Promise<readonly string[]> {
  const { clock, entropy, network } = bench.host;
  const timed = async (count: number, work: () => Promise<unknown>): Promise<number> => {
    const tookMs: number[] = [];
    for (let done = 0; done < count; done++) {
      const beganMs = clock.monotonicMs();
      await work();
      tookMs.push(clock.monotonicMs() - beganMs);
    }
    return tookMs.sort((a, b) => a - b)[Math.floor(count / 2)] ?? 0;
  };
  const handshakeMs = await timed(50, async () => (await mustOpen(bench, server.at)).endpoint.close());
  const opened = await mustOpen(bench, server.at);
  const atHandshake = { ...opened.tally };
  const plain = { octets: 0, datagrams: 0 };
  const socket = tallied(await network.openDatagram({ localAddress: local }), plain);
  const clear = new CoapEndpoint({ socket, clock, entropy });
  bench.defer(() => clear.close());
  const ask = async (endpoint: CoapEndpoint, at: SocketAddress): Promise<unknown> =>
    answered(await endpoint.request(at, requestOf('0.01', ''), { deadlineMs }), '2.05');
  const [secureMs, clearMs] = [
    await timed(200, () => ask(opened.endpoint, server.at)),
    await timed(200, () => ask(clear, server.plain)),
  ];
  const more = (opened.tally.octets - atHandshake.octets - plain.octets) / 400;
  return [
    `${opened.session.cipher}: handshake ${handshakeMs.toFixed(1)} ms, ${atHandshake.octets} octets in ${atHandshake.datagrams} datagrams`,
    `a request ${secureMs.toFixed(2)} ms, in the clear ${clearMs.toFixed(2)} ms; ${more.toFixed(0)} octets more for each datagram`,
  ];
}

/** A socket that can be moved to another address under its user, as a translator on the way does. */
async function movable(
  bench: PeerBench,
): Promise<{ socket: DatagramSocket; move: (to: string) => Promise<void> }> {
  const { network } = bench.host;
  let now = await network.openDatagram({ localAddress: local });
  let hear: Parameters<DatagramSocket['onMessage']>[0] = () => undefined;
  const { local: at } = now;
  const socket: DatagramSocket = {
    local: at,
    send: (data, to) => now.send(data, to),
    onMessage: (handler) => {
      hear = handler;
      now.onMessage(handler);
    },
    close: () => now.close(),
  };
  const move = async (to: string): Promise<void> => {
    await now.close();
    now = await network.openDatagram({ localAddress: to });
    now.onMessage(hear);
  };
  return { socket, move };
}

async function runBinding(bench: PeerBench, build: Build): Promise<void> {
  const { clock, entropy } = bench.host;
  const name = tool('server', build);
  const port = await bench.freeUdpPort(local);
  let server = await startServer(bench, build, [], port);
  const sockets: Awaited<ReturnType<typeof movable>>[] = [];
  const binding = new DtlsBinding({
    library: loadDtlsLibrary,
    openSocket: async () => {
      const socket = await movable(bench);
      sockets.push(socket);
      return socket.socket;
    },
    resolvePeer: () => Promise.resolve(server.at),
    credentials: () => Promise.resolve(credentials),
    clock,
    entropy,
  });
  bench.defer(() => binding.close());
  // libcoap is no CSE: an answer that is not oneM2M is an answer all the same.
  const send = async (): Promise<string> => {
    const outcome = await binding.send(request, { deadlineMs: millis(1_500) });
    return outcome.ok ? 'ok' : outcome.error.kind;
  };
  await bench.check(`${name}: a new address of ours kills the session; the next request has another`, async () => {
    assert.deepEqual([await send(), await send()], ['malformed', 'malformed']);
    assert.equal(binding.facts.opened, 1);
    await sockets[0]?.move('127.0.0.2');
    assert.equal(await send(), 'deadline');
    assert.equal(await send(), 'malformed');
    assert.deepEqual([binding.facts.opened, binding.facts.replaced], [2, 1]);
  }); // prettier-ignore
  await bench.check(`${name}: a restart of the server, likewise`, async () => {
    const { opened } = binding.facts;
    await server.program.stop();
    server = await startServer(bench, build, [], port);
    const outcomes = [await send(), await send(), await send()];
    assert.equal(outcomes.at(-1), 'malformed', outcomes.join());
    assert.equal(binding.facts.opened, opened + 1);
    return [`requests after it: ${outcomes.join(', ')} (malformed: answered, by no CSE)`];
  });
  await binding.close();
  await server.program.stop();
}

async function runClient(bench: PeerBench, build: Build): Promise<void> {
  const { clock, entropy, network } = bench.host;
  const name = tool('client', build);
  const server = new DtlsServer({
    socket: await network.openDatagram({ localAddress: local }),
    library: await loadDtlsLibrary(),
    keyOf: (identity) => (identity === credentials.identity ? credentials.key : undefined),
    clock,
    entropy,
  });
  const endpoint = new CoapEndpoint({ socket: server, clock, entropy });
  bench.defer(() => endpoint.close());
  const ours = new RecordingServer(bench, endpoint, 0);
  const ask = async (key: string, ...args: readonly string[]): Promise<string> => {
    const [uri = '', ...rest] = [...args].reverse();
    const psk = ['-u', credentials.identity, '-k', key, '-B', key === another ? '5' : '20'];
    return (await run(name, [...psk, ...rest.reverse(), `coaps://${local}:${server.local.port}/${uri}`], toolMs)).trimEnd();
  }; // prettier-ignore
  const key = credentials.key.toString();
  await bench.check(`${name} at our server: GET, and a POST of 20 kB in blocks both ways`, async () => {
    assert.equal(await ask(key, '-m', 'get', 'a'), '');
    const file = join(await bench.directory(), `body-${build}`);
    await fs.writeFile(file, bodyOf(20_000));
    const said = await ask(key, '-m', 'post', '-b', '1024', '-f', file, 'up');
    assert.ok(Buffer.from(said).equals(bodyOf(20_000)), `${said.length} octets came back`);
    assert.deepEqual(ours.take().map(({ path }) => path), ['a', 'up']); // prettier-ignore
  });
  await bench.check(`${name} at our server: nothing for a wrong key`, async () => {
    await ask(another, '-m', 'get', 'secret').catch(() => undefined);
    assert.deepEqual(ours.take(), []);
  });
  await bench.check(`${name} at our server: some of its datagrams are lost`, async () => {
    assert.equal(await ask(key, '-l', '2,4', '-m', 'put', '-e', 'through', 'x'), 'through');
    assert.equal(ours.take().length, 1);
  });
  await bench.check(`${name}: our server holds no more than its sessions`, () => {
    const { opened, failed, evicted, ignored } = server.counters;
    assert.ok(server.load.sessions <= opened && server.load.handshakes <= failed + 2);
    return Promise.resolve([`${opened} opened, ${failed} failed, ${evicted} evicted, ${ignored} ignored`]);
  });
}
