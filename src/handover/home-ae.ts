import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { contentOf, isRejectedWith } from '../onem2m/cse-client.ts';
import type { CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { AccessControlOperations, ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import type { PrimitiveContent } from '../onem2m/resources.ts';

/** Containers of the home AE (DESIGN of the oneM2M side): what the gateway, operators and orchestrators share. */
export const homeContainers = ['serving', 'cmd', 'targets', 'policy', 'intents', 'events'] as const;

/** Labels of a home AE whose gateway is in use, and of one whose registration is over (termination.ts). */
export const homeLabels = ['baton:home'] as const;
export const terminatedLabels = ['baton:home', 'baton:state=terminated'] as const;

/** Entries of `events` that are kept. */
const eventsMax = 1000;

/** Names of the home AE of a gateway: the management AE that stays registered at the IN-CSE for good. */
export interface HomeAe {
  /** AE-ID stem, also the originator of the gateway's requests to the IN-CSE. */
  readonly aeId: string;
  /** CSE-relative address. */
  readonly address: string;
  readonly name: string;
}

/** The names that follow from the device's name. */
export function homeAeOf(device: string, inCseBaseName: string): HomeAe {
  const name = `${device}-home`;
  return { aeId: `S${name}`, name, address: `${inCseBaseName}/${name}` };
}

/** Who beside the home AE may use what is below it. */
export interface HomeRights {
  readonly operators: readonly string[];
  readonly gatewayAeId: string;
}

/**
 * Registers the home AE with its containers and access rights; what exists is kept. `client` acts as the home AE.
 * `operators` may write commands, targets, policy and intents; any CSE-relayed request of the gateway's own AE may claim.
 */
export async function provisionHomeAe(
  client: CseClient,
  home: HomeAe,
  inCseBaseName: string,
  rights: HomeRights,
): Promise<Result<'created' | 'kept', CseFailure>> {
  const registered = await client.create(
    inCseBaseName,
    ResourceType.ae,
    {
      ae: {
        resourceName: home.name,
        appId: 'Nbaton-home',
        requestReachability: false,
        supportedReleaseVersions: ['4'],
        labels: [...homeLabels],
      },
    },
    { resultContent: ResultContent.attributes },
  );
  const isOurs = registered.ok || (await isReadable(client, home));
  if (!isOurs) return err(registered.error);
  const policy = homePolicy(home, rights);
  const children = await Promise.all([
    ensure(client, home.address, ResourceType.accessControlPolicy, policy),
    ...homeContainers.map((name) =>
      ensure(client, home.address, ResourceType.container, { container: { resourceName: name } }),
    ),
  ]);
  const failed = children.find((failure) => failure !== undefined);
  if (failed !== undefined) return err(failed);
  const acpi = { accessControlPolicyIds: [`${home.address}/acp`] };
  // A change of the policies of a resource may carry nothing else (TS-0001 9.6.1.3.2).
  const granted = await Promise.all([
    client.update(home.address, { ae: acpi }),
    ...homeContainers.map((name) => client.update(`${home.address}/${name}`, { container: acpi })),
    client.update(home.address, { ae: { labels: [...homeLabels] } }),
    // Answers to triggers are of no use for ever; the serving record must not have a bound (serving-record.ts).
    client.update(`${home.address}/events`, { container: { maxNrOfInstances: eventsMax } }),
  ]);
  for (const outcome of granted) if (!outcome.ok) return outcome;
  return ok(registered.ok ? 'created' : 'kept');
}

/** The home AE may do everything there, the gateway's AE at any CSE what a claim takes, operators what they need to order. */
function homePolicy(home: HomeAe, rights: HomeRights): PrimitiveContent {
  const all = AccessControlOperations.all;
  return {
    accessControlPolicy: {
      resourceName: 'acp',
      privileges: {
        accessControlRule: [
          { accessControlOriginators: [home.aeId], accessControlOperations: all },
          {
            accessControlOriginators: [
              rights.gatewayAeId,
              `/${rights.gatewayAeId}`,
              `/*/${rights.gatewayAeId}`,
            ],
            accessControlOperations:
              AccessControlOperations.create +
              AccessControlOperations.retrieve +
              AccessControlOperations.notify +
              AccessControlOperations.discovery,
          },
          ...(rights.operators.length === 0
            ? []
            : [{ accessControlOriginators: [...rights.operators], accessControlOperations: all }]),
        ],
      },
      selfPrivileges: {
        accessControlRule: [{ accessControlOriginators: [home.aeId], accessControlOperations: all }],
      },
    },
  };
}

async function isReadable(client: CseClient, home: HomeAe): Promise<boolean> {
  const read = await client.retrieve(home.address);
  return read.ok && contentOf(read.value, 'ae').aeId?.split('/').pop() === home.aeId;
}

async function ensure(
  client: CseClient,
  parent: string,
  resourceType: ResourceType,
  content: Parameters<CseClient['create']>[2],
): Promise<CseFailure | undefined> {
  const created = await client.create(parent, resourceType, content, {
    resultContent: ResultContent.nothing,
  });
  if (created.ok || isRejectedWith(created.error, ResponseStatusCode.conflict)) return undefined;
  return created.error;
}
