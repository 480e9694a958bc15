// The process that fuzzes: `npm run fuzz` compiles, starts this and watches it (scripts/run-fuzz.mjs).
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fuzz } from './run.ts';
import type { Report } from './run.ts';
import { targets } from './targets.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string' },
    inputs: { type: 'string' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const seed = wholeNumber('seed', values.seed);
const inputs = values.inputs === undefined ? Infinity : wholeNumber('inputs', values.inputs);
const seconds =
  values.seconds === undefined
    ? inputs === Infinity
      ? 10
      : Infinity
    : wholeNumber('seconds', values.seconds);
const asked = positionals.includes('all')
  ? targets
  : targets.filter(({ name }) => positionals.includes(name));
const unknown = positionals.find((word) => word !== 'all' && !targets.some(({ name }) => name === word));
if (unknown !== undefined || asked.length === 0) {
  refuse(
    `${unknown === undefined ? 'no target' : `no target "${unknown}"`}; name some of ${names()}, or all`,
  );
}

const corpusDirectory = join(import.meta.dirname, '..', '..', '..', 'test', 'fuzz', 'corpus');
// A refused input costs an error each; without their stacks the run is several times faster.
Error.stackTraceLimit = 0;
const reports: Report[] = [];
for (const target of asked) {
  const onProgress = (done: number): void => void process.send?.({ target: target.name, inputs: done });
  reports.push(
    await fuzz(target, { seed, seconds, inputs, corpusDirectory, minimiseMs: 60_000, onProgress }),
  );
  const report = reports.at(-1);
  if (report !== undefined && !values.json) print(report);
}
if (values.json) console.log(JSON.stringify({ reports }));
const unreached = reports.flatMap(({ target, reached }) =>
  Object.entries(reached).flatMap(([what, count]) =>
    count === 0 ? [`${target}: no input came to "${what}"`] : [],
  ),
);
for (const line of values.check ? unreached : []) console.error(line);
const hasFailed = reports.some(({ failure }) => failure !== undefined);
process.exit(hasFailed || (values.check && unreached.length > 0) ? 1 : 0);

function print(report: Report): void {
  const growth =
    report.growthBytes === undefined ? 'not measured' : `${Math.round(report.growthBytes / 1024)} KiB`;
  const { target, inputs: count, inputsPerSecond, slowestBatchMs, failure } = report;
  console.log(
    `${target}: ${count} inputs with seed ${report.seed}, ${inputsPerSecond} a second ` +
      `(${report.inputsPerCpuSecond} by processor time), ` +
      `slowest sixteen ${slowestBatchMs} ms, growth ${growth}`,
  );
  console.log(
    `  ${Object.entries(report.reached)
      .map(([what, times]) => `${what} ${times}`)
      .join(', ')}`,
  );
  if (failure === undefined) return;
  console.log(`  FAILED: ${failure.message}`);
  console.log(
    `  ${failure.corpusFile === undefined ? 'not reproduced alone' : `${failure.inputs} inputs in ${failure.corpusFile}`}`,
  );
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,10}$/u.test(text)) refuse(`--${name} ${text}: a whole number is expected`);
  return Number(text);
}

function names(): string {
  return targets.map(({ name }) => name).join(', ');
}

function refuse(reason: string): never {
  console.error(`fuzz: ${reason}`);
  process.exit(2);
}
