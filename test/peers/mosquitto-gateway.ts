// The gateway process between CSEs of the testbed at two brokers of mosquitto, over TLS with certificates of both sides:
// readings up, commands down as notifications, handovers to and fro, a broker that restarts in mid-delivery, a kill -9. What the
// sensor made is compared with what the CSEs hold.
import assert from 'node:assert/strict';
import { millis } from '../../src/base/units.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { sleep } from '../../src/host/clock.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { CseType } from '../../src/onem2m/enums.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { MqttTransport } from '../../src/testbed/cse/transports/mqtt-transport.ts';
import { describeResource } from '../../src/testbed/drive/cse-host-process.ts';
import { TrialWorld } from '../../src/testbed/drive/trial-world.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';
import type { Pair } from './certificates.ts';
import type { Mosquitto } from './mosquitto-broker.ts';
import { brokerAddress } from './mosquitto-broker.ts';
import type { PeerBench } from './peer-bench.ts';

const trial = { drive: 'ring', seed: 7, seconds: 600, rttMs: 0 } as const;
const streams = { temperature: 100 };
const patienceMs = millis(25_000);

/** What the gateway is given. */
export interface GatewayScene {
  /** Where the IN-CSE and the first MN-CSE are, and where the second is. */
  readonly brokers: readonly [near: Mosquitto, far: Mosquitto];
  readonly caFile: string;
  readonly gateway: Pair;
}

/** Runs it all; resolves to the figures. */
export async function runGatewayAtBrokers(bench: PeerBench, scene: GatewayScene): Promise<readonly string[]> {
  const { clock } = bench.host;
  const [near, far] = scene.brokers;
  const brokerOf = { in: near, mn1: near, mn2: far };
  const cses = await startCses(bench, brokerOf);
  const handovers: ObservedHandover[] = [];
  const events: GatewayEvent[] = [];
  const world = await TrialWorld.open({
    host: bench.host,
    localSockets: new NodeLocalSockets(),
    ...trial,
    streams,
    cses: {
      in: near.url('clientTls'),
      mn: { mn1: near.url('clientTls'), mn2: far.url('clientTls') },
      held: () =>
        Promise.resolve(
          [...cses].flatMap(([name, cse]) => cse.dump().map((resource) => describeResource(name, resource))),
        ),
    },
    config: {
      security: { tls: { caFile: scene.caFile, ...scene.gateway } },
      // The CSEs speak plain MQTT at the same brokers.
      mqtt: {
        brokers: scene.brokers.map((broker) => ({
          url: broker.url('clientTls'),
          advertise: broker.url('plain'),
        })),
      },
      decision: { minimumStayMs: 3_600_000, discoveryPeriodMs: 1_000 },
      handover: { phaseDeadlineMs: 8_000 },
    },
    onEvent: (event) => {
      events.push(event);
      if (event.kind === 'handoverEnded') handovers.push({ event, endedMs: clock.monotonicMs() });
    },
  });
  bench.defer(() => world.stop());
  await world.go();
  await world.startGateway();
  const isSettled = ({ serving, handover }: GatewayStatus): boolean =>
    serving !== undefined && handover === undefined;
  const serving = async (): Promise<string> =>
    (await world.waitForStatus('serving', isSettled, patienceMs)).serving?.cseId ?? '';
  const command = async (id: string): Promise<void> => {
    const created = await world.createCommand((await serving()).slice(4), { id, command: 'ping' });
    assert.ok(created.ok, created.ok ? '' : created.error.message);
    const isDone = async (): Promise<boolean> => {
      const { held } = await world.collect();
      return held.some(
        ({ path, content }) => path.includes('/results/') && JSON.stringify(content).includes(id),
      );
    };
    await bench.until(`the result of ${id}`, isDone, patienceMs);
  };
  const handOver = async (target: string): Promise<void> => {
    const isAccepted = async (): Promise<boolean> =>
      ((await world.control('handover', { target })) as { accepted: boolean }).accepted;
    await bench.until(`the order to ${target}`, isAccepted, patienceMs);
  };
  await world.waitForStatus('delivery', ({ buffer }) => buffer.delivered > 10, patienceMs);
  await command('first');
  const target = (await serving()) === '/id-mn1' ? '/id-mn2' : '/id-mn1';
  await handOver(target);
  await bench.until('the handover', () => handovers.length === 2, patienceMs);
  assert.equal(handovers[1]?.event.outcome, 'completed', handovers[1]?.event.reason);
  assert.equal(await serving(), target);
  await command('moved');
  await far.stop();
  await sleep(clock, millis(500));
  await far.run();
  // Where it is now is its own decision: a CSE that does not answer is left.
  await command('restarted');
  const back = (await serving()) === '/id-mn1' ? '/id-mn2' : '/id-mn1';
  events.length = 0;
  await handOver(back);
  const isClaiming = (): boolean =>
    events.some((event) => event.kind === 'phase' && event.state === 'claiming' && event.target === back);
  await bench.until('the claim', isClaiming, patienceMs);
  await world.killGateway();
  await world.startGateway();
  assert.equal(await serving(), back);
  await command('after');
  await world.drain(patienceMs);
  let figures = '';
  let reasons: readonly string[] = [];
  const isWhole = async (): Promise<boolean> => {
    const status = (await world.control('status')) as GatewayStatus;
    const failures = world.gatewayFailure === undefined ? [] : [world.gatewayFailure];
    const evidence = await world.collect();
    const summary = judgeDrive({ ...trial, device: 'gw1', streams, handovers, evidence, status, failures });
    const { stored, delivered, lost, duplicates, reordered } = summary;
    figures = `${stored} readings stored, ${delivered} delivered, ${lost} lost, ${duplicates} doubled, ${reordered} out of order`;
    reasons = summary.reasons;
    return reasons.length === 0 && stored === delivered && stored > 50;
  };
  // A CSE that was left is released by a later sweep.
  await bench.until('the verdict', isWhole, 30_000).catch((error: unknown) => {
    throw new Error(`${figures}; ${reasons.join('; ')}`, { cause: error });
  });
  return [figures];
}

async function startCses(
  bench: PeerBench,
  brokerOf: Readonly<Record<string, Mosquitto>>,
): Promise<ReadonlyMap<string, TestbedCse>> {
  const { clock, network, entropy } = bench.host;
  const cses = new Map<string, TestbedCse>();
  for (const [name, broker] of Object.entries(brokerOf)) {
    const at = { host: brokerAddress, port: broker.port('plain') };
    const cse = new TestbedCse({
      cseId: `/id-${name}`,
      cseBaseName: `cse-${name}`,
      cseType: name === 'in' ? CseType.inCse : CseType.mnCse,
      adminOriginator: 'CAdmin',
      spId: '//sp.example',
      serialisation: 'cbor',
      clock,
      entropy,
      transports: [new MqttTransport({ network, clock, cseId: `/id-${name}`, broker: at })],
      ...(name === 'in'
        ? {}
        : {
            registrar: {
              cseId: '/id-in',
              cseBaseName: 'cse-in',
              pointOfAccess: cses.get('in')?.pointsOfAccess[0] ?? '',
            },
          }),
    });
    await cse.start();
    cses.set(name, cse);
    bench.defer(() => cse.stop());
  }
  return cses;
}
