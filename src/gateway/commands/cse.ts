import { IoError, UsageError } from '../../base/errors.ts';
import { printable } from '../../base/text.ts';
import { millis } from '../../base/units.ts';
import { CoapBinding, serveRequests } from '../../coap/coap-binding.ts';
import { CoapEndpoint } from '../../coap/endpoint.ts';
import type { Host } from '../../host/host.ts';
import { formatPointOfAccess, requirePointOfAccess } from '../../onem2m/address.ts';
import type { PointOfAccess } from '../../onem2m/address.ts';
import type { Binding, RequestHandler } from '../../onem2m/binding.ts';
import { effectiveCapabilities } from '../../onem2m/capabilities.ts';
import type { CseCapabilities, Finding, ProbeDialect } from '../../onem2m/capabilities.ts';
import { capabilityMeanings, capabilityNames } from '../../onem2m/capability-names.ts';
import { CapabilityProbe } from '../../onem2m/capability-probe.ts';
import { ResponseStatusCode } from '../../onem2m/enums.ts';
import { requireWord } from '../command.ts';
import type { Command, CommandContext } from '../command.ts';

/** `baton cse probe`: what a CSE can do. */
export const command: Command = {
  name: 'cse',
  summary: 'find out what a CSE can do',
  usage: ['cse probe POA [--originator ID] [--json]'],
  wordsMax: 2,
  options: {
    'originator': {
      type: 'text',
      argument: 'ID',
      summary: 'AE-ID to act as; without it an AE is registered for the probe',
    },
    'sibling': {
      type: 'text',
      argument: 'CSE-ID',
      summary: 'another MN-CSE, to try whether requests are passed on to it',
    },
    'local': {
      type: 'text',
      argument: 'ADDRESS',
      summary: 'address of this machine that the CSE can notify',
    },
    'timeout-ms': {
      type: 'number',
      argument: 'N',
      min: 100,
      max: 60_000,
      summary: 'time for one request (3000)',
    },
    'json': { type: 'flag', summary: 'print one JSON object' },
  },
  details:
    'POA is a point of access such as coap://192.0.2.1:5683. What is made there for the probe is deleted again, and expires\n' +
    'within ten minutes if that fails. An AE that is in use is left alone: what would change it is not tried then.',
  run: probe,
};

async function probe(context: CommandContext): Promise<number> {
  const { host, options, stdout, signal } = context;
  requireWord(context, 0, 'what to do', ['probe']);
  const word = requireWord(context, 1, 'point of access');
  const pointOfAccess = requirePointOfAccess(word, 'POA');
  if (pointOfAccess.scheme !== 'coap') {
    throw new UsageError(
      `${word}: only coap:// can be probed from here; give the CSE's CoAP point of access`,
    );
  }
  const originator = options.text('originator');
  const siblingCseId = options.text('sibling');
  const ears = new Ears();
  const way = await openWay(host, pointOfAccess, options.text('local'), (request) => ears.take(request));
  try {
    const probing = new CapabilityProbe({
      clock: host.clock,
      entropy: host.entropy,
      bindingFor: way.bindingFor,
      protocol: 'coap',
      deadlineMs: millis(options.number('timeout-ms') ?? 3_000),
      ...(originator === undefined ? {} : { originator }),
      ...(siblingCseId === undefined ? {} : { siblingCseId }),
      ...(way.pointOfAccess === undefined ? {} : { pointOfAccess: way.pointOfAccess }),
      heard: (name, end) => ears.heard(name, end),
    });
    const known = await probing.run(capabilityNames, signal);
    if (!known.ok) throw new IoError(`${word}: no CSE answers there: ${known.error.message}`);
    const inForce = effectiveCapabilities(known.value, host.clock.unixMs());
    const report = {
      pointOfAccess: word,
      ...known.value.identity,
      requests: probing.requests,
      capabilities: inForce,
    };
    stdout.write(
      options.flag('json')
        ? `${JSON.stringify(report)}\n`
        : tell(word, known.value, inForce, probing.requests),
    );
    return 0;
  } finally {
    await way.close();
  }
}

function tell(
  word: string,
  { identity, findings }: CseCapabilities,
  inForce: Readonly<Record<string, Finding>>,
  requests: number,
): string {
  const { cseId, product, supportedReleaseVersions } = identity;
  const releases = supportedReleaseVersions.join(', ') || 'not told';
  const lines = capabilityNames.map((name) => {
    const finding = inForce[name];
    // What was found of a product says why, when a trial could not.
    const why = finding?.how === 'quirk' ? `${product}: ${finding.detail}` : (finding?.detail ?? '');
    const tried =
      finding?.how === 'quirk' && findings[name] !== undefined
        ? ` (not tried: ${findings[name].detail})`
        : '';
    return `${(finding?.value ?? 'unknown').padEnd(8)}${name.padEnd(24)}${printable(why + tried, 200)}\n${' '.repeat(32)}${capabilityMeanings[name]}\n`;
  });
  const head = `${word}  ${printable(cseId, 60)}  product ${product}  releases ${printable(releases, 60)}  ${requests} requests\n`;
  return head + lines.join('');
}

/** Notifications that the probe waits for. */
class Ears {
  readonly #waiting = new Map<string, () => void>();

  take: RequestHandler = ({ requestIdentifier, primitiveContent }) => {
    const { representation } = primitiveContent?.notification?.notificationEvent ?? {};
    const name = representation?.contentInstance?.resourceName;
    if (typeof name === 'string') this.#waiting.get(name)?.();
    return Promise.resolve({ responseStatusCode: ResponseStatusCode.ok, requestIdentifier });
  };

  heard(name: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waiting.delete(name);
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        end();
        reject(new IoError('no notification came'));
      };
      this.#waiting.set(name, () => {
        end();
        resolve();
      });
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

interface Way {
  readonly bindingFor: (dialect: ProbeDialect) => Binding;
  /** Where the CSE can notify us; undefined when that is not known. */
  readonly pointOfAccess: string | undefined;
  close(): Promise<void>;
}

async function openWay(
  host: Host,
  pointOfAccess: PointOfAccess,
  local: string | undefined,
  handler: RequestHandler,
): Promise<Way> {
  const address = await host.network.resolve(pointOfAccess.host);
  const isLoopback = /^127\.|^::1$/u.test(address);
  const known = local ?? (isLoopback ? address : undefined);
  const socket = await host.network.openDatagram({
    localAddress: known ?? (address.includes(':') ? '::' : '0.0.0.0'),
  });
  const endpoint = new CoapEndpoint({ socket, clock: host.clock, entropy: host.entropy });
  serveRequests(endpoint, handler);
  const peer = { address, port: pointOfAccess.port };
  return {
    bindingFor: ({ optionSet, serialisation }) =>
      new CoapBinding({ endpoint, clock: host.clock, peer, serialisation, dialect: { optionSet } }),
    pointOfAccess: known === undefined ? undefined : formatPointOfAccess('coap', known, endpoint.local.port),
    close: () => endpoint.close(),
  };
}
