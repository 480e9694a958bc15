import { UsageError } from '../../base/errors.ts';
import { didYouMean } from '../../base/text.ts';
import { millis } from '../../base/units.ts';
import { every } from '../../host/clock.ts';
import { runDrive } from '../../testbed/drive/drive.ts';
import { parseTransport, testbedTransports } from '../../testbed/drive/cse-host-process.ts';
import { drives, findDrive } from '../../testbed/radio-field/drives.ts';
import type { Command, CommandContext } from '../command.ts';
import { exitCodes } from '../command.ts';
import { LiveView } from '../view/live-view.ts';
import { renderSummary } from '../view/summary.ts';
import type { DemoSummary } from '../view/summary.ts';
import { createViewModel } from '../view/view-model.ts';

const killStates = ['preparing', 'prepared', 'claiming', 'switching', 'catchingUp', 'releasing'];

/** `baton demo`: a drive past simulated cells and CSEs with the real gateway in between. */
export const command: Command = {
  name: 'demo',
  summary: 'drive past simulated cells and CSEs with a real gateway in between',
  usage: [
    'demo [--drive NAME] [--seconds N] [--seed N] [--transport NAME] [--headless] [--json] [--check] [--kill-at STATE,…]',
  ],
  options: {
    'drive': {
      type: 'text',
      argument: 'NAME',
      summary: `one of ${[...drives.keys()].join(', ')}; default ring`,
    },
    'seconds': {
      type: 'number',
      argument: 'N',
      min: 5,
      max: 3600,
      summary: 'length of the drive, default 60',
    },
    'seed': {
      type: 'number',
      argument: 'N',
      min: 0,
      max: 0xffff_ffff,
      summary: 'start value of every chance, default 1',
    },
    'rtt-ms': {
      type: 'number',
      argument: 'N',
      min: 0,
      max: 2000,
      summary: 'round trip to the CSEs, default 40',
    },
    'transport': {
      type: 'text',
      argument: 'NAME',
      summary: `how the CSEs are reached: ${testbedTransports.join(', ')}; default coap`,
    },
    'headless': { type: 'flag', summary: 'no live view, only the summary' },
    'json': { type: 'flag', summary: 'print one JSON object instead of view and summary' },
    'check': {
      type: 'flag',
      summary: 'fail also when a gap exceeds the reading period by more than a round trip',
    },
    'kill-at': {
      type: 'text',
      argument: 'STATE,…',
      summary: `kill -9 the gateway in these states, one in each handover: ${killStates.join(', ')} or all`,
    },
  },
  details:
    'No root, no hardware and no other service is needed. The exit code is 0 only if nothing was lost, doubled or left split\n' +
    'between two CSEs, counted by comparing what the sensor emitted with what the CSEs hold.',
  run: demo,
};

async function demo(context: CommandContext): Promise<number> {
  const { options, host, stdout, stderr } = context;
  const name = options.text('drive') ?? 'ring';
  findDrive(name);
  const transport = parseTransport(options.text('transport') ?? 'coap');
  const seconds = options.number('seconds') ?? 60;
  const isJson = options.flag('json');
  const view = isJson || options.flag('headless') ? undefined : createView(context, name, seconds);
  let summary: DemoSummary;
  try {
    summary = await runDrive({
      host,
      localSockets: context.localSockets,
      drive: name,
      seconds,
      seed: options.number('seed') ?? 1,
      rttMs: options.number('rtt-ms') ?? 40,
      transport,
      killAt: parseStates(options.text('kill-at')),
      signal: context.signal,
      onEvent: (event) => view?.take(event),
      onStatus: (status) => view?.take({ kind: 'status', status }),
      onNotice: (text) =>
        view === undefined ? stderr.write(`${text}\n`) : view.take({ kind: 'log', level: 'warn', text }),
    });
  } finally {
    view?.stop();
  }
  const judged = options.flag('check') ? checkGap(summary) : summary;
  stdout.write(
    isJson
      ? `${JSON.stringify(judged)}\n`
      : renderSummary(judged, { unicode: stdout.hasUnicode, colour: stdout.hasColour && context.isTty }),
  );
  return judged.verdict === 'pass' ? exitCodes.ok : exitCodes.failed;
}

function createView(
  context: CommandContext,
  name: string,
  seconds: number,
): { take: LiveView['update']; stop(): void } {
  const { clock } = context.host;
  const totalMs = seconds * 1000;
  const view = new LiveView({
    terminal: context.stdout,
    clock,
    model: createViewModel('Ctrl-C ends the drive', { name, elapsedMs: 0, totalMs }),
  });
  view.start();
  const startMs = clock.monotonicMs();
  const cancel = every(clock, millis(250), () => {
    const elapsedMs = Math.min(totalMs, clock.monotonicMs() - startMs);
    view.update({ kind: 'drive', drive: { name, elapsedMs, totalMs } });
  });
  return {
    take: (input) => view.update(input),
    stop: () => {
      cancel();
      view.stop();
    },
  };
}

/** The bound that the README states for a drive without kills: make before break leaves no gap beyond a round trip. */
function checkGap(summary: DemoSummary): DemoSummary {
  const boundMs = summary.readingPeriodMs + summary.rttMs;
  if (summary.longestGapMs <= boundMs) return summary;
  const reason = `the longest gap is ${summary.longestGapMs} ms; ${boundMs} ms (period and one round trip) are allowed`;
  return { ...summary, verdict: 'fail', reasons: [...summary.reasons, reason] };
}

function parseStates(text: string | undefined): string[] {
  if (text === undefined) return [];
  if (text === 'all') return killStates;
  return text.split(',').map((state) => {
    if (killStates.includes(state)) return state;
    throw new UsageError(`--kill-at ${state}: ${didYouMean(state, [...killStates, 'all'])}`);
  });
}
