// Proves: the radio field is a function of time alone and gives a ring drive at least three changes of cell, and
// three A3 events, for every seed; the fake modem prints what our parsers read back, whatever its mode; ModemSource
// turns a modem into samples on its period, names every failure with port and way out, survives silence, noise,
// unplugging and unknown dialects, and never leaves a timer behind.
import t from 'tap';
import { UsageError } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import type { DeviceReport } from '../../src/host/reopening-line.ts';
import { ModemSource } from '../../src/radio/modem-source.ts';
import type { RadioSample } from '../../src/radio/radio-sample.ts';
import { FakeModem } from '../../src/testbed/modem/fake-modem.ts';
import type { FakeModemMode, FakeModemModel } from '../../src/testbed/modem/fake-modem.ts';
import { drives, findDrive } from '../../src/testbed/radio-field/drives.ts';
import { RadioField } from '../../src/testbed/radio-field/radio-field.ts';
import type { FieldSample } from '../../src/testbed/radio-field/radio-field.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';
import { SimulatedSerialLines } from '../../src/testbed/simulated-serial-lines.ts';

const pollMs = 500;

function polls(field: RadioField): FieldSample[] {
  const samples: FieldSample[] = [];
  for (let tMs = 0; tMs < field.durationMs; tMs += pollMs) samples.push(field.sampleAt(tMs));
  return samples;
}

function servingChanges(samples: readonly FieldSample[]): number {
  const cells = samples.flatMap((sample) => (sample.serving === undefined ? [] : [sample.serving.cell.pci]));
  return cells.filter((pci, index) => index > 0 && pci !== cells[index - 1]).length;
}

/**
 * Moves made by event A3 on rounded levels: offset and hysteresis 3 dB together, 640 ms, which is two polls in a row.
 */
function a3Moves(samples: readonly FieldSample[]): number {
  let home: string | undefined;
  let better: { area: string; sinceMs: number } | undefined;
  let moves = 0;
  samples.forEach((sample, index) => {
    const all = [sample.serving, ...sample.neighbours].flatMap((measurement) => measurement ?? []);
    home ??= sample.serving?.cell.area;
    const level = (area: string | undefined): number =>
      Math.round(all.find((measurement) => measurement.cell.area === area)?.rsrpDbm ?? -140);
    const best = all.reduce((a, b) => (b.rsrpDbm > a.rsrpDbm ? b : a)).cell.area;
    if (best === home || level(best) <= level(home) + 3) {
      better = undefined;
      return;
    }
    if (better?.area !== best) better = { area: best, sinceMs: index * pollMs };
    if (index * pollMs - better.sinceMs < 640) return;
    home = best;
    better = undefined;
    moves++;
  });
  return moves;
}

await t.test('radio field', (t) => {
  const ring = findDrive('ring');
  for (const seconds of [20, 60]) {
    const counts = Array.from({ length: 150 }, (_, seed) => {
      const samples = polls(new RadioField({ drive: ring, seed: seed * 7919, seconds }));
      return { changes: servingChanges(samples), moves: a3Moves(samples) };
    });
    const fewest = Math.min(...counts.map((count) => Math.min(count.changes, count.moves)));
    t.ok(fewest >= 3, `ring in ${seconds} s: at least ${fewest} changes of cell and A3 moves over 150 seeds`);
  }
  for (let seed = 0; seed < 20; seed++) {
    const corridor = polls(new RadioField({ drive: findDrive('corridor'), seed, seconds: 60 }));
    const edge = polls(new RadioField({ drive: findDrive('edge'), seed, seconds: 60 }));
    const tunnel = polls(new RadioField({ drive: findDrive('tunnel'), seed, seconds: 60 }));
    const dark = tunnel.filter((sample) => sample.registration === 'searching').length;
    if (servingChanges(corridor) < 4 || servingChanges(edge) < 4 || dark < 12)
      t.fail(`seed ${seed} is too tame`);
  }
  const field = (): RadioField => new RadioField({ drive: ring, seed: 5, seconds: 60 });
  const forward = field();
  const times = [0, 100, 31_000, 59_900, 250_000];
  const inOrder = times.map((tMs) => JSON.stringify(forward.sampleAt(tMs)));
  const backward = field();
  const reversed = [...times].reverse().map((tMs) => JSON.stringify(backward.sampleAt(tMs)));
  t.same(reversed.reverse(), inOrder, 'the order of questions does not matter');
  t.not(JSON.stringify(new RadioField({ drive: ring, seed: 6, seconds: 60 }).sampleAt(0)), inOrder[0]);
  for (const drive of drives.values())
    t.equal(new Set(drive.cells.map((cell) => cell.pci)).size, drive.cells.length);
  t.throws(() => findDrive('rink'), new UsageError('unknown drive "rink": did you mean "ring"?'));
  t.end();
});

interface Bench {
  readonly clock: SimulatedClock;
  readonly lines: SimulatedSerialLines;
  readonly field: RadioField;
  readonly modem: FakeModem;
  readonly samples: RadioSample[];
  readonly states: DeviceReport[];
  readonly source: ModemSource;
  plug(): void;
  unplug(): void;
}

function openBench(
  options: { model?: FakeModemModel; mode?: FakeModemMode; drive?: string; plugged?: boolean } = {},
): Bench {
  const clock = new SimulatedClock();
  const lines = new SimulatedSerialLines({ clock });
  const field = new RadioField({ drive: findDrive(options.drive ?? 'ring'), seed: 11, seconds: 60 });
  const samples: RadioSample[] = [];
  const states: DeviceReport[] = [];
  let write: (data: Uint8Array) => void = () => undefined;
  let unplug = (): void => undefined;
  const modem = new FakeModem({
    clock,
    entropy: new SeededEntropy(3),
    field,
    fieldTimeMs: () => clock.monotonicMs(),
    write: (data) => write(data),
    model: options.model ?? 'EC25',
  });
  modem.setMode(options.mode ?? 'normal');
  modem.start();
  const plug = (): void => {
    const device = lines.plug('/dev/modem');
    device.onData((data) => modem.receive(data));
    write = (data): void => device.write(data);
    unplug = (): void => device.unplug();
    modem.reset();
  };
  if (options.plugged !== false) plug();
  const source = new ModemSource({
    serialLines: lines,
    clock,
    entropy: new SeededEntropy(4),
    source: 'modem0',
    path: '/dev/modem',
    periodMs: millis(pollMs),
    reopenMsMax: millis(2000),
    onSample: (sample) => samples.push(sample),
    onState: (report) => states.push(report),
  });
  return { clock, lines, field, modem, samples, states, source, plug, unplug: () => unplug() };
}

async function finish(bench: Bench): Promise<number> {
  bench.modem.stop();
  await bench.clock.advanceUntil(bench.source.stop());
  await bench.clock.advance(20_000);
  return bench.clock.pendingCount;
}

for (const model of ['EC25', 'RM520N-GL'] as const) {
  for (const mode of ['normal', 'urcStorm', 'splitWrites'] as const) {
    await t.test(`${model}, ${mode}: samples say what the field is`, async (t) => {
      const bench = openBench({ model, mode });
      bench.source.start();
      await bench.clock.advance(60_000);
      t.same(
        bench.states.map((report) => report.state),
        ['opening', 'ready'],
      );
      t.match(bench.states[1]?.reason, new RegExp(`Quectel ${model} on /dev/modem`));
      t.ok(bench.samples.length >= 110, `${bench.samples.length} samples in 60 s`);
      let changes = 0;
      bench.samples.forEach((sample, index) => {
        const [serving, ...neighbours] = sample.cells;
        const truth = [0, -100, -200].map((shift) => bench.field.sampleAt(Math.max(0, sample.atMs + shift)));
        if (!truth.some((field) => field.serving?.cell.pci === serving?.identity.pci))
          t.fail(`serving cell at ${sample.atMs} ms`);
        if (
          !truth.some(
            (field) => Math.abs((field.serving?.rsrpDbm ?? 0) - (serving?.rsrpDbm?.value ?? 99)) <= 0.5,
          )
        ) {
          t.fail(`level at ${sample.atMs} ms`);
        }
        if (neighbours.some((cell) => cell.serving || cell.identity.pci === serving?.identity.pci))
          t.fail('serving among neighbours');
        if (neighbours.length === 0) t.fail(`no neighbour at ${sample.atMs} ms`);
        if (index > 0 && serving?.identity.pci !== bench.samples[index - 1]?.cells[0]?.identity.pci)
          changes++;
      });
      t.ok(changes >= 3, `${changes} changes of cell seen`);
      t.match(bench.samples[5], { source: 'modem0', registration: 'home', operator: '00101' });
      t.equal(bench.source.counters?.timeouts, 0);
      t.equal(await finish(bench), 0, 'no timer is left');
    });
  }
}

await t.test('a modem that knows no QENG is read by CESQ', async (t) => {
  const bench = openBench({ model: 'generic' });
  bench.source.start();
  await bench.clock.advance(5000);
  const [cell] = bench.samples[3]?.cells ?? [];
  t.match(cell, { rat: 'lte', serving: true, identity: { tac: 0x1001 } });
  t.ok(Math.abs((cell?.rsrpDbm?.value ?? 0) - (bench.field.sampleAt(1500).serving?.rsrpDbm ?? 99)) < 6);
  t.ok(cell?.rssiDbm?.value !== undefined);
  await finish(bench);
});

await t.test('a tunnel is reported as searching, not as a fault', async (t) => {
  const bench = openBench({ drive: 'tunnel' });
  bench.source.start();
  await bench.clock.advance(60_000);
  t.ok(
    bench.samples.filter((sample) => sample.registration === 'searching' && sample.cells.length === 0)
      .length > 8,
  );
  t.equal(bench.samples.at(-1)?.registration, 'home');
  t.equal(bench.states.at(-1)?.state, 'ready');
  await finish(bench);
});

for (const mode of ['silent', 'garbage', 'truncated'] as const) {
  await t.test(`${mode}: known within seconds, and recovered from`, async (t) => {
    const bench = openBench();
    bench.source.start();
    await bench.clock.advance(5000);
    bench.modem.setMode(mode);
    await bench.clock.advance(10_000);
    const report = bench.states.at(-1);
    t.equal(report?.state, 'silent');
    t.match(
      report?.reason,
      /\/dev\/modem does not answer AT \(.*\); check that this is its AT port, that 115200 baud/,
    );
    t.equal(bench.states.length <= 8, true, 'one report for each change');
    const count = bench.samples.length;
    bench.modem.setMode('normal');
    await bench.clock.advance(10_000);
    t.equal(bench.states.at(-1)?.state, 'ready');
    t.ok(bench.samples.length > count + 5, 'samples again');
    t.equal(await finish(bench), 0, 'no timer is left');
  });
}

await t.test('slow answers are waited for', async (t) => {
  const bench = openBench({ mode: 'slow' });
  bench.source.start();
  await bench.clock.advance(60_000);
  t.ok(bench.samples.length === 0 ? bench.states.at(-1)?.state === 'silent' : bench.samples.length > 3);
  bench.modem.setMode('normal');
  await bench.clock.advance(20_000);
  t.equal(bench.states.at(-1)?.state, 'ready');
  await finish(bench);
});

await t.test('missing, busy, unplugged, plugged in again', async (t) => {
  const bench = openBench({ plugged: false });
  bench.source.start();
  await bench.clock.advance(60_000);
  t.match(bench.states.at(-1), {
    state: 'lost',
    reason: /\/dev\/modem.*plug the device in, or set its path/,
  });
  t.equal(bench.states.length, 2, 'told once');
  t.ok(bench.lines.openCount > 20 && bench.lines.openCount < 80, `${bench.lines.openCount} attempts in 60 s`);
  bench.plug();
  await bench.clock.advance(5000);
  t.equal(bench.states.at(-1)?.state, 'ready');
  for (let round = 0; round < 3; round++) {
    bench.unplug();
    await bench.clock.advance(1000);
    t.match(bench.states.at(-1), { state: 'lost', reason: /\/dev\/modem/ });
    bench.plug();
    await bench.clock.advance(5000);
    t.equal(bench.states.at(-1)?.state, 'ready');
  }
  t.equal(await finish(bench), 0, 'no timer is left');
  t.equal(bench.states.at(-1)?.state, 'stopped');

  const busy = openBench();
  const holder = await busy.lines.open('/dev/modem');
  busy.source.start();
  await busy.clock.advance(1000);
  t.match(busy.states.at(-1), { state: 'lost', reason: /another program has it open/ });
  await holder.close();
  await busy.clock.advance(10_000);
  t.equal(busy.states.at(-1)?.state, 'ready');
  await finish(busy);
});
