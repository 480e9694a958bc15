import { resolve } from 'node:path';
import { UsageError } from '../base/errors.ts';
import type { CommandContext, CommandOption } from './command.ts';
import { loadConfig } from './load-config.ts';

const defaultConfigPath = 'baton.yaml';

/** Options by which a command says which running gateway it means. */
export const gatewayOptions: Readonly<Record<'config' | 'data', CommandOption>> = {
  config: {
    type: 'text',
    argument: 'FILE',
    summary: `configuration of the gateway (${defaultConfigPath})`,
  },
  data: { type: 'text', argument: 'DIR', summary: 'data directory of the gateway' },
};

/** The data directory of the gateway that is meant; throws `UsageError` when it is named twice. */
export async function dataDirectoryOf({ options, host }: CommandContext): Promise<string> {
  const data = options.text('data');
  const config = options.text('config');
  if (data !== undefined && config !== undefined)
    throw new UsageError('--config and --data exclude each other; give one');
  if (data !== undefined) return resolve(data);
  return (await loadConfig(host.filesystem, config ?? defaultConfigPath)).dataDirectory;
}
