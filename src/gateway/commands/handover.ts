import { DeadlineError, UsageError } from '../../base/errors.ts';
import { printable } from '../../base/text.ts';
import { millis } from '../../base/units.ts';
import { sleep } from '../../host/clock.ts';
import { exitCodes } from '../command.ts';
import type { Command, CommandContext } from '../command.ts';
import { ControlClient } from '../control-client.ts';
import { isRecord } from '../control-protocol.ts';
import { dataDirectoryOf, gatewayOptions } from '../data-directory-option.ts';
import type { GatewayEvent, HandoverEndedEvent } from '../status.ts';

/** How long a handover is watched: longer than all its phases may take together. */
const watchMs = millis(120_000);

/** `baton handover`: orders a handover and shows its phases, or re-arms a fenced gateway. */
export const command: Command = {
  name: 'handover',
  summary: 'move a running gateway to another CSE, or let a fenced one serve again',
  usage: [
    'handover [--to CSE] [--aes A,B] [--dry-run] [--config FILE | --data DIR] [--json]',
    'handover --unfence',
  ],
  options: {
    'to': { type: 'text', argument: 'CSE', summary: 'CSE-ID of the target; the best candidate when absent' },
    'aes': {
      type: 'text',
      argument: 'A,B',
      summary: 'names of the AEs; refused unless they are all of the bundle, which is never split',
    },
    'dry-run': { type: 'flag', summary: 'tell what would be begun, and begin nothing' },
    'unfence': {
      type: 'flag',
      summary: 'let a fenced gateway serve again; stop the other one with its identity before',
    },
    ...gatewayOptions,
    'json': { type: 'flag', summary: 'print one JSON object for each phase and the result' },
  },
  details:
    'All AEs of the gateway move together. The exit code is 0 when the handover was completed, 1 when it was refused or\n' +
    'rolled back.',
  async run(context) {
    const { options } = context;
    const isOrder = ['to', 'aes'].some((name) => options.text(name) !== undefined) || options.flag('dry-run');
    if (options.flag('unfence') && isOrder) {
      throw new UsageError('--unfence begins no handover; give it alone');
    }
    const client = await ControlClient.open(
      { ...context, clock: context.host.clock },
      await dataDirectoryOf(context),
    );
    try {
      return await order(context, client);
    } finally {
      client.close();
    }
  },
};

async function order(context: CommandContext, client: ControlClient): Promise<number> {
  const { options, host, signal } = context;
  const target = options.text('to');
  const aes = options
    .text('aes')
    ?.split(',')
    .map((name) => name.trim());
  if (aes?.includes('') === true)
    throw new UsageError('--aes takes names with commas between, for example gw1,gw1-weather');
  const isWatched = !options.flag('unfence') && !options.flag('dry-run');
  const until = new AbortController();
  const over = AbortSignal.any([signal, until.signal]);
  let ended: HandoverEndedEvent | undefined;
  const watching = client.subscribe(
    {
      onStatus: () => undefined,
      onEvent: (event) => {
        if (!isWatched) return;
        tell(context, event);
        if (event.kind !== 'handoverEnded') return;
        ended = event;
        // A target that fails may be followed by the next; an order names one only.
        until.abort();
      },
    },
    { periodMs: millis(1000), signal: over },
  );
  const answer = await client.request('handover', {
    ...(target === undefined ? {} : { target }),
    ...(aes === undefined ? {} : { aes }),
    ...(options.flag('dry-run') ? { dryRun: true } : {}),
    ...(options.flag('unfence') ? { unfence: true } : {}),
  });
  if (!isRecord(answer) || answer['accepted'] !== true || !isWatched) {
    until.abort();
    await watching;
    return report(context, answer);
  }
  const timeout = sleep(host.clock, watchMs, over).then(
    () => until.abort(),
    () => undefined,
  );
  await watching;
  until.abort();
  await timeout;
  if (ended === undefined && !signal.aborted) {
    throw new DeadlineError(`the handover goes on after ${watchMs} ms; "baton status" shows how far it is`);
  }
  return ended?.outcome === 'completed' ? exitCodes.ok : exitCodes.failed;
}

function report({ options, stdout }: CommandContext, answer: unknown): number {
  const fields = isRecord(answer) ? answer : {};
  if (options.flag('json')) stdout.write(`${JSON.stringify(fields)}\n`);
  const isAccepted = fields['accepted'] === true;
  if (options.flag('json')) return isAccepted ? exitCodes.ok : exitCodes.failed;
  const { reason, target } = fields;
  if (!isAccepted)
    stdout.write(`refused: ${printable(typeof reason === 'string' ? reason : 'no reason given', 400)}\n`);
  else if (options.flag('unfence')) stdout.write('the gateway serves again as soon as it has a candidate\n');
  else stdout.write(`would go to ${printable(String(target), 80)}; nothing was begun\n`);
  return isAccepted ? exitCodes.ok : exitCodes.failed;
}

function tell({ options, stdout }: CommandContext, event: GatewayEvent): void {
  if (event.kind !== 'phase' && event.kind !== 'handoverEnded') return;
  if (options.flag('json')) {
    stdout.write(`${JSON.stringify(event)}\n`);
    return;
  }
  const { source = 'none', target, epoch } = event;
  if (event.kind === 'phase') {
    stdout.write(`${epoch} ${source} → ${target} ${event.state.padEnd(12)} after ${event.ms} ms\n`);
    return;
  }
  const phases = event.phases.map(({ phase, ms }) => `${phase} ${ms}`).join(', ');
  const why = event.reason === undefined ? '' : `: ${printable(event.reason, 300)}`;
  stdout.write(`${event.outcome} in ${event.elapsedMs} ms (${phases})${why}\n`);
}
