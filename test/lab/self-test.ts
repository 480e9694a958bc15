// Whether the lab does what it says: delay, jitter and loss of the emulated links, what each fault does to a bound socket, how
// soon the kernel tells, what routing AccessLinks leaves behind. Probed from the gateway's namespace by `probe-process.ts`.
import type { NodeClock } from '../../src/host/clock.ts';
import { sleep } from '../../src/host/clock.ts';
import { millis } from '../../src/base/units.ts';
import { faults } from './lab-faults.ts';
import { LabChild } from './lab-child.ts';
import type { LabNetwork } from './lab-network.ts';
import { percentile } from './lab-report.ts';

/** One thing that was measured, with the bound it is held to. */
export interface Fact {
  readonly what: string;
  readonly value: string;
  readonly bound: string;
  readonly isKept: boolean;
}

interface Echoes {
  readonly sent: number;
  readonly roundTripsMs: readonly number[];
  readonly refused: readonly string[];
}

/** Measures a lab whose links were opened with 30 ms each way. */
export async function selfTest(lab: LabNetwork, clock: NodeClock): Promise<readonly Fact[]> {
  const echo = new LabChild({
    module: new URL('echo-process.js', import.meta.url),
    namespace: lab.namespace('ea'),
    args: ['10.65.1.2', '7007'],
  });
  const events: { link: string; kind: string; toldMs: number }[] = [];
  let take: (echoes: Echoes) => void = () => undefined;
  const probe = new LabChild({
    module: new URL('probe-process.js', import.meta.url),
    namespace: lab.namespace('gw'),
    onValue: (value) => {
      const told = value as Echoes | (typeof events)[number];
      if ('roundTripsMs' in told) take(told);
      else events.push(told);
    },
  });
  try {
    await echo.next();
    await probe.next();
    const facts: Fact[] = [];
    const pings = (link: number, count: number, periodMs: number): Promise<Echoes> => {
      const answer = new Promise<Echoes>((resolve, reject) => {
        take = resolve;
        void probe.exited.then(() => reject(new Error('the probe has ended')));
      });
      probe.tell({ localAddress: `10.64.${link}.2`, count, periodMs });
      return answer;
    };
    await pings(1, 3, 20);
    await measurePath(lab, pings, facts);
    await measureFaults(lab, clock, pings, events, facts);
    return facts;
  } finally {
    await probe.stop();
    await echo.stop();
  }
}

async function measurePath(
  lab: LabNetwork,
  pings: (link: number, count: number, periodMs: number) => Promise<Echoes>,
  facts: Fact[],
): Promise<void> {
  const fixed = await pings(1, 200, 10);
  const median = percentile(fixed.roundTripsMs, 0.5) ?? 0;
  const p95 = percentile(fixed.roundTripsMs, 0.95) ?? 0;
  facts.push(
    fact('round trip of 60 ms, median', median, 60, 66),
    fact('the same, p95', p95, 60, 80),
    fact('lost without loss', fixed.sent - fixed.roundTripsMs.length, 0, 0),
  );
  await lab.order({ link: 'wwan0', conditions: { delayMs: 20, jitterMs: 20, loss: 0.05 } });
  const lossy = await pings(1, 1000, 4);
  const share = 100 * (1 - lossy.roundTripsMs.length / lossy.sent);
  const mean = lossy.roundTripsMs.reduce((sum, value) => sum + value, 0) / lossy.roundTripsMs.length;
  facts.push(
    fact('20 to 40 ms each way: mean of 60 ms', mean, 57, 68),
    fact('5 % loss each way: 9.75 % are not answered', share, 7, 12.6),
  );
  await lab.order({ link: 'wwan0', conditions: { delayMs: 30, jitterMs: 0, loss: 0 } });
}

async function measureFaults(
  lab: LabNetwork,
  clock: NodeClock,
  pings: (link: number, count: number, periodMs: number) => Promise<Echoes>,
  events: readonly { link: string; kind: string; toldMs: number }[],
  facts: Fact[],
): Promise<void> {
  const rows = [
    ['linkDown', 'EHOSTUNREACH', 100],
    ['carrier', 'EHOSTUNREACH', 1200],
    ['addressLost', 'ENETUNREACH,EHOSTUNREACH,EADDRNOTAVAIL,EINVAL', 100],
    ['blackhole', '', 0],
    ['captive', '', 0],
  ] as const;
  for (const [name, errnos, eventMsMax] of rows) {
    // The kernel tells a change of carrier at once only when the last one was more than a second ago.
    await sleep(clock, millis(1300));
    const asked = pings(2, 60, 10);
    await sleep(clock, millis(200));
    const beganMs = await faults[name].begin(lab, 'wlan0');
    const echoes = await asked;
    if (eventMsMax > 0) {
      await sleep(clock, millis(Math.max(0, beganMs + eventMsMax + 50 - clock.monotonicMs())));
      const event = events.find(({ link, toldMs }) => link === 'wlan0' && toldMs >= beganMs);
      facts.push(
        fact(
          `${name}: event after, ms`,
          event === undefined ? Number.NaN : event.toldMs - beganMs,
          0,
          eventMsMax,
        ),
      );
      const seen = [...new Set(echoes.refused)];
      const isKept = seen.length > 0 && seen.every((errno) => errnos.split(',').includes(errno));
      facts.push({
        what: `${name}: what a bound socket is told`,
        value: seen.join(',') || 'nothing',
        bound: errnos,
        isKept,
      });
    } else {
      facts.push(fact(`${name}: answered of 60`, echoes.roundTripsMs.length, 5, 40));
    }
    await faults[name].end(lab, 'wlan0');
    await sleep(clock, millis(400));
    const healed = await pings(2, 20, 10);
    facts.push(fact(`${name}, healed: answered of 20`, healed.roundTripsMs.length, 18, 20));
  }
}

function fact(what: string, value: number, min: number, max: number): Fact {
  return { what, value: value.toFixed(1), bound: `${min} to ${max}`, isKept: value >= min && value <= max };
}
