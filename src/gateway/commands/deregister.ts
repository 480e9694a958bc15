import { IoError, UsageError } from '../../base/errors.ts';
import { printable } from '../../base/text.ts';
import { unixMillis } from '../../base/units.ts';
import { discoverCandidates } from '../../handover/candidate-discovery.ts';
import { servingOf, transactionOf } from '../../handover/handover-state.ts';
import type { CseReference, HandoverState } from '../../handover/handover-state.ts';
import { homeAeOf } from '../../handover/home-ae.ts';
import { terminate } from '../../handover/termination.ts';
import type { TerminationReport } from '../../handover/termination.ts';
import { randomHex } from '../../host/entropy.ts';
import { bundleOf } from '../bundle-of.ts';
import { referenceOf } from '../candidate-reference.ts';
import { exitCodes } from '../command.ts';
import type { Command, CommandContext } from '../command.ts';
import type { GatewayConfig } from '../config.ts';
import { ControlServer } from '../control-server.ts';
import { LinkAccess } from '../link-access.ts';
import { loadConfig } from '../load-config.ts';
import { openHandoverJournal } from '../stores.ts';

/** `baton deregister`: ends the registration of a gateway for good. */
export const command: Command = {
  name: 'deregister',
  summary: 'end the registration of a stopped gateway for good',
  usage: ['deregister --config FILE --yes [--json]'],
  options: {
    config: { type: 'text', argument: 'FILE', summary: 'configuration, default baton.yaml' },
    yes: { type: 'flag', summary: 'do it; without it nothing is done' },
    json: { type: 'flag', summary: 'print one JSON object' },
  },
  details:
    'Ends the serving record, marks the home AE as terminated and deletes the AEs of the gateway, with all that they hold, at\n' +
    'every CSE where they may be. Readings that are not delivered stay in the buffer. The exit code is 1 while a CSE could not\n' +
    'be reached: run it again. "baton provision" and then "baton handover --unfence" bring the gateway back.',
  run: deregister,
};

async function deregister(context: CommandContext): Promise<number> {
  const { host, options, stdout } = context;
  const config = await loadConfig(host.filesystem, options.text('config') ?? 'baton.yaml');
  if (!options.flag('yes')) {
    throw new UsageError(`this ends the registration of ${config.device} for good; add --yes to do it`);
  }
  const [link] = config.links;
  if (link === undefined) throw new IoError('the configuration has no link');
  // A gateway that runs would register again: it holds the directory, and this fails with its name.
  const lock = await ControlServer.open({
    host: { ...host, localSockets: context.localSockets },
    directory: config.dataDirectory,
    pid: context.pid,
  });
  const access = await LinkAccess.open({
    host,
    link,
    deadlineMs: config.handover.phaseDeadlineMs,
    mqtt: config.mqtt,
    security: config.security,
  });
  try {
    const report = await end(context, config, access);
    stdout.write(options.flag('json') ? `${JSON.stringify(report)}\n` : reportText(config.device, report));
    return report.left.length === 0 ? exitCodes.ok : exitCodes.failed;
  } finally {
    await access.close();
    await lock.close();
  }
}

async function end(
  { host }: CommandContext,
  config: GatewayConfig,
  access: LinkAccess,
): Promise<TerminationReport> {
  const { inCse, device, dataDirectory } = config;
  const home = homeAeOf(device, inCse.cseBaseName);
  const homeClient = access.cseClient(inCse, home.aeId);
  const journal = await openHandoverJournal({
    host,
    directory: `${dataDirectory}/state`,
    onDamage: () => undefined,
  });
  try {
    const state = await journal.load();
    const found = await discoverCandidates(homeClient, inCse.cseBaseName);
    const candidates = found.ok ? found.value.candidates : [];
    const bundle = bundleOf(config, new Map());
    const ended = await terminate({
      home,
      homeClient,
      bundle,
      clientFor: (cse) => access.cseClient(cse, bundle.aes[0].aeId),
      others: [...heldBy(state), ...candidates.flatMap((candidate) => referenceOf(candidate) ?? [])],
      nonce: randomHex(host.entropy, 8),
      nowMs: unixMillis(host.clock.unixMs()),
    });
    if (!ended.ok) throw new IoError(`the registration is not over: ${ended.error.message}; try again`);
    const { epoch } = ended.value;
    if (epoch !== undefined) {
      await journal.save({ kind: 'fenced', lastEpoch: epoch, reason: 'it was deregistered by order' });
    }
    return ended.value;
  } finally {
    await journal.close();
  }
}

/** CSEs that the last run of the gateway dealt with. */
function heldBy(state: HandoverState | undefined): CseReference[] {
  if (state === undefined) return [];
  const { source, target } = transactionOf(state) ?? {};
  return [servingOf(state)?.cse, source?.cse, target].filter((cse) => cse !== undefined);
}

function reportText(device: string, { epoch, deleted, left }: TerminationReport): string {
  const lines = [
    epoch === undefined
      ? `${device} was never registered; its home AE is marked as terminated`
      : `${device} is terminated (epoch ${epoch} ends its record)`,
    ...deleted.map((cseId) => `  deleted at ${cseId}`),
    ...left.map(({ cseId, reason }) => `  not deleted at ${cseId}: ${reason}; run this again`),
  ];
  return lines.map((line) => `${printable(line, 300)}\n`).join('');
}
