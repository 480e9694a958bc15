import { IoError, UsageError, errorText } from '../../base/errors.ts';
import { printable } from '../../base/text.ts';
import { millis, seq as toSeq, streamName } from '../../base/units.ts';
import { CoapBinding } from '../../coap/coap-binding.ts';
import { CoapEndpoint } from '../../coap/endpoint.ts';
import { homeAeOf } from '../../handover/home-ae.ts';
import { ServingRecord } from '../../handover/serving-record.ts';
import { parsePointOfAccess } from '../../onem2m/address.ts';
import { CseClient } from '../../onem2m/cse-client.ts';
import type { CseFailure } from '../../onem2m/cse-client.ts';
import { ResponseStatusCode } from '../../onem2m/enums.ts';
import { ServingResolver } from '../../uplink/serving-resolver.ts';
import type { ReadingAnswer, ServingAnswer } from '../../uplink/serving-resolver.ts';
import { exitCodes, requireWord } from '../command.ts';
import type { Command, CommandContext } from '../command.ts';
import { LinkAccess } from '../link-access.ts';
import { loadConfig } from '../load-config.ts';

/** `baton resolve`: what the serving record at the IN-CSE tells of a gateway. */
export const command: Command = {
  name: 'resolve',
  summary: 'tell which CSE serves a gateway, or holds a reading of it',
  usage: [
    'resolve DEVICE [--config FILE | --in coap://HOST:PORT] [--watch] [--json]',
    'resolve DEVICE --stream STREAM --seq N [--config FILE | --in coap://HOST:PORT] [--json]',
  ],
  options: {
    'config': { type: 'text', argument: 'FILE', summary: 'configuration that names the IN-CSE (baton.yaml)' },
    'in': { type: 'text', argument: 'POA', summary: 'point of access of the IN-CSE, coap://HOST:PORT' },
    'cse-base': { type: 'text', argument: 'NAME', summary: 'name of its CSEBase, default cse-in' },
    'originator': {
      type: 'text',
      argument: 'ID',
      summary: 'who asks; default the home AE of the gateway, which may read its own record',
    },
    'stream': { type: 'text', argument: 'STREAM', summary: 'stream of the reading that is looked for' },
    'seq': { type: 'number', argument: 'N', summary: 'its sequence number', min: 1 },
    'watch': { type: 'flag', summary: 'tell every change until Ctrl-C' },
    'period-ms': {
      type: 'number',
      argument: 'N',
      summary: 'time between two looks with --watch, default 2000',
      min: 200,
      max: 3_600_000,
    },
    'timeout-ms': {
      type: 'number',
      argument: 'N',
      summary: 'wait for each answer, default 3000',
      min: 100,
      max: 60_000,
    },
    'json': { type: 'flag', summary: 'print one JSON object, with --watch one a line' },
  },
  wordsMax: 1,
  details:
    'All questions go to the IN-CSE; it passes on what concerns the CSE that serves. The answer is serving, moving (claimed,\n' +
    'the switch is under way), left (the CSE says that the gateway has gone), terminated (it was deregistered), or unclaimed;\n' +
    'for a reading held, absent (asked and not there), named (not all CSEs could be asked) or unknown. Exit code 0 for serving,\n' +
    'moving and held, else 1.',
  run: resolve,
};

async function resolve(context: CommandContext): Promise<number> {
  const { host, options, signal, stdout } = context;
  const device = requireWord(context, 0, 'DEVICE');
  const [stream, seq] = [options.text('stream'), options.number('seq')];
  if ((stream === undefined) !== (seq === undefined)) {
    throw new UsageError('--stream and --seq go together: --stream temperature --seq 17');
  }
  if (options.flag('watch') && stream !== undefined) {
    throw new UsageError('--watch tells who serves; leave it out to look for a reading');
  }
  const way = await openWay(context, device);
  try {
    const resolver = new ServingResolver({
      client: way.client,
      record: new ServingRecord(way.client, `${way.home}/serving`),
      clock: host.clock,
      device,
    });
    if (stream !== undefined && seq !== undefined) {
      const answer = await resolver.holderOf(streamName(stream), toSeq(seq), { signal });
      if (!answer.ok) throw failure(device, answer.error);
      stdout.write(options.flag('json') ? `${JSON.stringify(answer.value)}\n` : tellReading(answer.value));
      return answer.value.kind === 'held' ? exitCodes.ok : exitCodes.failed;
    }
    if (options.flag('watch')) return await watch(context, resolver);
    const answer = await resolver.current({ confirm: true, signal });
    if (!answer.ok) throw failure(device, answer.error);
    stdout.write(options.flag('json') ? `${JSON.stringify(answer.value)}\n` : tellServing(answer.value));
    return ['serving', 'moving'].includes(answer.value.kind) ? exitCodes.ok : exitCodes.failed;
  } finally {
    await way.close();
  }
}

async function watch(
  { options, stdout, signal }: CommandContext,
  resolver: ServingResolver,
): Promise<number> {
  const isJson = options.flag('json');
  const ended = new AbortController();
  const end = (): void => ended.abort();
  signal.addEventListener('abort', end, { once: true });
  await resolver.watch({
    periodMs: millis(options.number('period-ms') ?? 2000),
    confirm: true,
    signal: ended.signal,
    onAnswer: (answer) => {
      const text = answer.ok
        ? tellServing(answer.value)
        : `not known: ${printable(answer.error.message, 200)}\n`;
      stdout.write(isJson ? `${JSON.stringify(answer.ok ? answer.value : { error: answer.error })}\n` : text);
      if (stdout.isBroken) ended.abort();
    },
  });
  signal.removeEventListener('abort', end);
  return exitCodes.ok;
}

function failure(device: string, error: CseFailure): IoError {
  const isMissing = error.kind === 'rejected' && error.responseStatusCode === ResponseStatusCode.notFound;
  const isBarred =
    error.kind === 'rejected' && error.responseStatusCode === ResponseStatusCode.originatorHasNoPrivilege;
  const wayOut = isMissing
    ? '; is the name right, and was "baton provision" run for it?'
    : isBarred
      ? '; give an originator that may read it: --originator ID'
      : '';
  return new IoError(`the serving record of ${device} cannot be read: ${error.message}${wayOut}`);
}

function tellServing(answer: ServingAnswer): string {
  const { kind, entry, aeAddress, sinceUnixMs, isConfirmed, reason } = answer;
  if (entry === undefined) return 'unclaimed: the gateway has never registered at an MN-CSE\n';
  const since = new Date(sinceUnixMs ?? 0);
  const sure =
    isConfirmed === undefined ? '' : isConfirmed ? ', says the CSE too' : ', the CSE could not be asked';
  const lines = [
    `${kind}: ${entry.cse.cseId} (epoch ${entry.epoch}${sure})`,
    `  point of access  ${entry.cse.pointOfAccess}`,
    `  link             ${entry.link}`,
    `  since            ${Number.isNaN(since.getTime()) ? 'unknown' : since.toISOString()} by the clock of the gateway`,
    `  AE               ${aeAddress ?? 'none any more'}`,
    ...Object.entries(entry.aes).map(([name, id]) => `  AE-ID            ${name} ${id}`),
    ...(reason === undefined ? [] : [`  note             ${reason}`]),
  ];
  return lines.map((line) => `${printable(line, 300)}\n`).join('');
}

function tellReading(answer: ReadingAnswer): string {
  const places = 'places' in answer ? answer.places.map(({ container }) => `  ${container}`) : [];
  const lines = ((): string[] => {
    switch (answer.kind) {
      case 'held':
        return [
          `held: ${answer.place.cse.cseId} (epoch ${answer.place.epoch}${answer.isInDoubt ? ', in doubt: an earlier CSE may hold it too' : ''})`,
          `  ${answer.address}`,
        ];
      case 'named':
        return [`named, but not all could be asked (${answer.reason}):`, ...places];
      case 'absent':
        return ['absent: not delivered yet, given up, or past its expiry; asked were', ...places];
      case 'unknown':
        return [`unknown: ${answer.reason}`];
    }
  })();
  return lines.map((line) => `${printable(line, 300)}\n`).join('');
}

interface Way {
  readonly client: CseClient;
  /** Address of the home AE at the IN-CSE. */
  readonly home: string;
  close(): Promise<void>;
}

async function openWay({ host, options }: CommandContext, device: string): Promise<Way> {
  const word = options.text('in');
  const deadlineMs = millis(options.number('timeout-ms') ?? 3000);
  if (word !== undefined && options.text('config') !== undefined) {
    throw new UsageError('--config and --in exclude each other; give one');
  }
  if (word === undefined) {
    const config = await loadConfig(host.filesystem, options.text('config') ?? 'baton.yaml');
    const home = homeAeOf(device, options.text('cse-base') ?? config.inCse.cseBaseName);
    const [link] = config.links;
    if (link === undefined) throw new UsageError('the configuration has no link; give --in coap://HOST:PORT');
    // A running gateway holds the configured port; any other serves to ask.
    const { port: _, securePort: _secure, ...anyPort } = link;
    const { mqtt, security } = config;
    const access = await LinkAccess.open({ host, link: anyPort, deadlineMs, mqtt, security });
    const client = access.cseClient(config.inCse, options.text('originator') ?? home.aeId);
    return { client, home: home.address, close: () => access.close() };
  }
  const pointOfAccess = parsePointOfAccess(word);
  if (pointOfAccess?.scheme !== 'coap') {
    throw new UsageError(
      `--in "${printable(word, 80)}" is no coap://HOST:PORT; for others give --config FILE`,
    );
  }
  const home = homeAeOf(device, options.text('cse-base') ?? 'cse-in');
  const address = await host.network.resolve(pointOfAccess.host).catch((error: unknown) => {
    throw new IoError(`${pointOfAccess.host} is not known: ${errorText(error)}`, { cause: error });
  });
  const localAddress = address.includes(':') ? '::' : '0.0.0.0';
  const endpoint = new CoapEndpoint({
    socket: await host.network.openDatagram({ localAddress }),
    clock: host.clock,
    entropy: host.entropy,
  });
  const peer = { address, port: pointOfAccess.port };
  const client = new CseClient({
    binding: new CoapBinding({ endpoint, clock: host.clock, peer, serialisation: 'cbor' }),
    originator: options.text('originator') ?? home.aeId,
    entropy: host.entropy,
    deadlineMs,
  });
  return { client, home: home.address, close: () => endpoint.close() };
}
