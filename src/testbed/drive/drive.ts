import { CancelledError, IoError, errorText } from '../../base/errors.ts';
import { millis } from '../../base/units.ts';
import type { GatewayEvent, GatewayStatus } from '../../gateway/status.ts';
import type { DemoSummary } from '../../gateway/view/summary.ts';
import { sleep } from '../../host/clock.ts';
import type { Clock } from '../../host/clock.ts';
import type { Host } from '../../host/host.ts';
import type { LocalSockets } from '../../host/local-socket.ts';
import type { TestbedTransport } from './cse-host-process.ts';
import { TrialWorld } from './trial-world.ts';
import { judgeDrive } from './verdict.ts';
import type { ObservedHandover } from './verdict.ts';

/** What to drive. */
export interface DriveOptions {
  readonly host: Host;
  readonly localSockets: LocalSockets;
  readonly drive: string;
  readonly seconds: number;
  readonly seed: number;
  readonly rttMs: number;
  readonly transport: TestbedTransport;
  /** States of the transaction at which the gateway is killed: one in each handover, in this order. */
  readonly killAt: readonly string[];
  readonly signal: AbortSignal;
  readonly onEvent: (event: GatewayEvent) => void;
  readonly onStatus: (status: GatewayStatus) => void;
  readonly onNotice: (text: string) => void;
}

/** Streams of the sensor of a drive, with their periods in milliseconds. */
export const driveStreams: Readonly<Record<string, number>> = { temperature: 250, vibration: 200 };

const attachMs = millis(20_000);
const drainMs = millis(20_000);
/** A CSE that could not be reached when it was left is released by a later sweep; until then the AE stands in two places (I10). */
const convergeMs = millis(20_000);
const darkMs = millis(150);

/** One drive from start to verdict. Ends early, with a verdict over what was driven, when the signal aborts. */
export async function runDrive(options: DriveOptions): Promise<DemoSummary> {
  const { host, drive, seconds, seed, rttMs, signal } = options;
  const { clock } = host;
  const handovers: ObservedHandover[] = [];
  const killAt = [...options.killAt];
  const failures: string[] = [];
  let status: GatewayStatus | undefined;
  let epochOfKill = 0;
  let kill: Promise<void> = Promise.resolve();
  const world = await TrialWorld.open({
    ...options,
    streams: driveStreams,
    onStatus: (newest) => {
      status = newest;
      options.onStatus(newest);
    },
    onEvent: (event) => {
      options.onEvent(event);
      if (event.kind === 'handoverEnded') handovers.push({ event, endedMs: clock.monotonicMs() });
      const isDue = event.kind === 'phase' && event.state === killAt[0] && event.epoch !== epochOfKill;
      if (!isDue || event.source === undefined) return;
      epochOfKill = event.epoch;
      killAt.shift();
      kill = kill.then(async () => {
        await world.killGateway();
        options.onNotice(`the gateway was killed while ${event.state} and is started again`);
        await sleep(clock, darkMs);
        await world.startGateway();
      });
    },
  });
  try {
    await world.go();
    await world.startGateway();
    await world.waitForStatus('first attachment', ({ serving }) => serving !== undefined, attachMs);
    await sleep(clock, millis(seconds * 1000), signal).catch((error: unknown) => {
      if (!(error instanceof CancelledError)) throw error;
    });
    await kill;
    await world.drain(drainMs);
    if (world.gatewayFailure !== undefined) failures.push(world.gatewayFailure);
    return await untilConverged(clock, async () => {
      status = (await world.control('status')) as GatewayStatus;
      const { device } = status;
      const evidence = await world.collect();
      const seen = { handovers, evidence, status, failures };
      return judgeDrive({ drive, seed, seconds, rttMs, device, streams: driveStreams, ...seen });
    });
  } catch (error) {
    if (world.gatewayFailure === undefined) throw error;
    // Not a CancelledError: that would pass for an orderly end when a person has ended the drive.
    throw new IoError(`${world.gatewayFailure}; ${errorText(error)}`, { cause: error });
  } finally {
    await kill.catch(() => undefined);
    await world.stop();
  }
}

/** Judges again and again until the drive passes or the time for it is over. */
async function untilConverged(clock: Clock, judge: () => Promise<DemoSummary>): Promise<DemoSummary> {
  const endMs = clock.monotonicMs() + convergeMs;
  for (;;) {
    const summary = await judge();
    if (summary.verdict === 'pass' || clock.monotonicMs() > endMs) return summary;
    await sleep(clock, millis(500));
  }
}
