import { LinkedAbort } from '../../base/linked-abort.ts';
import { millis } from '../../base/units.ts';
import { exitCodes } from '../command.ts';
import type { Command, CommandContext } from '../command.ts';
import { ControlClient } from '../control-client.ts';
import { dataDirectoryOf, gatewayOptions } from '../data-directory-option.ts';
import { LiveView } from '../view/live-view.ts';
import { renderStatus } from '../view/render-view.ts';
import { createViewModel } from '../view/view-model.ts';

/** `baton status`: asks the gateway of a data directory over its control socket. */
export const command: Command = {
  name: 'status',
  summary: 'show what a running gateway does',
  usage: ['status [--config FILE | --data DIR] [--json | --watch]'],
  options: {
    ...gatewayOptions,
    json: { type: 'flag', summary: 'print one JSON object; with --watch one a second, and events' },
    watch: { type: 'flag', summary: 'keep showing it until Ctrl-C' },
  },
  async run(context) {
    const directory = await dataDirectoryOf(context);
    const client = await ControlClient.open({ ...context, clock: context.host.clock }, directory);
    try {
      if (context.options.flag('watch')) await watch(context, client);
      else await show(context, client);
      return exitCodes.ok;
    } finally {
      client.close();
    }
  },
};

async function show({ options, stdout }: CommandContext, client: ControlClient): Promise<void> {
  const status = await client.status();
  stdout.write(
    options.flag('json')
      ? `${JSON.stringify(status, undefined, 2)}\n`
      : renderStatus(status, stdout.size().columns, { unicode: stdout.hasUnicode, colour: stdout.hasColour }),
  );
}

async function watch(context: CommandContext, client: ControlClient): Promise<void> {
  const { stdout, signal, options, host } = context;
  const until = new LinkedAbort(signal);
  const subscription = { periodMs: millis(1000), signal: until.signal };
  const stopWhenBroken = (): void => {
    if (stdout.isBroken) until.abort();
  };
  if (options.flag('json')) {
    const print = (value: unknown): void => {
      stdout.write(`${JSON.stringify(value)}\n`);
      stopWhenBroken();
    };
    await client.subscribe(
      { onStatus: (status) => print({ status }), onEvent: (event) => print({ event }) },
      subscription,
    );
    return;
  }
  const view = new LiveView({
    terminal: stdout,
    clock: host.clock,
    model: createViewModel('Ctrl-C ends the display'),
  });
  view.start();
  try {
    await client.subscribe(
      {
        onStatus: (status) => {
          view.update({ kind: 'status', status });
          stopWhenBroken();
        },
        onEvent: (event) => view.update(event),
      },
      subscription,
    );
  } finally {
    view.stop();
  }
}
