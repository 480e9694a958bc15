// Baton against a CSE that is not ours: ACME CSE from PyPI in a pinned version, one IN-CSE and three MN-CSEs on loopback.
//
// Proven: the contract of the testbed's CSEs holds for ACME over CoAP and over MQTT (mosquitto), bodies in CBOR, but for the
// differences listed in differences-table.ts, and for no other. The gateway process works at ACME over CoAP and over MQTT:
// readings arrive exactly once and in order, commands are carried out once, handovers go to and fro, and a kill -9
// in the middle of one does no harm; the verdict is taken from what ACME's CSEs hold. Each known defect of ACME is tried
// again (defects-table.ts). The operations of the client hold there, and its probe finds what the quirks table says.
//
// Not proven: coaps, which ACME has not.
//
// --only PART  parts whose name contains it: "contract over coap", "contract over mqtt", "known defects",
//              "gateway over coap", "gateway over mqtt", "client operations"
// --json       prints one object; --check exits with 1 when a step fails, as a run without it does
// Exit code 2: ACME cannot be set up here, and nothing is proven.
import { parseArgs } from 'node:util';
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { withDeadline } from '../../src/host/clock.ts';
import { createNodeHost } from '../../src/host/host.ts';
import { NotRunError, endCommands } from '../real/programs.ts';
import { Report } from '../real/report.ts';
import { coapWires, mqttWires } from '../testbed/cse-contract-wires.ts';
import { AcmeNetwork } from './acme-network.ts';
import { stepOfCheck } from './check-step.ts';
import { runContractAgainst } from './contract-run.ts';
import { runDefects, runKilledRegistration } from './defects-run.ts';
import { differences } from './differences-table.ts';
import type { Wire } from './differences-table.ts';
import { runGateway } from './gateway-run.ts';
import { operationsPart, runOperations } from './operations-run.ts';
import { acmeVersion, setUp } from './set-up.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});
const host = createNodeHost();
const interruptedCode = 130;
/** Four times what it takes on a machine that has other things to do. */
const wholeMs = millis(300_000);
const mqttMs = millis(5_000);
/** With --json standard output holds nothing but the object. */
const tell = (text: string): void => (values.json ? console.error(text) : console.log(text));

process.exitCode = await main();

async function main(): Promise<number> {
  const beganMs = host.clock.monotonicMs();
  let network: AcmeNetwork | undefined;
  const report = new Report(tell);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      endCommands();
      // What is under way would wait for answers that do not come any more.
      void Promise.resolve(network?.stop()).finally(() => process.exit(interruptedCode));
    });
  }
  try {
    const programs = await setUp(tell);
    network = await AcmeNetwork.start(host, programs);
    await network.untilReady();
    tell(`ACME CSE ${acmeVersion}: one IN-CSE and three MN-CSEs are up after ${elapsedMs(beganMs)} ms`);
    await withDeadline(host.clock, wholeMs, 'the whole run', runParts(network, report));
  } catch (error) {
    if (error instanceof NotRunError) {
      tell(`ACME: NOT RUN, nothing is proven: ${error.message}`);
      if (values.json) console.log(JSON.stringify({ notRun: error.message, passed: 0, failed: 0 }));
      return 2;
    }
    report.add({ part: 'run', title: errorText(error), passed: false, notes: [], ms: elapsedMs(beganMs) });
  } finally {
    await network?.stop();
  }
  return finish(report, elapsedMs(beganMs));
}

async function runParts(network: AcmeNetwork, report: Report): Promise<void> {
  const broker = { address: '127.0.0.1', port: network.brokerPort };
  const contract = (wire: Wire) => async (): Promise<void> => {
    const wires = wire === 'coap' ? coapWires : mqttWires(broker, mqttMs);
    await runContractAgainst(host, network, wires, (result) => report.add(stepOfCheck(wire, result)));
  };
  const parts: readonly (readonly [name: string, run: () => Promise<void>])[] = [
    ['contract over coap', contract('coap')],
    ['contract over mqtt', contract('mqtt')],
    ['known defects', () => runDefects(host, network, report)],
    [operationsPart, () => runOperations(host, network, report)],
    ['gateway over coap', () => runGateway(host, network, report, 'coap')],
    ['gateway over mqtt', () => runGateway(host, network, report, 'mqtt')],
  ];
  // Much of each part is waiting, so they run side by side.
  const chosen = parts.filter(([name]) => name.includes(values.only));
  const outcomes = await Promise.allSettled(chosen.map(([, run]) => run()));
  for (const [index, outcome] of outcomes.entries()) {
    const [part = ''] = chosen[index] ?? [];
    if (outcome.status === 'fulfilled') continue;
    report.add({ part, title: errorText(outcome.reason), passed: false, notes: [], ms: 0 });
  }
  if ('known defects'.includes(values.only)) await runKilledRegistration(host, network, report);
  const { failure } = network;
  if (failure !== undefined)
    report.add({ part: 'processes', title: failure, passed: false, notes: [], ms: 0 });
}

function finish(report: Report, ms: number): number {
  const { passed, failed, steps } = report;
  const summary = {
    version: acmeVersion,
    seconds: Math.round(ms / 100) / 10,
    passed,
    failed,
    steps,
    differences,
  };
  if (values.json) console.log(JSON.stringify(summary));
  else {
    tell(`allowed differences of ACME CSE ${acmeVersion}:`);
    for (const { name, what, fallback } of differences) tell(`  ${name}: ${what}; instead: ${fallback}`);
  }
  tell(`ACME: ${summary.seconds} s`);
  tell(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

function elapsedMs(beganMs: number): number {
  return Math.round(host.clock.monotonicMs() - beganMs);
}
