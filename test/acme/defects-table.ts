// The known defects of ACME CSE, each tried again on the pinned version, with what Baton does instead. A defect that is gone
// fails its step, so that the table and the fallback are looked at.
import { assert } from '../../src/base/assert.ts';
import { millis } from '../../src/base/units.ts';
import { CoapBinding } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { encodeRequestMessage } from '../../src/coap/mapping.ts';
import type { Host } from '../../src/host/host.ts';
import { isRejectedWith } from '../../src/onem2m/cse-client.ts';
import type { CseClient, CseOutcome } from '../../src/onem2m/cse-client.ts';
import {
  FilterUsage,
  Operation,
  ResourceType,
  ResponseStatusCode,
  ResultContent,
} from '../../src/onem2m/enums.ts';
import { adminOriginator } from './acme-network.ts';
import type { AcmeNetwork } from './acme-network.ts';
import { run } from '../real/programs.ts';

/** What a probe works with: an AE of its own with a container at mn1. */
export interface ProbeBench {
  readonly host: Host;
  readonly network: AcmeNetwork;
  /** Acts as the AE `stem`. */
  readonly client: CseClient;
  readonly stem: string;
  /** CSE-relative address of the AE. */
  readonly ae: string;
}

/** What a probe found: whether the defect is there, and by what that shows. */
export interface Finding {
  readonly isThere: boolean;
  readonly shown: string;
}

/** A known defect. */
export interface Defect {
  readonly number: number;
  readonly what: string;
  readonly fallback: string;
  readonly probe: (bench: ProbeBench) => Promise<Finding>;
}

const rsc = ResponseStatusCode;
/** What ACME answers at all it answers within milliseconds; what it waits for itself takes 10 s. */
const silence = { deadlineMs: millis(2_000) };

/** All of them, numbered as they became known. */
export const defects: readonly Defect[] = [
  {
    number: 1,
    what: 'CoAP: nothing is sent for NOTIFY, nothing is answered to a discovery through an MN-CSE',
    fallback: 'commands are fetched; discovery is sent to the CSE itself',
    probe: async ({ client }) => {
      const found = await client.discover(
        '/id-in/cse-in',
        { resourceType: [ResourceType.remoteCse] },
        silence,
      );
      return { isThere: !found.ok && found.error.kind === 'deadline', shown: text(found) };
    },
  },
  {
    number: 2,
    what: 'MQTT: the answer to an outgoing request is not waited for, so a target that nobody is at is accepted',
    fallback: 'the gateway is the target of its own subscriptions, which needs no verification',
    probe: async (bench) => {
      const nobody = `mqtt://127.0.0.1:${bench.network.brokerPort}/nobody`;
      const made = await subscribe(bench, 'over-mqtt', nobody);
      return { isThere: made.ok, shown: text(made) };
    },
  },
  {
    number: 3,
    what: 'an MN-CSE does not forward to its sibling',
    fallback: 'the gateway speaks to each MN-CSE itself',
    probe: async ({ client }) => rejected(await client.retrieve('/id-mn2/cse-mn2', silence), rsc.notFound),
  },
  {
    number: 4,
    what: 'trackRegistrationPoints is stored and ignored: an AE that registers elsewhere stays active',
    fallback:
      'the serving record at the IN-CSE says where the gateway is; a source is marked as moved by label',
    probe: async ({ client, stem, network }) => {
      const tracked = { trackRegistrationPoints: true };
      const asked = await client.update(stem, { ae: tracked }, silence);
      const elsewhere = await network.speaking('mn2', stem, (other) =>
        register(other, 'cse-mn2', stem, tracked),
      );
      const read = await client.retrieve(stem, silence);
      const ae = (read.ok ? read.value.primitiveContent?.ae : undefined) as
        Record<string, unknown> | undefined;
      const status = ae?.registrationStatus;
      const isActive = elsewhere.ok && ae !== undefined && status !== 2 && status !== '2';
      await network.speaking('mn2', stem, (other) => other.delete(stem));
      return {
        isThere: isActive,
        shown: `${text(asked)}, then ${text(elsewhere)}: registrationStatus ${JSON.stringify(status) ?? 'not there'}`,
      };
    },
  },
  {
    number: 5,
    what: 'no CMDH policies: a CREATE of one is not answered, or refused',
    fallback: 'policies travel as documents in a container',
    probe: async ({ client, ae, network }) => {
      const resourceName = `${ae.split('/')[1]}-nod`;
      const content = { 'm2m:nod': { rn: resourceName, ni: resourceName } };
      const node = await network.speaking('mn1', adminOriginator, (admin) =>
        admin.create('cse-mn1', ResourceType.node, content, silence),
      );
      const policy = { 'm2m:cmp': { mgd: 1011, cpn: 'p', cmlk: [] } };
      const made = await network.speaking('mn1', adminOriginator, async (admin) => {
        const outcome = await admin.create(`cse-mn1/${resourceName}`, ResourceType.mgmtObj, policy, silence);
        await admin.delete(`cse-mn1/${resourceName}`, silence);
        return outcome;
      });
      assert(client.originator !== adminOriginator, 'the probe acts as an AE');
      return { isThere: node.ok && !made.ok, shown: `node ${text(node)}, policy ${text(made)}` };
    },
  },
  {
    number: 6,
    what: 'no DTLS: a coaps target is refused',
    fallback: 'MQTT over TLS, or a tunnel',
    probe: async (bench) => {
      const made = await subscribe(bench, 'over-dtls', 'coaps://127.0.0.1:9/ntf');
      return { isThere: !made.ok, shown: text(made) };
    },
  },
  {
    number: 7,
    what: 'a GET with an early Block2 option is acknowledged and never answered',
    fallback: 'the gateway asks for blocks only after the CSE began to send some, under one token',
    probe: async (bench) => {
      const outcome = await askRaw(bench, { block2: { number: 0, more: false, size: 64 } });
      return { isThere: outcome === undefined, shown: outcome ?? 'no answer' };
    },
  },
  {
    number: 8,
    what: 'the same request identifier in a new message is executed again',
    fallback: 'resources have names from their sequence; 4105 counts as stored',
    probe: async ({ host, network, stem, ae, client }) => {
      const container = await makeContainer(client, ae, 'twice');
      await withEndpoint(host, async (endpoint) => {
        const peer = { address: '127.0.0.1', port: network.coapPort('mn1') };
        const binding = new CoapBinding({ endpoint, clock: host.clock, peer, serialisation: 'cbor' });
        const request = {
          operation: Operation.create,
          to: container,
          from: stem,
          requestIdentifier: 'the-same',
          releaseVersionIndicator: '4',
          resourceType: ResourceType.contentInstance,
          primitiveContent: { contentInstance: { content: 1 } },
        };
        for (let time = 0; time < 2; time++) await binding.send(request, silence);
      });
      const read = await client.retrieve(container, silence);
      const held = (read.ok ? read.value.primitiveContent?.container : undefined) as
        Record<string, unknown> | undefined;
      return {
        isThere: held?.currentNrOfInstances === 2,
        shown: `${String(held?.currentNrOfInstances)} instances`,
      };
    },
  },
  {
    number: 9,
    what: 'an S stem has no scope beyond its CSE: to=/Sx is 4000',
    fallback: 'AEs are addressed below their CSE',
    probe: async ({ client, stem }) => rejected(await client.retrieve(`/${stem}`, silence), rsc.badRequest),
  },
  {
    number: 11,
    what: 'a flexContainer of an unknown definition is 4000',
    fallback: 'the gateway keeps its data in containers',
    probe: async ({ client, ae }) => {
      const content = { 'cod:own': { containerDefinition: 'org.baton.own', level: 1 } };
      return rejected(await client.create(ae, ResourceType.flexContainer, content, silence), rsc.badRequest);
    },
  },
  {
    number: 12,
    what: 'an answer without a status makes the CSE loop for ever while it forwards it',
    fallback: 'every answer of ours carries status, identifier and release, refusals included',
    probe: async ({ network }) => {
      // Tried in a process of its own: the CSE would not come back.
      const call = ['-c', 'from coapthon.utils import byte_len; byte_len(-1)'];
      const ended = await run(network.python, call, 3_000).then(
        () => 'returns',
        () => 'does not return',
      );
      return { isThere: ended === 'does not return', shown: `byte_len(-1) ${ended}` };
    },
  },
  {
    number: 13,
    what: 'lim counts children before the filter; an unescaped = in a filter value drops the whole filter',
    fallback: 'no limit is sent; = is written as %3D',
    probe: async (bench) => {
      const { client, ae, stem } = bench;
      await makeContainer(client, ae, 'unlabelled');
      await makeContainer(client, ae, 'labelled', [stem]);
      // The client keeps limits itself; this one goes to the CSE.
      const limited = await client.request(
        {
          operation: Operation.retrieve,
          to: ae,
          filterCriteria: { filterUsage: FilterUsage.discovery, labels: [stem], limit: 1 },
        },
        { ...silence, resultContent: ResultContent.discoveryResultReferences },
      );
      const all = await client.discover(ae, { labels: [stem] }, silence);
      const broken = await askRaw(bench, { query: ['fu=1', 'lbl=no=where'] });
      const escaped = await client.discover(ae, { labels: ['no=where'] }, silence);
      const count = (found: typeof all): number => (found.ok ? found.value.length : -1);
      const limitedCount = limited.ok ? (limited.value.primitiveContent?.uriList?.length ?? 0) : -1;
      const isDropped = broken?.includes('unlabelled') === true;
      return {
        isThere: count(all) === 1 && limitedCount === 0 && isDropped && count(escaped) === 0,
        shown: `${count(all)} found, ${limitedCount} with a limit; with = ${isDropped ? 'everything' : 'not everything'}, escaped ${count(escaped)}`,
      };
    },
  },
];

/** Registers an AE of its own for the probes; gives the outcome. */
export function register(
  client: CseClient,
  cseBaseName: string,
  resourceName: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<CseOutcome> {
  const ae = {
    resourceName,
    appId: 'Nbaton.probe',
    requestReachability: true,
    supportedReleaseVersions: ['4'],
  };
  return client.create(cseBaseName, ResourceType.ae, { ae: { ...ae, ...more } }, silence);
}

async function makeContainer(
  client: CseClient,
  ae: string,
  resourceName: string,
  labels?: string[],
): Promise<string> {
  const container = { resourceName, ...(labels === undefined ? {} : { labels }) };
  await client.create(ae, ResourceType.container, { container }, silence);
  return `${ae}/${resourceName}`;
}

async function subscribe({ client, ae }: ProbeBench, name: string, target: string): Promise<CseOutcome> {
  const container = await makeContainer(client, ae, name);
  const subscription = {
    notificationUri: [target],
    eventNotificationCriteria: { notificationEventType: [3] },
  };
  return client.create(container, ResourceType.subscription, { subscription }, silence);
}

/** A RETRIEVE of the AE whose message is changed; the answer's body as text, undefined without an answer. */
async function askRaw(
  { host, network, stem, ae }: ProbeBench,
  changes: Partial<ReturnType<typeof encodeRequestMessage>>,
): Promise<string | undefined> {
  const request = {
    operation: Operation.retrieve,
    to: ae,
    from: stem,
    requestIdentifier: 'raw',
    releaseVersionIndicator: '4',
  };
  return withEndpoint(host, async (endpoint) => {
    const message = { ...encodeRequestMessage(request, 'json'), ...changes };
    const peer = { address: '127.0.0.1', port: network.coapPort('mn1') };
    const answer = await endpoint.request(peer, message, silence);
    return answer.ok ? Buffer.from(answer.value.payload).toString() : undefined;
  });
}

async function withEndpoint<T>(host: Host, work: (endpoint: CoapEndpoint) => Promise<T>): Promise<T> {
  const socket = await host.network.openDatagram({ localAddress: '127.0.0.1' });
  const endpoint = new CoapEndpoint({ socket, clock: host.clock, entropy: host.entropy });
  try {
    return await work(endpoint);
  } finally {
    await endpoint.close();
  }
}

function rejected(outcome: CseOutcome, code: number): Finding {
  return { isThere: !outcome.ok && isRejectedWith(outcome.error, code), shown: text(outcome) };
}

function text(outcome: CseOutcome | Awaited<ReturnType<CseClient['discover']>>): string {
  if (!outcome.ok) {
    const { error } = outcome;
    return error.kind === 'rejected' ? `refused (${error.responseStatusCode})` : `no answer (${error.kind})`;
  }
  return Array.isArray(outcome.value)
    ? `${outcome.value.length} found`
    : `done (${outcome.value.responseStatusCode})`;
}
