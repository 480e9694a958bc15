// Proves: whatever a modem does (hangs until one rung of the ladder or the other, answers late, never stops talking, splits
// its lines, restarts, comes back at another port), it delivers true samples again in under three minutes; a sample without
// a successor is told stale within two periods; what a person has to mend is told apart from a hang and never reset; resets
// have a budget per hour; every rung is recorded. The ladder itself is a pure function.
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import type { DeviceReport } from '../../src/host/reopening-line.ts';
import { ModemSource } from '../../src/radio/modem-source.ts';
import type { RecoveryActions } from '../../src/radio/modem-recovery.ts';
import type { RadioSample } from '../../src/radio/radio-sample.ts';
import { defaultRecoveryPolicy, judge, nextRung, noTrouble, wayOutOf } from '../../src/radio/recovery.ts';
import type { RecoveryState, Rung, RungRecord } from '../../src/radio/recovery.ts';
import { FakeModem } from '../../src/testbed/modem/fake-modem.ts';
import type { FakeModemCure, FakeModemMode, FakeModemModel } from '../../src/testbed/modem/fake-modem.ts';
import { findDrive } from '../../src/testbed/radio-field/drives.ts';
import { RadioField } from '../../src/testbed/radio-field/radio-field.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedSerialLines } from '../../src/testbed/simulated-serial-lines.ts';

const periodMs = 1000;
const recoveryMsMax = 180_000;
const port = '/dev/serial/by-id/usb-modem-if02';
const otherPort = '/dev/ttyUSB7';

interface Bench {
  readonly clock: SimulatedClock;
  readonly modem: FakeModem;
  readonly source: ModemSource;
  readonly field: RadioField;
  readonly samples: RadioSample[];
  readonly stale: { readonly sample: RadioSample; readonly atMs: number }[];
  readonly rungs: RungRecord[];
  readonly problems: (string | undefined)[];
  readonly states: DeviceReport[];
  /** Where the modem appears after its next restart. */
  place: string;
  plug(): void;
  unplug(): void;
}

function openBench(
  options: { seed?: number; model?: FakeModemModel; hasBoard?: boolean; latencyMs?: number } = {},
): Bench {
  const { seed = 1, model = 'EC25', hasBoard = true, latencyMs = 2 } = options;
  const clock = new SimulatedClock();
  const lines = new SimulatedSerialLines({ clock, latencyMs: millis(latencyMs) });
  const field = new RadioField({ drive: findDrive('ring'), seed, seconds: 600 });
  let write = (_data: Uint8Array): void => undefined;
  let unplug = (): void => undefined;
  const modem = new FakeModem({
    clock,
    entropy: new SeededEntropy(seed),
    field,
    fieldTimeMs: () => clock.monotonicMs(),
    write: (data) => write(data),
    model,
    onRestart: (bootMs) => {
      bench.unplug();
      clock.schedule(millis(bootMs), () => bench.plug());
    },
  });
  const actions: RecoveryActions = {
    usbReset: async () => modem.treat('usbReset'),
    powerCycle: async () => modem.treat('powerCycle'),
  };
  const bench: Bench = {
    clock,
    modem,
    field,
    samples: [],
    stale: [],
    rungs: [],
    problems: [],
    states: [],
    place: port,
    plug: () => {
      const device = lines.plug(bench.place);
      device.onData((data) => modem.receive(data));
      device.onOpen(() => modem.treat('reopen'));
      write = (data): void => device.write(data);
      unplug = (): void => device.unplug();
    },
    unplug: () => unplug(),
    source: new ModemSource({
      serialLines: lines,
      clock,
      entropy: new SeededEntropy(seed + 1),
      source: 'modem0',
      path: port,
      alternatePaths: [otherPort],
      periodMs: millis(periodMs),
      ...(hasBoard && { recoveryActions: actions }),
      onSample: (sample) => bench.samples.push(sample),
      onState: (report) => bench.states.push(report),
      onStale: (sample) => bench.stale.push({ sample, atMs: clock.monotonicMs() }),
      onRung: (record) => bench.rungs.push(record),
      onMisconfigured: (problem) => bench.problems.push(problem),
    }),
  };
  modem.start();
  bench.plug();
  bench.source.start();
  return bench;
}

async function finish(bench: Bench): Promise<number> {
  bench.modem.stop();
  await bench.clock.advanceUntil(bench.source.stop());
  await bench.clock.advance(200_000);
  return bench.clock.pendingCount;
}

/** Time until two samples in a row describe the modem again, as a fresh one would. */
async function recoveryMs(bench: Bench): Promise<number> {
  const startMs = bench.clock.monotonicMs();
  const before = bench.samples.length;
  const isWell = (): boolean =>
    bench.samples
      .slice(before)
      .filter(({ registration, cells }) => registration === 'home' && cells.length > 0).length >= 2;
  while (!isWell() && bench.clock.monotonicMs() - startMs < 2 * recoveryMsMax) await bench.clock.advance(500);
  return bench.clock.monotonicMs() - startMs;
}

/** Samples whose serving cell is none that the field had around their time. */
function untrue(bench: Bench): RadioSample[] {
  return bench.samples.filter(({ atMs, cells: [serving] }) => {
    if (serving?.serving !== true || serving.identity.pci === undefined) return false;
    const times = Array.from({ length: 100 }, (_, index) => Math.max(0, atMs - index * 100));
    return !times.some((time) => bench.field.sampleAt(time).serving?.cell.pci === serving.identity.pci);
  });
}

const cures: readonly FakeModemCure[] = ['time', 'softReset', 'reopen', 'usbReset', 'powerCycle'];
for (const cure of cures) {
  await t.test(`hangs until ${cure}`, async (t) => {
    let worstMs = 0;
    for (const seed of [1, 2, 3, 4]) {
      const bench = openBench({ seed, model: seed % 2 === 0 ? 'SIM7600' : 'EC25' });
      await bench.clock.advance(10_000 + seed * 370);
      t.equal(bench.source.vendor, seed % 2 === 0 ? 'simcom' : 'quectel');
      const last = bench.samples.at(-1);
      bench.modem.hang(cure);
      const tookMs = await recoveryMs(bench);
      worstMs = Math.max(worstMs, tookMs);
      const told = bench.stale[0];
      t.ok(
        told !== undefined && told.atMs - (last?.atMs ?? 0) <= 3 * periodMs,
        `seed ${seed}: stale at ${told?.atMs} ms`,
      );
      t.ok(
        told !== undefined && told.atMs - told.sample.atMs <= 2 * periodMs + 1,
        'within two periods of the last sample',
      );
      const helped = bench.rungs.filter(({ hasHelped }) => hasHelped).map(({ rung }) => rung);
      if (cure !== 'time') t.same(helped, [cure], 'the rung that helped is the cure');
      else t.equal(helped.length, 1);
      for (const { rung, durationMs } of bench.rungs)
        t.ok(durationMs >= 0 && durationMs <= 60_000, `${rung} took ${durationMs} ms`);
      t.same(untrue(bench), [], 'no sample of what is not');
      t.equal(await finish(bench), 0, 'no timer is left');
    }
    t.ok(worstMs < recoveryMsMax, `recovered within ${Math.round(worstMs / 1000)} s of virtual time`);
  });
}

const modes: readonly FakeModemMode[] = [
  'silent',
  'garbage',
  'truncated',
  'slow',
  'late',
  'urcStorm',
  'urcFlood',
  'splitWrites',
];
for (const mode of modes) {
  await t.test(`${mode} for a minute`, async (t) => {
    for (const seed of [5, 6]) {
      const bench = openBench({ seed, latencyMs: 5 });
      await bench.clock.advance(8000);
      bench.modem.setMode(mode);
      await bench.clock.advance(60_000);
      if (['urcStorm', 'urcFlood', 'splitWrites'].includes(mode))
        t.ok(bench.samples.length > 50, `${bench.samples.length} samples go on`);
      bench.modem.setMode('normal');
      const tookMs = await recoveryMs(bench);
      t.ok(tookMs < recoveryMsMax, `seed ${seed}: ${tookMs} ms`);
      t.same(untrue(bench), [], 'a late answer was never taken for another');
      t.equal(await finish(bench), 0, 'no timer is left');
    }
  });
}

await t.test('unplugged, elsewhere, without coming back', async (t) => {
  const bench = openBench();
  await bench.clock.advance(5000);
  bench.unplug();
  bench.place = otherPort;
  await bench.clock.advance(3000);
  bench.plug();
  t.ok((await recoveryMs(bench)) < 15_000, 'found at its other port');
  t.match(bench.states.at(-1)?.reason, /on \/dev\/ttyUSB7 answers/);
  t.same(bench.rungs, [], 'a replug needs no rung');
  bench.unplug();
  bench.place = port;
  await bench.clock.advance(20_000);
  t.equal(bench.states.at(-1)?.state, 'lost');
  t.ok(
    (await recoveryMs(bench)) < recoveryMsMax,
    'a modem that fell off the USB is brought back by its supply',
  );
  t.ok(
    bench.rungs.some(({ rung, cause, hasHelped }) => rung === 'powerCycle' && cause === 'lost' && hasHelped),
  );
  t.equal(await finish(bench), 0);
});

await t.test('misconfigured is no hang', async (t) => {
  const rows = [
    ['simMissing', 'simMissing', /sees no SIM/],
    ['simPinLocked', 'simPinLocked', /PIN/],
    ['denied', 'registrationDenied', /turns this SIM away/],
  ] as const;
  for (const [trouble, problem, reason] of rows) {
    const bench = openBench();
    await bench.clock.advance(5000);
    bench.modem.setTrouble(trouble);
    await bench.clock.advance(600_000);
    t.same(bench.problems, [problem]);
    t.match(bench.states.at(-1)?.reason, reason, wayOutOf(problem));
    t.equal(bench.states.at(-1)?.state, 'ready');
    t.same(bench.rungs, [], `${trouble}: no rung in ten minutes`);
    bench.modem.setTrouble(undefined);
    t.ok((await recoveryMs(bench)) < 60_000);
    t.equal(await finish(bench), 0);
  }
  const bench = openBench();
  await bench.clock.advance(5000);
  bench.modem.setTrouble('radioHung');
  t.ok((await recoveryMs(bench)) < recoveryMsMax, 'a radio that searches for ever is cycled');
  t.match(bench.rungs, [{ rung: 'radioCycle', cause: 'notRegistered', hasHelped: true }]);
  t.same(bench.problems, []);
  t.equal(await finish(bench), 0);
});

await t.test('beyond help: a budget per hour', async (t) => {
  const bench = openBench({ hasBoard: false });
  await bench.clock.advance(5000);
  bench.modem.hang('powerCycle');
  await bench.clock.advance(3 * 3_600_000);
  const resets = bench.rungs.filter(({ rung }) => rung === 'softReset');
  t.ok(resets.length >= 3, `${resets.length} resets in three hours`);
  for (const { startedMs } of resets) {
    const within = resets.filter(
      (other) => other.startedMs >= startedMs && other.startedMs < startedMs + 3_600_000,
    );
    if (within.length > defaultRecoveryPolicy.resetsPerHourMax)
      t.fail(`${within.length} resets in the hour from ${startedMs} ms`);
  }
  t.equal(await finish(bench), 0);
});

await t.test('ladder', (t) => {
  const all = new Set<Rung>(['resync', 'radioCycle', 'softReset', 'reopen', 'usbReset', 'powerCycle']);
  let state: RecoveryState = noTrouble;
  const taken: (Rung | undefined)[] = [];
  for (let index = 0; index < 30; index++) {
    const step = nextRung(state, 'silent', millis(index * 1000), all, defaultRecoveryPolicy);
    state = step.state;
    taken.push(step.rung);
  }
  t.same(taken.slice(0, 5), ['resync', 'softReset', 'reopen', 'usbReset', 'powerCycle']);
  const resets = taken.filter((rung) => rung === 'softReset' || rung === 'usbReset' || rung === 'powerCycle');
  t.equal(resets.length, defaultRecoveryPolicy.resetsPerHourMax, 'the budget of the hour');
  t.equal(taken.at(-1), undefined);
  t.not(
    nextRung(state, 'silent', millis(3_700_000), all, defaultRecoveryPolicy).rung,
    undefined,
    'an hour later',
  );
  t.equal(nextRung(noTrouble, 'lost', millis(0), new Set(['resync']), defaultRecoveryPolicy).rung, undefined);
  const sumMs = ['resync', 'softReset', 'reopen', 'usbReset', 'powerCycle'].reduce(
    (sum, rung) => sum + defaultRecoveryPolicy.rungMs[rung as Rung],
    0,
  );
  t.ok(sumMs < recoveryMsMax, `the whole ladder takes ${sumMs} ms`);
  t.equal(judge({ sim: 'pukLocked', registration: 'searching' }), 'simPukLocked');
  t.equal(
    judge({ sim: 'ready', failureCause: 'EMM cause 33, requested service option not subscribed' }),
    'contextRefused',
  );
  t.equal(judge({ failureCause: 'Missing or unknown APN' }), 'contextRefused');
  t.equal(judge({ sim: 'ready', registration: 'searching' }), undefined);
  t.end();
});
