// The network lab: `npm run lab -- --scenario NAME|all|self-test [--json] [--check] [--repeat N] [--seed N]`, as root. One lab of
// namespaces for each repetition, the subject in it, the scenario's fault on the link that serves, a report. Exit code 0 done,
// 1 a bound was not kept (--check) or the lab failed, 2 it cannot run here, with the reason. What it makes is removed however
// it ends; after a kill -9 by the next lab.
import { parseArgs } from 'node:util';
import { setExitCode } from '../../src/host/child-process.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { didYouMean } from '../../src/base/text.ts';
import { millis } from '../../src/base/units.ts';
import { faults, linksOf, scenarios } from './lab-faults.ts';
import type { Scenario } from './lab-faults.ts';
import { LabNetwork, NotRunError } from './lab-network.ts';
import { percentile, reportOf } from './lab-report.ts';
import type { ScenarioReport } from './lab-report.ts';
import { selfTest } from './self-test.ts';
import { LinkSubject, servingOf } from './lab-subject.ts';
import type { LabSubject } from './lab-subject.ts';

const clock = new NodeClock();
/** One way; the path to the edge and back takes twice as long. */
const conditions = { wwan0: { delayMs: 30 }, wlan0: { delayMs: 30 }, bnep0: { delayMs: 30 } };
/** Until the path has a history, and the kernel tells a change of carrier at once again. */
const settleMs = millis(3000);

const { values: args } = parseArgs({
  options: {
    scenario: { type: 'string' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    repeat: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
  },
});
let current: LabNetwork | undefined;
let subject: LabSubject | undefined;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => void interrupted());
setExitCode(await main());

async function main(): Promise<number> {
  const names = scenarios.map(({ name }) => name);
  const { scenario: wanted = '' } = args;
  if (!['all', 'self-test', ...names].includes(wanted)) {
    console.error(`--scenario ${wanted}: ${didYouMean(wanted, ['all', 'self-test', ...names])}`);
    return 2;
  }
  for (const name of ['repeat', 'seed'] as const) {
    if (/^[1-9]\d{0,5}$/u.test(args[name])) continue;
    console.error(`--${name} takes a whole number from 1 on, not "${args[name]}"`);
    return 2;
  }
  try {
    if (wanted === 'self-test') return await runSelfTest();
    return await runScenarios(scenarios.filter(({ name }) => wanted === 'all' || name === wanted));
  } catch (cause) {
    if (cause instanceof NotRunError) {
      console.error(`NOT RUN: ${cause.message}`);
      return 2;
    }
    throw cause;
  } finally {
    await close();
  }
}

async function runScenarios(chosen: readonly Scenario[]): Promise<number> {
  const reports: ScenarioReport[] = [];
  for (const scenario of chosen) {
    for (let repetition = 0; repetition < Number(args.repeat); repetition++) {
      const report = await run(scenario, Number(args.seed) + repetition);
      reports.push(report);
      print(report);
    }
    if (Number(args.repeat) > 1) printSummary(reports.filter((report) => report.scenario === scenario.name));
  }
  const isBad = reports.some(({ violations }) => violations.length > 0);
  return isBad && args.check ? 1 : 0;
}

async function run(scenario: Scenario, seed: number): Promise<ScenarioReport> {
  current = await LabNetwork.open({ seed, conditions });
  subject = new LinkSubject();
  await subject.start(current);
  await sleep(clock, settleMs);
  const serving = servingOf(await subject.sample());
  if (serving === undefined) throw new Error('no link serves before the fault');
  let beganMs: number | undefined;
  for (const step of scenario.steps) {
    await sleep(clock, millis(step.afterMs));
    for (const link of linksOf(step, serving)) {
      const atMs = await faults[step.fault][step.phase](current, link);
      beganMs ??= atMs;
    }
  }
  await sleep(clock, millis(scenario.restMs));
  const report = reportOf(scenario, seed, serving, beganMs ?? 0, await subject.sample());
  await close();
  return report;
}

async function runSelfTest(): Promise<number> {
  const lab = await LabNetwork.open({ seed: Number(args.seed), conditions });
  current = lab;
  const facts = await selfTest(lab, clock);
  const failed = facts.filter(({ isKept }) => !isKept);
  if (args.json) console.log(JSON.stringify({ scenario: 'self-test', seed: Number(args.seed), facts }));
  else
    for (const { what, value, bound, isKept } of facts)
      console.log(`${isKept ? 'ok  ' : 'BAD '} ${what}: ${value} (${bound})`);
  return failed.length > 0 && args.check ? 1 : 0;
}

function print(report: ScenarioReport): void {
  if (args.json) {
    console.log(JSON.stringify(report));
    return;
  }
  const { scenario, seed, kernelEventMs, detectionMs, uplinkInterruptionMs, downlinkInterruptionMs } = report;
  console.log(
    `${scenario} seed ${seed}: event ${kernelEventMs ?? '-'} ms, left after ${detectionMs ?? '-'} ms, ` +
      `uplink interrupted ${uplinkInterruptionMs} ms, downlink ${downlinkInterruptionMs} ms; ` +
      `sent ${report.sent}, lost ${report.lost}, doubled ${report.doubled}, repeated ${report.repeated}, reordered ${report.reordered}`,
  );
  for (const { afterMs, text } of report.changes) console.log(`  +${afterMs} ms ${text}`);
  for (const problem of report.problems) console.log(`  problem: ${problem}`);
  for (const violation of report.violations) console.log(`  NOT KEPT: ${violation}`);
}

function printSummary(reports: readonly ScenarioReport[]): void {
  const figure = (
    pick: (report: ScenarioReport) => number | undefined,
  ): Record<string, number | undefined> => ({
    p50: percentile(reports.map(pick), 0.5),
    p95: percentile(reports.map(pick), 0.95),
    p99: percentile(reports.map(pick), 0.99),
  });
  const summary = {
    scenario: reports[0]?.scenario,
    repetitions: reports.length,
    detectionMs: figure(({ detectionMs }) => detectionMs),
    uplinkInterruptionMs: figure(({ uplinkInterruptionMs }) => uplinkInterruptionMs),
    lost: reports.reduce((sum, { lost }) => sum + lost, 0),
    doubled: reports.reduce((sum, { doubled }) => sum + doubled, 0),
    notKept: reports.filter(({ violations }) => violations.length > 0).length,
  };
  console.log(args.json ? JSON.stringify({ summary }) : summary);
}

async function close(): Promise<void> {
  await subject?.stop();
  subject = undefined;
  await current?.close();
  current = undefined;
}

async function interrupted(): Promise<void> {
  await close();
  process.exit(1);
}
