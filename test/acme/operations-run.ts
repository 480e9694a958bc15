// The operations of the client and the probe of capabilities at ACME CSE over CoAP and CBOR: subscription, group,
// announcement, polling channel, non-blocking requests, expiration; and what the probe finds, compared with what the quirks
// table says of ACME.
import { millis } from '../../src/base/units.ts';
import { CoapBinding, serveRequests } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { randomHex } from '../../src/host/entropy.ts';
import type { Host } from '../../src/host/host.ts';
import { announce } from '../../src/onem2m/announcement.ts';
import { capabilityNames } from '../../src/onem2m/capability-names.ts';
import { CapabilityProbe } from '../../src/onem2m/capability-probe.ts';
import { isRejectedWith } from '../../src/onem2m/cse-client.ts';
import type { CseClient } from '../../src/onem2m/cse-client.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import { createGroup, fanOut, updateMembers } from '../../src/onem2m/groups.ts';
import { requestSynch } from '../../src/onem2m/non-blocking.ts';
import { PollingChannel } from '../../src/onem2m/polling-channel.ts';
import { quirksOf } from '../../src/onem2m/quirks.ts';
import { SubscriptionVerifier } from '../../src/onem2m/subscriptions.ts';
import type { Report } from '../real/report.ts';
import { StepError, runSteps } from '../real/steps.ts';
import type { AcmeNetwork } from './acme-network.ts';
import { register } from './defects-table.ts';

/** Name of this part of a run. */
export const operationsPart = 'client operations';

const address = '127.0.0.1';
const limits = { deadlineMs: millis(5_000) };

/** Runs all steps; each is reported. */
export async function runOperations(host: Host, network: AcmeNetwork, report: Report): Promise<void> {
  const stem = `Sops${randomHex(host.entropy, 4)}`;
  await network.speaking('mn1', stem, async (client) => {
    const run = new OperationsRun(host, network, client, stem);
    await runSteps({ clock: host.clock, report, part: operationsPart, notices: () => [] }, [
      ['an AE with a container', () => run.open()],
      ['a subscription for itself needs no verification', () => run.subscribe()],
      ['a group answers by member', () => run.group()],
      ['an announcement names its copy', () => run.announce()],
      ['a polling channel hands requests over and takes answers up', () => run.poll()],
      ['a non-blocking request, its result fetched', () => run.nonBlocking()],
      ['a request carries its expiration through an MN-CSE', () => run.expiration()],
      ['the probe finds what the table of quirks says, and leaves nothing behind', () => run.probe()],
    ]).finally(() => client.delete(stem));
  });
}

class OperationsRun {
  readonly #host: Host;
  readonly #network: AcmeNetwork;
  readonly #client: CseClient;
  readonly #stem: string;
  readonly #ae: string;

  constructor(host: Host, network: AcmeNetwork, client: CseClient, stem: string) {
    this.#host = host;
    this.#network = network;
    this.#client = client;
    this.#stem = stem;
    this.#ae = `cse-mn1/${stem}`;
  }

  async open(): Promise<readonly string[]> {
    const more = { requestReachability: false, labels: [this.#stem] };
    const made = await register(this.#client, 'cse-mn1', this.#stem, more);
    if (!made.ok) throw new StepError(made.error.message);
    for (const resourceName of ['one', 'two']) await this.#container(resourceName);
    return [];
  }

  async subscribe(): Promise<readonly string[]> {
    const verifier = new SubscriptionVerifier();
    const subscription = {
      resourceName: 'sub',
      notificationUri: [this.#stem],
      eventNotificationCriteria: { notificationEventType: [3], childResourceType: [4] },
    };
    const made = await verifier.subscribe(this.#client, `${this.#ae}/one`, subscription, limits);
    if (!made.ok) throw new StepError(made.error.message);
    if (made.value.isVerified) throw new StepError('it was verified');
    const removed = await this.#client.delete(made.value.address);
    return [`${made.value.resourceId ?? 'no ID told'}, removed: ${removed.ok}`];
  }

  async group(): Promise<readonly string[]> {
    const memberIds = ['one', 'two'].map((name) => `${this.#ae}/${name}`);
    const group = { resourceName: 'grp', memberIds, maxNrOfMembers: 5, memberType: ResourceType.container };
    const made = await createGroup(this.#client, this.#ae, group, limits);
    if (!made.ok) throw new StepError(made.error.message);
    const call = {
      operation: Operation.create,
      resourceType: ResourceType.contentInstance,
      primitiveContent: { contentInstance: { resourceName: 'g1', content: 7 } },
    };
    const fanned = await fanOut(this.#client, made.value, call, limits);
    if (!fanned.ok) throw new StepError(fanned.error.message);
    const codes = fanned.value.map(({ outcome }) => outcome.ok && outcome.value.responseStatusCode);
    if (codes.join() !== '2001,2001') throw new StepError(`answers ${codes.join()}`);
    const below = await fanOut(
      this.#client,
      made.value,
      { operation: Operation.retrieve, below: 'la' },
      limits,
    );
    const contents = below.ok
      ? below.value.map(
          ({ outcome }) => outcome.ok && outcome.value.primitiveContent?.contentInstance?.content,
        )
      : [below.error.message];
    if (contents.join() !== '7,7') throw new StepError(`contents ${contents.join()}`);
    const updated = await updateMembers(this.#client, made.value, memberIds.slice(1), limits);
    if (!updated.ok) throw new StepError(updated.error.message);
    return [`${codes.length} members, named ${fanned.value.map(({ member }) => member ?? 'not').join()}`];
  }

  async announce(): Promise<readonly string[]> {
    const call = { to: this.#ae, root: 'ae', cseId: '/id-in', attributes: ['lbl'] } as const;
    const copy = await announce(this.#client, this.#host.clock, call, limits);
    if (!copy.ok) throw new StepError(copy.error.message);
    const again = await announce(this.#client, this.#host.clock, call, limits);
    if (!again.ok || again.value !== copy.value) throw new StepError('announced twice');
    return [copy.value];
  }

  async poll(): Promise<readonly string[]> {
    const { clock, entropy } = this.#host;
    const pollingChannel = { resourceName: 'pch' };
    const made = await this.#client.create(this.#ae, ResourceType.pollingChannel, { pollingChannel }, limits);
    if (!made.ok) throw new StepError(made.error.message);
    const handed: string[] = [];
    const channel = new PollingChannel({
      client: this.#client,
      clock,
      entropy,
      address: `${this.#ae}/pch`,
      pollMs: millis(3_000),
      handler: ({ requestIdentifier, primitiveContent }) => {
        handed.push(primitiveContent?.notification?.subscriptionReference ?? '?');
        return Promise.resolve({ responseStatusCode: ResponseStatusCode.ok, requestIdentifier });
      },
    });
    const over = new AbortController();
    const polling = channel.run(over.signal);
    const answers: boolean[] = [];
    for (const subscriptionReference of ['r1', 'r2', 'r3']) {
      const sent = await this.#client.notify(this.#stem, { notification: { subscriptionReference } }, limits);
      answers.push(sent.ok);
    }
    over.abort();
    await polling;
    const { polls, unanswered, repeats } = channel.figures;
    await this.#client.delete(`${this.#ae}/pch`);
    if (handed.join() !== 'r1,r2,r3' || answers.includes(false)) {
      throw new StepError(`handed over ${handed.join()}, answers ${answers.join()}`);
    }
    return [`${polls} polls, ${repeats} repeats, ${unanswered} unanswered`];
  }

  async nonBlocking(): Promise<readonly string[]> {
    const { clock } = this.#host;
    const call = { operation: Operation.retrieve, to: `${this.#ae}/one` };
    const got = await requestSynch(this.#client, clock, call, limits);
    if (!got.ok) throw new StepError(got.error.message);
    if (got.value.primitiveContent?.container?.resourceName !== 'one') throw new StepError('another result');
    const missing = await requestSynch(this.#client, clock, { ...call, to: `${this.#ae}/none` }, limits);
    const isTold = !missing.ok && isRejectedWith(missing.error, ResponseStatusCode.notFound);
    return [
      `a refusal comes ${isTold ? 'as such' : missing.ok ? 'as a result' : `as ${missing.error.message}`}`,
    ];
  }

  async expiration(): Promise<readonly string[]> {
    const there = await this.#client.retrieve('/id-in/cse-in', limits);
    const isAnswered = there.ok || isRejectedWith(there.error, ResponseStatusCode.originatorHasNoPrivilege);
    if (!isAnswered) throw new StepError(there.error.message);
    const late = await this.#client.request(
      { operation: Operation.retrieve, to: this.#ae, requestExpirationTimestamp: '-1000' },
      limits,
    );
    const isRefused = !late.ok && isRejectedWith(late.error, ResponseStatusCode.requestTimeout);
    if (!isRefused) throw new StepError(`an expired request is ${late.ok ? 'executed' : late.error.message}`);
    return [];
  }

  async probe(): Promise<readonly string[]> {
    const { network, clock, entropy } = this.#host;
    const socket = await network.openDatagram({ localAddress: address });
    const endpoint = new CoapEndpoint({ socket, clock, entropy });
    serveRequests(endpoint, ({ requestIdentifier }) =>
      Promise.resolve({ responseStatusCode: ResponseStatusCode.ok, requestIdentifier }),
    );
    const peer = { address, port: this.#network.coapPort('mn1') };
    const probe = new CapabilityProbe({
      clock,
      entropy,
      protocol: 'coap',
      bindingFor: ({ optionSet, serialisation }) =>
        new CoapBinding({ endpoint, clock, peer, serialisation, dialect: { optionSet } }),
      cseId: '/id-mn1',
      siblingCseId: '/id-mn2',
      pointOfAccess: `coap://${address}:${endpoint.local.port}`,
      // Nothing is expected; should something come, it shows in what is found.
      heard: (_name, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new StepError('silence')), { once: true }),
        ),
      deadlineMs: millis(2_000),
    });
    try {
      const known = await probe.run(capabilityNames);
      if (!known.ok) throw new StepError(known.error.message);
      const { identity, findings } = known.value;
      const quirks = quirksOf('acme');
      const wrong = Object.entries(findings).flatMap(([name, { value, detail }]) => {
        const listed = quirks[name as keyof typeof quirks]?.value;
        return value === 'unknown' || listed === undefined || listed === value
          ? []
          : [`${name} is ${value} (${detail}), listed as ${listed}`];
      });
      if (identity.product !== 'acme') wrong.push(`taken for ${identity.product}`);
      const left = await this.#network.speaking('mn1', 'CAdmin', (admin) =>
        admin.discover('cse-mn1', { labels: ['baton:probe'] }),
      );
      if (!left.ok || left.value.length > 0)
        wrong.push(`left behind: ${left.ok ? left.value.join() : left.error.message}`);
      if (wrong.length > 0) throw new StepError(wrong.join('; '));
      return [
        `${probe.requests} requests, ${identity.cseId}`,
        ...Object.entries(findings).map(([name, { value, detail }]) =>
          `${name}: ${value} (${detail})`.slice(0, 160),
        ),
      ];
    } finally {
      await endpoint.close();
    }
  }

  async #container(resourceName: string): Promise<void> {
    const made = await this.#client.create(
      this.#ae,
      ResourceType.container,
      { container: { resourceName } },
      limits,
    );
    if (!made.ok) throw new StepError(made.error.message);
  }
}
