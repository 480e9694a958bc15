/**
 * A fake sensor as a process behind a pseudo terminal, with the acknowledged line protocol.
 *
 *     node fake-sensor-process.js [--stream temperature:250]... [--seed 1] [--plain] [--memory 10000] [--link PATH]
 *
 * `--stream NAME:PERIOD_MS` may be repeated. `--plain` sends each reading once and expects no acknowledgement. Prints
 * `{"path":...}` whenever it is plugged in. Takes on standard input `{"cmd":"report"}` (prints
 * `{"emitted":{STREAM:{first,last,acknowledged,...}}}`), `{"cmd":"finish"}` (makes no further readings, repeats what
 * is unacknowledged, prints `{"finished":true}`), `{"cmd":"unplug"}` and `{"cmd":"replug"}`. When standard input ends
 * it prints the report once more and ends.
 */
import { parseArgs } from 'node:util';
import { BatonError, UsageError, errorText } from '../../base/errors.ts';
import { millis } from '../../base/units.ts';
import { isMainModule, openParentChannel, setExitCode } from '../../host/child-process.ts';
import { NodeClock } from '../../host/clock.ts';
import { openPseudoTerminal } from '../../host/pseudo-terminal.ts';
import type { PseudoTerminal } from '../../host/pseudo-terminal.ts';
import { parseChildCommand, parseCount } from '../child-command.ts';
import { FakeSensor } from './fake-sensor.ts';
import type { FakeStream } from './fake-sensor.ts';

/** Runs the process until its standard input ends. Throws `UsageError` for arguments that make no sense. */
export async function runFakeSensor(): Promise<void> {
  let queue = Promise.resolve();
  let terminal: PseudoTerminal | undefined;
  let onEnd: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    onEnd = resolve;
  });
  const channel = openParentChannel({
    onLine: (line) => {
      queue = queue.then(() => obey(line)).catch((error: unknown) => tell({ error: errorText(error) }));
    },
    onEnd: () => onEnd(),
  });
  const tell = (message: object): void => channel.writeLine(JSON.stringify(message));
  const { link, ...options } = parseOptions(channel.args);
  const sensor = new FakeSensor({
    clock: new NodeClock(),
    ...options,
    write: (data) => terminal?.write(data) ?? false,
  });
  const plug = async (): Promise<void> => {
    if (terminal !== undefined) return;
    terminal = await openPseudoTerminal(link === undefined ? {} : { link });
    terminal.onData((data) => sensor.receive(data));
    tell({ path: terminal.path });
  };
  const unplug = async (): Promise<void> => {
    await terminal?.hangUp();
    terminal = undefined;
  };
  const obey = async (line: string): Promise<void> => {
    switch (parseChildCommand(line, ['report', 'finish', 'unplug', 'replug'])) {
      case 'report':
        return tell({ emitted: sensor.report() });
      case 'finish':
        sensor.finish();
        return tell({ finished: true });
      case 'unplug':
        await unplug();
        return tell({ unplugged: true });
      default:
        return plug();
    }
  };
  await plug();
  sensor.start();
  await ended;
  await queue;
  sensor.stop();
  await unplug();
  tell({ emitted: sensor.report() });
  await channel.flush();
}

interface FakeSensorArguments {
  readonly seed: number;
  readonly streams: readonly FakeStream[];
  readonly acknowledge: boolean;
  readonly memoryMax: number;
  readonly link: string | undefined;
}

function parseOptions(args: readonly string[]): FakeSensorArguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      stream: { type: 'string', multiple: true, default: ['temperature:250'] },
      seed: { type: 'string', default: '1' },
      plain: { type: 'boolean', default: false },
      memory: { type: 'string', default: '10000' },
      link: { type: 'string' },
    },
  });
  return {
    streams: values.stream.map(parseStream),
    seed: parseCount('seed', values.seed),
    acknowledge: !values.plain,
    memoryMax: parseCount('memory', values.memory),
    link: values.link,
  };
}

function parseStream(text: string): FakeStream {
  const parts = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,63}):([1-9]\d{0,6})$/.exec(text);
  if (parts?.[1] === undefined)
    throw new UsageError(`--stream needs NAME:PERIOD_MS such as temperature:250, got "${text}"`);
  return { name: parts[1], periodMs: millis(Number(parts[2])) };
}

if (isMainModule(import.meta.url)) {
  try {
    await runFakeSensor();
  } catch (error) {
    console.error(error instanceof BatonError ? error.message : error);
    setExitCode(2);
  }
}
