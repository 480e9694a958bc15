// Baton's protocol stacks against programs that are not ours, on loopback, each kind of peer a part of its own
// (parts-table.ts). What a part proves stands at the head of its file.
//
//   npm run test:peers [-- --only NAME,…] [--json] [--check]
//
// --only   the named parts; --json prints one object; --check exits with 1 when a check fails, as a run without it does
// Programs that are missing are installed from Debian. Exit code 2: some part cannot run here, and nothing of it is proven.
import { parseArgs } from 'node:util';
import { UsageError, errorText } from '../../src/base/errors.ts';
import { didYouMean } from '../../src/base/text.ts';
import { millis } from '../../src/base/units.ts';
import { withDeadline } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NotRunError, endCommands, needPrograms } from '../real/programs.ts';
import { Report } from '../real/report.ts';
import { parts } from './parts-table.ts';
import { PeerBench } from './peer-bench.ts';
import type { PeerPart } from './peer-bench.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const host = createNodeHost();
const interruptedCode = 130;
const partMs = millis(240_000);
/** With --json standard output holds nothing but the object. */
const tell = (text: string): void => (values.json ? console.error(text) : console.log(text));
const report = new Report(tell);
const benches = new Set<PeerBench>();
const notRun: { readonly part: string; readonly reason: string }[] = [];

process.exitCode = await main();

async function main(): Promise<number> {
  const beganMs = host.clock.monotonicMs();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      endCommands();
      const closed = Promise.allSettled([...benches].map((bench) => bench.close()));
      void closed.finally(() => process.exit(interruptedCode));
    });
  }
  try {
    // One after the other: some checks measure time, and each part may keep the machine busy.
    for (const part of chosenParts()) await runPart(part);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    tell(error.message);
    return 1;
  }
  return finish(Math.round(host.clock.monotonicMs() - beganMs));
}

function chosenParts(): readonly PeerPart[] {
  if (values.only === '') return parts;
  const names = parts.map(({ name }) => name);
  return values.only.split(',').map((name) => {
    const part = parts.find((each) => each.name === name);
    if (part === undefined) throw new UsageError(`--only ${name}: no such part, ${didYouMean(name, names)}`);
    return part;
  });
}

async function runPart(part: PeerPart): Promise<void> {
  const bench = new PeerBench(host, part.name, report);
  benches.add(bench);
  const beganMs = host.clock.monotonicMs();
  try {
    await needPrograms(part.programs, tell);
    await withDeadline(host.clock, partMs, `part ${part.name}`, part.run(bench));
  } catch (error) {
    if (error instanceof NotRunError) {
      tell(`${part.name}: NOT RUN, nothing of it is proven: ${error.message}`);
      notRun.push({ part: part.name, reason: error.message });
    } else {
      const ms = Math.round(host.clock.monotonicMs() - beganMs);
      report.add({ part: part.name, title: errorText(error), passed: false, notes: [], ms });
    }
  } finally {
    await bench.close();
    benches.delete(bench);
  }
}

function finish(ms: number): number {
  const { passed, failed, steps } = report;
  const seconds = Math.round(ms / 100) / 10;
  if (values.json) console.log(JSON.stringify({ seconds, passed, failed, notRun, steps }));
  tell(`real peers: ${seconds} s`);
  tell(`${passed} passed, ${failed} failed`);
  if (failed > 0) return 1;
  return notRun.length > 0 || passed === 0 ? 2 : 0;
}
