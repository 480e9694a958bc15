// What moves beside the gateway's own AE: the other AEs of the bundle, what others made below them, and its announcements.
import { serveRequests } from '../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../src/coap/endpoint.ts';
import { ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import type { Seat } from './ground.ts';
import { expect } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import type { Stage } from './stage.ts';

/** AEs beside the gateway's own, each with a container; the second needs the first. */
function bundleOf(device: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  const containers = [{ path: 'state' }];
  return {
    bundle: {
      aes: [
        { name: `${device}-a`, priority: 7, containers, ...more },
        { name: `${device}-b`, priority: 3, dependsOn: [`${device}-a`], containers },
      ],
    },
  };
}

function othersOf(device: string): string[] {
  return [`${device}-a`, `${device}-b`];
}

/** An application at a CSE that subscribes to the state of the first other AE and hears its notifications. */
async function subscribeForeign(
  stage: Stage,
  seat: Seat,
): Promise<{ readonly heard: unknown[]; close(): Promise<void> }> {
  const { network, clock, entropy } = stage.host;
  const socket = await network.openDatagram({ localAddress: '127.0.0.1' });
  const endpoint = new CoapEndpoint({ socket, clock, entropy });
  const heard: unknown[] = [];
  serveRequests(endpoint, ({ requestIdentifier, primitiveContent }) => {
    const event = primitiveContent?.notification?.notificationEvent;
    if (event !== undefined) heard.push(event);
    return Promise.resolve({ responseStatusCode: ResponseStatusCode.ok, requestIdentifier });
  });
  const stem = `Capp-${stage.device}`;
  await seat.speaking(async (app) => {
    const ae = {
      resourceName: stem,
      appId: 'Napp',
      requestReachability: true,
      supportedReleaseVersions: ['4'],
      pointOfAccess: [`coap://127.0.0.1:${endpoint.local.port}`],
    };
    const registered = await app.create(seat.cseBaseName, ResourceType.ae, { ae });
    expect(registered.ok, `the application cannot register`);
    // Whoever is not its registrar may notify it only by a policy of its own.
    const own = { accessControlOriginators: [stem], accessControlOperations: 63 };
    const others = { accessControlOriginators: ['all'], accessControlOperations: 16 };
    const accessControlPolicy = {
      resourceName: 'acp',
      privileges: { accessControlRule: [own, others] },
      selfPrivileges: { accessControlRule: [own] },
    };
    const address = `${seat.cseBaseName}/${stem}`;
    const policy = await app.create(address, ResourceType.accessControlPolicy, { accessControlPolicy });
    const granted = await app.update(address, { ae: { accessControlPolicyIds: [`${address}/acp`] } });
    expect(policy.ok && granted.ok, 'the application cannot let others notify it');
    const subscription = {
      resourceName: 'watch',
      notificationUri: [stem],
      eventNotificationCriteria: { notificationEventType: [3], childResourceType: [4] },
      notificationContentType: 1,
    };
    const parent = `${seat.cseBaseName}/${stage.device}-a/state`;
    const made = await app.create(parent, ResourceType.subscription, { subscription });
    expect(made.ok, `the application cannot subscribe: ${made.ok ? '' : made.error.message}`);
  }, stem);
  return { heard, close: () => endpoint.close() };
}

/** Where the announced copies of the bundle's AEs at the IN-CSE lead to. */
async function linksOf(stage: Stage): Promise<string[]> {
  return stage.ground.inCse.speaking(async (operator) => {
    const found = await operator.discover('cse-in', { labels: [`baton:dev=${stage.device}`] });
    expect(found.ok, 'the IN-CSE cannot be searched');
    const links: string[] = [];
    for (const address of found.ok ? found.value : []) {
      const read = await operator.retrieve(address);
      const [, link] = /"link":"([^"]+)"/u.exec(JSON.stringify(read.ok ? read.value : {})) ?? [];
      if (link !== undefined) links.push(link);
    }
    return links;
  });
}

/** The scenarios of this file. */
export const bundleScenarios: readonly Scenario[] = [
  {
    name: 'bundle',
    what: 'three AEs, one of them needing another, move together, and back, and after a kill in the middle',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin(bundleOf(stage.device));
      const others = othersOf(stage.device);
      await stage.move(site, stage.seat(1));
      await stage.delivering(site);
      const killed = site.at('switching', () => site.kill());
      const ordered = site.baton('handover', '--to', stage.seat(0).cseId, '--json');
      await Promise.all([killed, ordered]);
      await site.start();
      await site.until('back', ({ serving }) => serving?.cseId === stage.seat(0).cseId);
      return stage.verdict(site, stage.seat(0), { others });
    },
  },
  {
    name: 'bundle-refused',
    what: 'one AE of the bundle cannot be registered at the target: none of them moves, none stays behind there in use',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const site = await stage.begin(bundleOf(stage.device));
      const others = othersOf(stage.device);
      const target = stage.seat(1);
      const ae = {
        resourceName: `${stage.device}-b`,
        appId: 'Nother',
        requestReachability: false,
        supportedReleaseVersions: ['4'],
      };
      const taken = await target.speaking(
        (client) => client.create(target.cseBaseName, ResourceType.ae, { ae }),
        `Cother-${stage.device}`,
      );
      expect(taken.ok, 'the obstacle cannot be made');
      const ended = await stage.order(site, target);
      expect(ended.outcome === 'rolledBack', `the order is ${ended.outcome}`);
      await target.speaking((operator) => operator.delete(`${target.cseBaseName}/${stage.device}-b`));
      await stage.delivering(site);
      return [`told: ${ended.reason}`, ...(await stage.verdict(site, stage.seat(0), { others }))];
    },
  },
  {
    name: 'foreign-subscription',
    what: 'a subscription that an application made below an AE of the bundle is made again at the target and notifies the application',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const allow = [{ originators: ['all'], operations: ['create', 'retrieve', 'notify', 'discovery'] }];
      const site = await stage.begin(bundleOf(stage.device, { allow }));
      const target = stage.seat(1);
      const application = await subscribeForeign(stage, stage.seat(0));
      try {
        await stage.move(site, target);
        const state = `${target.cseBaseName}/${stage.device}-a/state`;
        await stage.until('the subscription at the target', async () => {
          const held = await stage.held(othersOf(stage.device));
          return held.some(({ path, type }) => path.startsWith(state) && type === ResourceType.subscription);
        });
        const count = application.heard.length;
        await target.speaking((operator) =>
          operator.create(state, ResourceType.contentInstance, { contentInstance: { content: 'news' } }),
        );
        await stage.until('a notification from the target', () =>
          Promise.resolve(application.heard.length > count),
        );
        return await stage.verdict(site, target, { others: othersOf(stage.device) });
      } finally {
        await application.close();
      }
    },
  },
  {
    name: 'announcement',
    what: 'an announced AE is announced by the CSE that serves; once the AE that was left has expired, no copy leads there',
    seats: ['lasting', 'lasting'],
    run: async (stage) => {
      const handover = { graceMs: 4_000 };
      const site = await stage.begin({ handover, ...bundleOf(stage.device, { announceTo: ['/id-in'] }) });
      const leadsTo = async (seat: Seat): Promise<boolean> =>
        (await linksOf(stage)).some((link) => link.startsWith(`${seat.cseId}/`));
      await stage.until('a copy that leads to the source', () => leadsTo(stage.seat(0)));
      await stage.move(site, stage.seat(1));
      await stage.until('a copy that leads to the target', () => leadsTo(stage.seat(1)));
      const forgotten = (await stage.held()).filter(({ cse }) => cse === stage.seat(0).name);
      await stage.until('no copy that leads to the source', async () => !(await leadsTo(stage.seat(0))));
      return stage.verdict(site, stage.seat(1), { others: othersOf(stage.device), forgotten });
    },
  },
];
