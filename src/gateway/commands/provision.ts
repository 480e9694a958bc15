import { IoError } from '../../base/errors.ts';
import { ResponseStatusCode } from '../../onem2m/enums.ts';
import { isRejectedWith } from '../../onem2m/cse-client.ts';
import { homeAeOf, provisionHomeAe } from '../../handover/home-ae.ts';
import type { Command, CommandContext } from '../command.ts';
import { loadConfig } from '../load-config.ts';
import { LinkAccess } from '../link-access.ts';

/** `baton provision`: creates the home AE once. */
export const command: Command = {
  name: 'provision',
  summary: 'create the home AE of this gateway at the IN-CSE, once',
  usage: ['provision --config FILE [--operator ORIGINATOR]'],
  options: {
    config: { type: 'text', argument: 'FILE', summary: 'configuration, default baton.yaml' },
    operator: {
      type: 'text',
      argument: 'ORIGINATOR',
      summary: 'originator that may publish targets and commands, for example CAdmin',
    },
  },
  details:
    'The home AE stays registered at the IN-CSE for good. It holds the containers serving, cmd, targets, policy, intents\n' +
    'and events. Running the command again keeps what exists.',
  run: provision,
};

async function provision(context: CommandContext): Promise<number> {
  const { host, options, stdout } = context;
  const config = await loadConfig(host.filesystem, options.text('config') ?? 'baton.yaml');
  const operator = options.text('operator');
  const { cseBaseName, pointOfAccess } = config.inCse;
  const home = homeAeOf(config.device, cseBaseName);
  const link = config.links[0];
  if (link === undefined) throw new IoError('the configuration has no link');
  // A running gateway holds the configured port; any other serves to ask.
  const { port: _, ...anyPort } = link;
  const access = await LinkAccess.open({
    host,
    link: anyPort,
    deadlineMs: config.handover.phaseDeadlineMs,
    mqtt: config.mqtt,
    security: config.security,
  });
  try {
    const client = access.cseClient(config.inCse, home.aeId);
    const outcome = await provisionHomeAe(client, home, cseBaseName, {
      operators: operator === undefined ? [] : [operator],
      gatewayAeId: `S${config.device}`,
    });
    if (!outcome.ok) {
      const refused = isRejectedWith(outcome.error, ResponseStatusCode.originatorHasNoPrivilege);
      const wayOut = refused
        ? `allow the originator ${home.aeId} to register there`
        : `check inCse.pointOfAccess (${pointOfAccess}) and inCse.cseBaseName (${cseBaseName})`;
      throw new IoError(`the home AE ${home.address} cannot be made: ${outcome.error.message}; ${wayOut}`);
    }
    stdout.write(`home AE ${home.address} ${outcome.value === 'created' ? 'created' : 'was there, kept'}\n`);
    return 0;
  } finally {
    await access.close();
  }
}
