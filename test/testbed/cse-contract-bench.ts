// What the checks of the contract share: the target they run against, registered AEs with unique names, a receiver of
// notifications, and waiting by polling on the target's own time.
import type { Test } from 'tap';
import { assert } from '../../src/base/assert.ts';
import type { Millis } from '../../src/base/units.ts';
import { randomHex } from '../../src/host/entropy.ts';
import type { Entropy } from '../../src/host/entropy.ts';
import type { RequestHandler } from '../../src/onem2m/binding.ts';
import type { CallOptions, CseClient, CseOutcome } from '../../src/onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import { encodeTimestamp } from '../../src/onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import type { AccessControlRule, Ae, Notification } from '../../src/onem2m/resources.ts';

/** One IN-CSE and two MN-CSEs registered at it. */
export type CseName = 'in' | 'mn1' | 'mn2';

/** How a CSE is addressed. */
export interface CseAddress {
  /** SP-relative CSE-ID, `/id-mn1`. */
  readonly cseId: string;
  /** Resource name of its CSEBase. */
  readonly cseBaseName: string;
}

/** What a CSE may lack without being useless to Baton; what is not listed here is required. */
export interface ContractCapabilities {
  /** Requests from one MN-CSE reach another through the IN-CSE. */
  readonly forwardsToSibling: boolean;
  /** Notifications reach an AE at another CSE. */
  readonly notifiesAcross: boolean;
  readonly pollingChannel: boolean;
  readonly announcement: boolean;
  readonly group: boolean;
  readonly flexContainer: boolean;
  readonly timeSeries: boolean;
  readonly nonBlocking: boolean;
  /** Bare `S` and `C` as originator of a registration are replaced by an assigned stem. */
  readonly assignsStems: boolean;
  /** `lim` counts what matches, not what is looked at. */
  readonly limitsAfterFilter: boolean;
  /** Every error carries `m2m:dbg`. */
  readonly explainsErrors: boolean;
  /** 5204 comes quickly enough to be waited for. */
  readonly verifiesUnreachable: boolean;
}

/** All of it, as the CSE of the testbed has it. */
export const allCapabilities: ContractCapabilities = {
  forwardsToSibling: true,
  notifiesAcross: true,
  pollingChannel: true,
  announcement: true,
  group: true,
  flexContainer: true,
  timeSeries: true,
  nonBlocking: true,
  assignsStems: true,
  limitsAfterFilter: true,
  explainsErrors: true,
  verifiesUnreachable: true,
};

/** Where the three CSEs of a run are, by their names. */
export const contractAddresses: Readonly<Record<CseName, CseAddress>> = {
  in: { cseId: '/id-in', cseBaseName: 'cse-in' },
  mn1: { cseId: '/id-mn1', cseBaseName: 'cse-mn1' },
  mn2: { cseId: '/id-mn2', cseBaseName: 'cse-mn2' },
};

/** A place where an AE receives requests. */
export interface NotificationEndpoint {
  readonly pointOfAccess: string;
  close(): Promise<void>;
}

/** The CSEs that the contract is run against. */
export interface ContractTarget {
  readonly name: string;
  readonly addresses: Readonly<Record<CseName, CseAddress>>;
  /** Originator that may do everything at every CSE. */
  readonly adminOriginator: string;
  readonly capabilities: ContractCapabilities;
  /** Where the names of a run come from; a target with state needs another seed each time. */
  readonly entropy: Entropy;
  /** How long something that must happen may take. */
  readonly patienceMs: Millis;
  /** A client of `originator` that sends to `cse`; closed by the suite. */
  connect(originator: string, cse: CseName): Promise<CseClient>;
  listen(handler: RequestHandler): Promise<NotificationEndpoint>;
  /** Lets time pass at the target. */
  wait(durationMs: number): Promise<void>;
  /** Wall time of the target. */
  unixMs(): number;
}

/** A registered AE with its client. */
export interface RegisteredAe {
  readonly stem: string;
  readonly client: CseClient;
  readonly cse: CseName;
  /** Structured CSE-relative address. */
  readonly path: string;
  /** SP-relative structured address. */
  readonly spPath: string;
}

/** What arrived at an AE. */
export interface Receiver {
  readonly pointOfAccess: string;
  readonly requests: RequestPrimitive[];
  /** Notifications, taken out of aggregations, verification requests left out. */
  readonly notifications: Notification[];
  readonly verifications: Notification[];
  /** Code of the answers given. */
  responseStatusCode: number;
}

/** Shared state of one run of the contract. */
export class Bench {
  readonly target: ContractTarget;
  /** Makes names of this run differ from those of any other. */
  readonly run: string;
  #count = 0;
  readonly #clients: CseClient[] = [];
  readonly #endpoints: NotificationEndpoint[] = [];
  readonly #aes: RegisteredAe[] = [];

  constructor(target: ContractTarget) {
    this.target = target;
    this.run = randomHex(target.entropy, 4);
  }

  /** A name that nothing else has. */
  name(prefix: string): string {
    return `${prefix}-${this.run}-${++this.#count}`;
  }

  base(cse: CseName): string {
    return this.target.addresses[cse].cseBaseName;
  }

  cseId(cse: CseName): string {
    return this.target.addresses[cse].cseId;
  }

  async connect(originator: string, cse: CseName): Promise<CseClient> {
    const client = await this.target.connect(originator, cse);
    this.#clients.push(client);
    return client;
  }

  admin(cse: CseName): Promise<CseClient> {
    return this.connect(this.target.adminOriginator, cse);
  }

  /** Registers a new AE; it is deleted when the run ends. */
  async ae(t: Test, cse: CseName, options: { stem?: string; attributes?: Ae } = {}): Promise<RegisteredAe> {
    const stem = options.stem ?? this.name('C');
    const resourceName = options.attributes?.resourceName ?? this.name('ae');
    const client = await this.connect(stem, cse);
    const outcome = await client.create(this.base(cse), ResourceType.ae, {
      ae: { ...aeContent(resourceName), ...options.attributes },
    });
    ok(t, outcome, ResponseStatusCode.created, `AE ${stem} registers at ${cse}`);
    const path = `${this.base(cse)}/${resourceName}`;
    const ae: RegisteredAe = { stem, client, cse, path, spPath: `${this.cseId(cse)}/${path}` };
    this.#aes.push(ae);
    return ae;
  }

  /** Creates a container under `parent` and returns its address. */
  async container(
    t: Test,
    owner: RegisteredAe,
    attributes: Record<string, unknown> = {},
    parent: string = owner.path,
  ): Promise<string> {
    const resourceName = this.name('cnt');
    const outcome = await owner.client.create(parent, ResourceType.container, {
      container: { resourceName, ...attributes },
    });
    ok(t, outcome, ResponseStatusCode.created, 'a container is created');
    return `${parent}/${resourceName}`;
  }

  /** Creates a policy under the AE, the owner keeping all rights; returns its address. */
  async policy(t: Test, owner: RegisteredAe, rules: readonly AccessControlRule[]): Promise<string> {
    const resourceName = this.name('acp');
    const own: AccessControlRule = {
      accessControlOriginators: [owner.stem, `${this.cseId(owner.cse)}/${owner.stem}`],
      accessControlOperations: 63,
    };
    const outcome = await owner.client.create(owner.path, ResourceType.accessControlPolicy, {
      accessControlPolicy: {
        resourceName,
        privileges: { accessControlRule: [own, ...rules] },
        selfPrivileges: { accessControlRule: [own] },
      },
    });
    ok(t, outcome, ResponseStatusCode.created, 'an access control policy is created');
    const path = `${owner.path}/${resourceName}`;
    const read = await owner.client.retrieve(path);
    return read.ok ? (read.value.primitiveContent?.accessControlPolicy?.resourceId ?? path) : path;
  }

  async receiver(): Promise<Receiver> {
    const requests: RequestPrimitive[] = [];
    const notifications: Notification[] = [];
    const verifications: Notification[] = [];
    const endpoint = await this.target.listen((request) => {
      requests.push(request);
      const { notification, aggregatedNotification } = request.primitiveContent ?? {};
      const all = [...(notification === undefined ? [] : [notification])];
      all.push(...(aggregatedNotification?.notification ?? []));
      for (const each of all) (each.verificationRequest === true ? verifications : notifications).push(each);
      return Promise.resolve({
        responseStatusCode: receiver.responseStatusCode,
        requestIdentifier: request.requestIdentifier,
      });
    });
    this.#endpoints.push(endpoint);
    const receiver: Receiver = {
      pointOfAccess: endpoint.pointOfAccess,
      requests,
      notifications,
      verifications,
      responseStatusCode: ResponseStatusCode.ok,
    };
    return receiver;
  }

  /** Polls `look` until it gives a value; undefined when patience ends first. */
  async eventually<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T | undefined> {
    const stepMs = 20;
    for (let waitedMs = 0; ; waitedMs += stepMs) {
      const found = await look();
      if (found !== undefined) return found;
      if (waitedMs >= this.target.patienceMs) return undefined;
      await this.target.wait(stepMs);
    }
  }

  /** Waits for the `count`-th notification. */
  arrived(receiver: Receiver, count = 1): Promise<Notification | undefined> {
    return this.eventually(() => receiver.notifications[count - 1]);
  }

  /** Wall time of the target plus `deltaMs`, as oneM2M writes it. */
  time(deltaMs: number): string {
    return encodeTimestamp(this.target.unixMs() + deltaMs);
  }

  async close(): Promise<void> {
    for (const { client, stem } of this.#aes) await client.delete(stem);
    for (const endpoint of this.#endpoints) await endpoint.close();
    for (const client of this.#clients) await client.close();
  }
}

/** Mandatory attributes of an AE. */
export function aeContent(resourceName: string): Ae {
  return {
    resourceName,
    appId: 'Nbaton.contract',
    requestReachability: true,
    supportedReleaseVersions: ['4'],
  };
}

/** Asserts success with this code and gives the response. */
export function ok(t: Test, outcome: CseOutcome, code: number, message: string): ResponsePrimitive {
  if (!outcome.ok) t.fail(`${message}: ${outcome.error.message}`);
  assert(outcome.ok, outcome.ok ? '' : `${message}: ${outcome.error.message}`);
  t.equal(outcome.value.responseStatusCode, code, message);
  return outcome.value;
}

/** Asserts that the CSE refused with one of these codes. */
export function refused(
  t: Test,
  outcome: CseOutcome,
  codes: number | readonly number[],
  message: string,
): void {
  const wanted = typeof codes === 'number' ? [codes] : codes;
  if (outcome.ok) {
    t.fail(`${message}: answered ${outcome.value.responseStatusCode}, ${wanted.join(' or ')} expected`);
    return;
  }
  const { error } = outcome;
  const got = error.kind === 'rejected' ? error.responseStatusCode : error.kind;
  t.ok(wanted.includes(got as number), `${message}: ${wanted.join(' or ')} (got ${got}: ${error.message})`);
}

/** `content` created under `to` with this name. */
export function instance(
  client: CseClient,
  to: string,
  attributes: { resourceName?: string; content: unknown; labels?: string[] },
  options: CallOptions = {},
): Promise<CseOutcome> {
  return client.create(to, ResourceType.contentInstance, { contentInstance: attributes }, options);
}
