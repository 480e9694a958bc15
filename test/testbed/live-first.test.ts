/**
 * Proves live-first delivery on real processes: after an outage of all MN-CSEs a new reading arrives while most of what had
 * piled up still waits; the rest drains to 0 in the history containers, each container in its order; and with a kill of the
 * gateway in the middle nothing is lost or doubled. What was emitted and what the CSEs hold is compared.
 */
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import type { GatewayEvent, GatewayStatus } from '../../src/gateway/status.ts';
import { sleep } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NodeLocalSockets } from '../../src/host/local-socket.ts';
import { ResourceType } from '../../src/onem2m/enums.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { TrialWorld } from '../../src/testbed/drive/trial-world.ts';
import { judgeDrive } from '../../src/testbed/drive/verdict.ts';
import type { ObservedHandover } from '../../src/testbed/drive/verdict.ts';

t.setTimeout(120_000);

const streams = { temperature: 100, vibration: 60 };
const seed = 13;
const settleMs = millis(30_000);

const outageMs = millis(8000);

void t.test('an outage, new readings first, a kill in the middle', { timeout: 120_000 }, async (t) => {
  const host = createNodeHost();
  const handovers: ObservedHandover[] = [];
  const world = await TrialWorld.open({
    host,
    localSockets: new NodeLocalSockets(),
    drive: 'ring',
    seconds: 3600,
    seed,
    rttMs: 10,
    streams,
    order: 'liveFirst',
    config: { uplink: { backlogPercent: 30, retryMsMax: 500 } },
    onEvent: (event: GatewayEvent) => {
      if (event.kind === 'handoverEnded') handovers.push({ event, endedMs: host.clock.monotonicMs() });
    },
  });
  t.teardown(() => world.stop());
  await world.go();
  await world.startGateway();
  const until = (what: string, condition: (status: GatewayStatus) => boolean): Promise<GatewayStatus> =>
    world.waitForStatus(what, condition, settleMs);
  await until('delivery', ({ buffer, handover }) => buffer.delivered > 20 && handover === undefined);
  const areas = Object.keys(world.areas);

  for (const cse of areas) {
    await world.orderCses({ cmd: 'misbehave', cse, rules: [{ action: { kind: 'dropRequest' } }] });
  }
  await sleep(host.clock, outageMs);
  for (const cse of areas) await world.orderCses({ cmd: 'misbehave', cse, rules: [] });
  let held: readonly HeldResource[] = [];
  const piledUp = (await until('a backlog', ({ buffer }) => buffer.pending > 0)).buffer.pending;
  while (historyIn(held).length < 10) ({ held } = await world.collect());
  await world.killGateway();
  await sleep(host.clock, millis(300));
  await world.startGateway();
  const { buffer } = await until(
    'the backlog is gone',
    (now) => now.buffer.stored > 0 && now.buffer.pending < 10,
  );
  await until('more readings', (now) => now.buffer.delivered > buffer.delivered + 20);
  await world.drain(settleMs);
  const status = (await world.control('status')) as GatewayStatus;
  const evidence = await world.collect();
  const summary = judgeDrive({
    drive: 'ring',
    seed,
    seconds: 0,
    rttMs: 10,
    device: status.device,
    streams,
    handovers,
    evidence,
    status,
    failures: world.gatewayFailure === undefined ? [] : [world.gatewayFailure],
  });
  t.same(summary.reasons, [], `verdict over ${summary.stored} readings, seed ${seed}`);
  t.equal(summary.pending, 0);
  for (const stream of Object.keys(streams)) {
    const history = historyIn(evidence.held, stream);
    const lastOfBacklog = Math.max(...history.map(numberOf));
    const live = evidence.held
      .filter(({ path, type }) => type === ResourceType.contentInstance && path.split('/')[2] === stream)
      .filter((instance) => numberOf(instance) > Math.min(...history.map(numberOf)));
    const firstNew = Math.min(...live.map(({ arrivalMs }) => arrivalMs));
    const before = history.filter(({ arrivalMs }) => arrivalMs < firstNew).length;
    t.ok(
      history.length > 40,
      `${stream}: ${history.length} of ${piledUp} pending readings went to the history`,
    );
    t.ok(before < 10, `${stream}: the first new reading came after ${before} of them`);
    t.ok(
      live.some((instance) => numberOf(instance) > lastOfBacklog),
      'and more followed',
    );
  }
});

function historyIn(held: readonly HeldResource[], stream?: string): readonly HeldResource[] {
  return held.filter(({ path, type }) => {
    const container = path.split('/')[2] ?? '';
    const isHistory =
      stream === undefined ? container.endsWith('.history') : container === `${stream}.history`;
    return type === ResourceType.contentInstance && isHistory;
  });
}

function numberOf({ content }: HeldResource): number {
  return Number((content as { n?: unknown }).n);
}
