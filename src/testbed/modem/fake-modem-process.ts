/**
 * A fake modem as a process behind a pseudo terminal.
 *
 *     node fake-modem-process.js [--drive ring] [--seed 1] [--seconds 60] [--offset-ms 0] [--model EC25] [--link PATH]
 *
 * Prints `{"path":...}` on standard output whenever it is plugged in, `{"unplugged":true}` when it is pulled,
 * `{"error":...}` for a command that it does not know. Takes one JSON object a line on standard input:
 * `{"cmd":"unplug"}`, `{"cmd":"replug"}`, or a mode of `FakeModem` such as `{"cmd":"silent"}`, `{"cmd":"garbage"}`,
 * `{"cmd":"normal"}`. Ends when standard input ends.
 */
import { parseArgs } from 'node:util';
import { BatonError, UsageError, errorText } from '../../base/errors.ts';
import { didYouMean } from '../../base/text.ts';
import { isMainModule, openParentChannel, setExitCode } from '../../host/child-process.ts';
import { NodeClock } from '../../host/clock.ts';
import { openPseudoTerminal } from '../../host/pseudo-terminal.ts';
import type { PseudoTerminal } from '../../host/pseudo-terminal.ts';
import { findDrive } from '../radio-field/drives.ts';
import { RadioField } from '../radio-field/radio-field.ts';
import { SeededEntropy } from '../seeded-entropy.ts';
import { parseChildCommand, parseCount } from '../child-command.ts';
import { FakeModem, fakeModemModes } from './fake-modem.ts';
import type { FakeModemMode, FakeModemModel } from './fake-modem.ts';

/** Runs the process until its standard input ends. Throws `UsageError` for arguments that make no sense. */
export async function runFakeModem(): Promise<void> {
  let queue = Promise.resolve();
  let modem: FakeModem | undefined;
  let terminal: PseudoTerminal | undefined;
  const ended = new Promise<void>((resolve) => {
    const channel = openParentChannel({
      onLine: (line) => {
        queue = queue.then(() => obey(line)).catch((error: unknown) => tell({ error: errorText(error) }));
      },
      onEnd: resolve,
    });
    const tell = (message: object): void => channel.writeLine(JSON.stringify(message));
    const options = parseOptions(channel.args);
    const plug = async (): Promise<void> => {
      if (terminal !== undefined) return;
      terminal = await openPseudoTerminal(options.link === undefined ? {} : { link: options.link });
      terminal.onData((data) => modem?.receive(data));
      modem?.reset();
      tell({ path: terminal.path });
    };
    const obey = async (line: string): Promise<void> => {
      const command = parseChildCommand(line, ['unplug', 'replug', ...fakeModemModes]);
      if (command === 'replug') await plug();
      else if (command !== 'unplug') modem?.setMode(command as FakeModemMode);
      else {
        await terminal?.hangUp();
        terminal = undefined;
        tell({ unplugged: true });
      }
    };
    modem = createModem(options, (data) => terminal?.write(data));
    modem.start();
    queue = plug().catch((error: unknown) => {
      tell({ error: errorText(error) });
      setExitCode(1);
      resolve();
    });
  });
  await ended;
  await queue;
  modem?.stop();
  await terminal?.hangUp();
}

interface FakeModemArguments {
  readonly drive: string;
  readonly seed: number;
  readonly seconds: number;
  readonly offsetMs: number;
  readonly model: FakeModemModel;
  readonly link: string | undefined;
}

const models: readonly FakeModemModel[] = ['EC25', 'RM520N-GL', 'SIM7600', 'generic'];

function parseOptions(args: readonly string[]): FakeModemArguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      'drive': { type: 'string', default: 'ring' },
      'seed': { type: 'string', default: '1' },
      'seconds': { type: 'string', default: '60' },
      'offset-ms': { type: 'string', default: '0' },
      'model': { type: 'string', default: 'EC25' },
      'link': { type: 'string' },
    },
  });
  const model = models.find((name) => name === values.model);
  if (model === undefined)
    throw new UsageError(`unknown model "${values.model}": ${didYouMean(values.model, models)}`);
  return {
    drive: values.drive,
    seed: parseCount('seed', values.seed),
    seconds: Math.max(1, parseCount('seconds', values.seconds)),
    offsetMs: parseCount('offset-ms', values['offset-ms']),
    model,
    link: values.link,
  };
}

function createModem(options: FakeModemArguments, write: (data: Uint8Array) => void): FakeModem {
  const clock = new NodeClock();
  const { seed, seconds, offsetMs, model } = options;
  const field = new RadioField({ drive: findDrive(options.drive), seed, seconds });
  const startMs = clock.monotonicMs() - offsetMs;
  return new FakeModem({
    clock,
    entropy: new SeededEntropy(seed).fork('modem'),
    field,
    fieldTimeMs: () => clock.monotonicMs() - startMs,
    write,
    model,
  });
}

if (isMainModule(import.meta.url)) {
  try {
    await runFakeModem();
  } catch (error) {
    console.error(error instanceof BatonError ? error.message : error);
    setExitCode(2);
  }
}
