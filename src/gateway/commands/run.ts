import { CancelledError, IoError } from '../../base/errors.ts';
import { createSharedAbort } from '../../base/linked-abort.ts';
import { printable } from '../../base/text.ts';
import { openParentChannel } from '../../host/child-process.ts';
import { defaultFlightBounds, openFlightRecorder } from '../../trial/recorder.ts';
import type { Command, CommandContext } from '../command.ts';
import { loadConfig } from '../load-config.ts';
import { ControlServer } from '../control-server.ts';
import { Gateway } from '../gateway.ts';
import type { GatewayEvent, LogLevel } from '../status.ts';

const levels: readonly LogLevel[] = ['error', 'warn', 'info', 'debug'];

/** `baton run`: the gateway itself. */
export const command: Command = {
  name: 'run',
  summary: 'run the gateway',
  usage: ['run --config FILE'],
  options: {
    'config': { type: 'text', argument: 'FILE', summary: 'configuration, default baton.yaml' },
    'json': { type: 'flag', summary: 'log one JSON object a line' },
    'end-with-input': {
      type: 'flag',
      summary: 'end when standard input ends, as with the program that started it',
    },
  },
  details:
    'Ends in order on SIGINT or SIGTERM. A gateway that was killed takes up where it was: a handover that had not claimed\n' +
    'its epoch is undone, one that had is finished, and nothing that was stored is lost.',
  run: runGateway,
};

async function runGateway(context: CommandContext): Promise<number> {
  const { host, options, pid } = context;
  const config = await loadConfig(host.filesystem, options.text('config') ?? 'baton.yaml');
  const control = await openControl(context, config.dataDirectory);
  const stop = createSharedAbort();
  const onSignal = (): void => stop.abort(new CancelledError('ended by a signal'));
  context.signal.addEventListener('abort', onSignal, { once: true });
  // It may have come while the configuration was read: an event that is past tells nobody.
  if (context.signal.aborted) onSignal();
  if (options.flag('end-with-input')) {
    openParentChannel({
      onLine: () => undefined,
      onEnd: () => stop.abort(new CancelledError('standard input ended')),
    });
  }
  try {
    const recorder = await openFlightRecorder({
      ...defaultFlightBounds,
      filesystem: host.filesystem,
      clock: host.clock,
      directory: `${config.dataDirectory}/flight`,
    });
    const isJson = options.flag('json');
    const gateway = new Gateway({
      host,
      config,
      pid,
      onEvent: (event) => {
        control.publish(event);
        recorder.record({ ...event });
        const line = isJson ? JSON.stringify(event) : lineOf(event, config.log.level);
        if (line !== undefined) context.stdout.write(`${line}\n`);
      },
      onRecord: (event) => recorder.record(event),
    });
    control.serve({
      status: () => gateway.status(),
      handover: ({ target, dryRun, unfence, aes }) =>
        unfence === true ? gateway.unfence() : gateway.orderHandover(target, dryRun, aes),
      context: ({ cse, repair }) => gateway.inspectContext(cse, repair === true),
      stop: () => stop.abort(new CancelledError('ended over the control socket')),
    });
    try {
      if (!stop.signal.aborted) await gateway.run(stop.signal);
    } finally {
      await recorder.close();
    }
    return 0;
  } finally {
    context.signal.removeEventListener('abort', onSignal);
    await control.close();
  }
}

/** Takes the data directory; what keeps us from it is told with the way out. */
async function openControl(context: CommandContext, directory: string): Promise<ControlServer> {
  const { host, localSockets, pid } = context;
  try {
    return await ControlServer.open({ host: { ...host, localSockets }, directory, pid });
  } catch (cause) {
    if (!(cause instanceof IoError)) throw cause;
    const wayOut = 'let this user write there, or set another dataDirectory';
    throw new IoError(`the data directory ${directory} cannot be used: ${cause.message}; ${wayOut}`, {
      cause,
    });
  }
}

/** What a person reads in the log; undefined for what is too detailed at this level. */
function lineOf(event: GatewayEvent, level: LogLevel): string | undefined {
  const { weight, text } = describe(event);
  return levels.indexOf(weight) <= levels.indexOf(level)
    ? `${weight.padEnd(5)} ${printable(text, 400)}`
    : undefined;
}

function describe(event: GatewayEvent): { weight: LogLevel; text: string } {
  switch (event.kind) {
    case 'sample':
      return { weight: 'debug', text: `link ${event.link}: ${event.cells.length} cells` };
    case 'decision':
      return {
        weight: 'info',
        text: `decision: ${event.source ?? 'nowhere'} -> ${event.target}: ${event.explanation ?? event.trigger}`,
      };
    case 'phase':
      return { weight: 'info', text: `handover ${event.epoch} to ${event.target}: ${event.state}` };
    case 'handoverEnded': {
      const why = event.reason === undefined ? '' : `: ${event.reason}`;
      const weight = event.outcome === 'completed' ? 'info' : 'warn';
      return {
        weight,
        text: `handover ${event.epoch} to ${event.target} ${event.outcome} after ${event.elapsedMs} ms${why}`,
      };
    }
    case 'eviction':
      return {
        weight: 'warn',
        text: `stream ${event.stream}: ${event.count} readings evicted, ${event.firstSeq} to ${event.lastSeq}`,
      };
    case 'damage':
      return { weight: 'warn', text: `damage (${event.file}): ${event.text}` };
    case 'linkState':
      return {
        weight: 'info',
        text: `link ${event.link} ${event.state}${event.reason === undefined ? '' : `: ${event.reason}`}`,
      };
    case 'alarm':
      return {
        weight: event.active ? 'error' : 'info',
        text: `${event.active ? 'alarm' : 'over'}: ${event.text}`,
      };
    case 'log':
      return { weight: event.level, text: event.text };
  }
}
