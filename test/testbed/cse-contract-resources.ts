// Contract, part one: what happens at a single CSE. Registration, names, instances, access control, discovery, update and
// delete, expiry, result content, errors.
import type { Test } from 'tap';
import { contentOf } from '../../src/onem2m/cse-client.ts';
import {
  FilterUsage,
  Operation,
  ResourceType,
  ResponseStatusCode,
  ResultContent,
} from '../../src/onem2m/enums.ts';
import { aeContent, instance, ok, refused } from './cse-contract-bench.ts';
import type { Bench } from './cse-contract-bench.ts';

type Check = readonly [title: string, check: (t: Test, bench: Bench) => Promise<void>];

const rsc = ResponseStatusCode;
const rcn = ResultContent;

/** Checks that need one CSE only. */
export const resourceChecks: readonly Check[] = [
  [
    'registration keeps a full stem; the AE is found under every form of its address (TS-0001 10.2.2.2, 7.2)',
    async (t, bench) => {
      const stem = bench.name('S');
      const { client, path, spPath } = await bench.ae(t, 'mn1', { stem });
      const base = bench.base('mn1');
      for (const to of [stem, path, path.replace(base, '-'), spPath, `${bench.cseId('mn1')}/${stem}`]) {
        const ae = contentOf(ok(t, await client.retrieve(to), rsc.ok, `RETRIEVE ${to}`), 'ae');
        t.equal(ae.aeId, stem);
        t.equal(ae.resourceId, stem);
      }
      const cb = contentOf(
        ok(t, await client.retrieve(base), rsc.ok, 'a registered AE reads its CSEBase'),
        'cseBase',
      );
      t.equal(cb.cseId, bench.cseId('mn1'));
    },
  ],
  [
    'a second registration of a stem is 4117 whatever the name, and the AE stays readable (TS-0004 7.4.5)',
    async (t, bench) => {
      const { client, stem, path } = await bench.ae(t, 'mn1');
      const base = bench.base('mn1');
      for (const resourceName of [path.split('/')[1] ?? '', bench.name('other')]) {
        const again = await client.create(base, ResourceType.ae, { ae: aeContent(resourceName) });
        refused(t, again, rsc.originatorHasAlreadyRegistered, `as ${resourceName}`);
      }
      const ae = contentOf(ok(t, await client.retrieve(stem), rsc.ok, 'own AE by its stem'), 'ae');
      t.equal(ae.resourceName, path.split('/')[1]);
    },
  ],
  [
    'the name of another AE is 4105 (TS-0004 7.3.3)',
    async (t, bench) => {
      const { path } = await bench.ae(t, 'mn1');
      const other = await bench.connect(bench.name('C'), 'mn1');
      const taken = await other.create(bench.base('mn1'), ResourceType.ae, {
        ae: aeContent(path.split('/')[1] ?? ''),
      });
      refused(t, taken, rsc.conflict, 'the name is taken');
    },
  ],
  [
    'a bare S or C is replaced by an assigned stem (TS-0001 10.2.2.2)',
    async (t, bench) => {
      if (!bench.target.capabilities.assignsStems) return t.comment('not offered');
      for (const from of ['S', 'C']) {
        const client = await bench.connect(from, 'mn1');
        const outcome = await client.create(
          bench.base('mn1'),
          ResourceType.ae,
          { ae: aeContent(bench.name('ae')) },
          { resultContent: rcn.attributes },
        );
        const aeId = contentOf(ok(t, outcome, rsc.created, `registered as ${from}`), 'ae').aeId ?? '';
        t.ok(aeId.length > 1 && aeId.startsWith(from), `${aeId} was assigned`);
        ok(t, await client.delete(aeId, { from: aeId }), rsc.deleted, 'and is its own owner');
      }
    },
  ],
  [
    'one S stem registers at two MN-CSEs at once (make before break)',
    async (t, bench) => {
      const stem = bench.name('S');
      const first = await bench.ae(t, 'mn1', { stem });
      const second = await bench.ae(t, 'mn2', { stem });
      ok(t, await first.client.retrieve(stem), rsc.ok, 'present at mn1');
      ok(t, await second.client.retrieve(stem), rsc.ok, 'present at mn2');
    },
  ],
  [
    'registration refuses a bad App-ID, missing and unknown attributes (TS-0004 7.4.5)',
    async (t, bench) => {
      const base = bench.base('mn1');
      const content = aeContent(bench.name('ae'));
      const { requestReachability: _rr, ...withoutReachability } = content;
      const table: [string, Record<string, unknown>][] = [
        ['App-ID without N or R', { ...content, appId: 'baton' }],
        ['requestReachability missing', withoutReachability],
        ['an attribute of no AE', { ...content, maxNrOfInstances: 4 }],
        ['an attribute that the CSE sets', { ...content, aeId: 'Cx' }],
        ['a value of the wrong type', { ...content, requestReachability: 'yes' }],
      ];
      for (const [title, ae] of table) {
        const client = await bench.connect(bench.name('C'), 'mn1');
        refused(t, await client.create(base, ResourceType.ae, { ae }), rsc.badRequest, title);
      }
    },
  ],
  [
    'UPDATE changes and null removes; what cannot be changed is 4000 and changes nothing (TS-0001 10.1.4)',
    async (t, bench) => {
      const { client, stem } = await bench.ae(t, 'mn1', { attributes: { labels: ['one'] } });
      ok(t, await client.update(stem, { ae: { labels: ['two'], appName: 'x' } }), rsc.updated, 'UPDATE');
      let ae = contentOf(ok(t, await client.retrieve(stem), rsc.ok, 'RETRIEVE'), 'ae');
      t.strictSame(ae.labels, ['two']);
      t.equal(ae.appName, 'x');
      const removed = await client.request({
        operation: 3,
        to: stem,
        primitiveContent: { ae: { labels: null } as object },
      });
      ok(t, removed, rsc.updated, 'UPDATE with null');
      ae = contentOf(ok(t, await client.retrieve(stem), rsc.ok, 'RETRIEVE'), 'ae');
      t.equal(ae.labels, undefined, 'labels are gone');
      const forbidden = await client.update(stem, { ae: { appId: 'Nother', appName: 'y' } });
      refused(t, forbidden, rsc.badRequest, 'App-ID is for CREATE only');
      ae = contentOf(ok(t, await client.retrieve(stem), rsc.ok, 'RETRIEVE'), 'ae');
      t.equal(ae.appName, 'x', 'all or nothing');
    },
  ],
  [
    'DELETE takes the subtree along, and the stem can register again (TS-0001 10.1.5)',
    async (t, bench) => {
      const ae = await bench.ae(t, 'mn1');
      const container = await bench.container(t, ae);
      ok(
        t,
        await instance(ae.client, container, { resourceName: 'e1', content: 1 }),
        rsc.created,
        'an instance',
      );
      ok(t, await ae.client.delete(ae.path), rsc.deleted, 'the AE is deleted');
      const admin = await bench.admin('mn1');
      for (const to of [ae.stem, ae.path, container, `${container}/e1`]) {
        refused(t, await admin.retrieve(to), rsc.notFound, to);
      }
      await bench.ae(t, 'mn1', { stem: ae.stem });
    },
  ],
  [
    'of eight parallel creators of one name exactly one wins: the compare-and-swap of the serving record (TS-0004 7.3.3)',
    async (t, bench) => {
      const owner = await bench.ae(t, 'in');
      const container = await bench.container(t, owner);
      const creators = await Promise.all(Array.from({ length: 8 }, () => bench.connect(owner.stem, 'in')));
      for (const resourceName of ['e1', 'e2', 'e3']) {
        const outcomes = await Promise.all(
          creators.map((client, nonce) => instance(client, container, { resourceName, content: { nonce } })),
        );
        const winners = outcomes.filter((outcome) => outcome.ok);
        t.equal(winners.length, 1, `one creator of ${resourceName}`);
        for (const outcome of outcomes) if (!outcome.ok) refused(t, outcome, rsc.conflict, 'the others');
        const winner = outcomes.findIndex((outcome) => outcome.ok);
        const read = ok(
          t,
          await owner.client.retrieve(`${container}/${resourceName}`),
          rsc.ok,
          'RETRIEVE by name',
        );
        t.strictSame(contentOf(read, 'contentInstance').content, { nonce: winner });
      }
      const latest = ok(t, await owner.client.retrieve(`${container}/la`), rsc.ok, 'latest');
      t.equal(contentOf(latest, 'contentInstance').resourceName, 'e3');
    },
  ],
  [
    'latest, oldest and limits: the oldest instances give way (TS-0001 9.6.6, 9.6.27, 9.6.28)',
    async (t, bench) => {
      const ae = await bench.ae(t, 'mn1');
      const container = await bench.container(t, ae, { maxNrOfInstances: 2 });
      refused(t, await ae.client.retrieve(`${container}/la`), rsc.notFound, 'no instance, no latest');
      for (const resourceName of ['a', 'b', 'c']) {
        const content = `value ${resourceName}`;
        ok(t, await instance(ae.client, container, { resourceName, content }), rsc.created, resourceName);
      }
      const named = async (virtual: string): Promise<string | undefined> =>
        contentOf(
          ok(t, await ae.client.retrieve(`${container}/${virtual}`), rsc.ok, virtual),
          'contentInstance',
        ).resourceName;
      t.equal(await named('la'), 'c');
      t.equal(await named('ol'), 'b');
      refused(t, await ae.client.retrieve(`${container}/a`), rsc.notFound, 'the oldest is evicted');
      const cnt = contentOf(ok(t, await ae.client.retrieve(container), rsc.ok, 'container'), 'container');
      t.equal(cnt.currentNrOfInstances, 2);
      t.equal(cnt.currentByteSize, 14);
      ok(
        t,
        await instance(ae.client, container, { resourceName: 'a', content: '' }),
        rsc.created,
        'its name is free again',
      );
    },
  ],
  [
    'a contentInstance keeps name, content of any kind, labels and size, and cannot be updated (TS-0001 9.6.7)',
    async (t, bench) => {
      const ae = await bench.ae(t, 'mn1');
      const container = await bench.container(t, ae);
      const contents: unknown[] = ['text', 7, -1.5, 5_000_000_000, { a: [1, { b: 'c' }] }, ['x', 2]];
      for (const [index, content] of contents.entries()) {
        const resourceName = `v${index}`;
        const labels = ['baton:indoubt'];
        ok(
          t,
          await instance(ae.client, container, { resourceName, content, labels }),
          rsc.created,
          resourceName,
        );
        const read = ok(t, await ae.client.retrieve(`${container}/${resourceName}`), rsc.ok, 'RETRIEVE');
        const cin = contentOf(read, 'contentInstance');
        t.strictSame(cin.content, content);
        t.strictSame(cin.labels, labels);
        t.equal(cin.resourceType, ResourceType.contentInstance);
        t.type(cin.contentSize, 'number');
      }
      refused(
        t,
        await instance(ae.client, container, { resourceName: 'v0', content: 1 }),
        rsc.conflict,
        'name taken',
      );
      const update = await ae.client.update(`${container}/v0`, { contentInstance: { labels: ['x'] } });
      refused(t, update, rsc.operationNotAllowed, 'UPDATE of a contentInstance');
      const empty = await ae.client.create(container, ResourceType.contentInstance, { contentInstance: {} });
      refused(t, empty, rsc.badRequest, 'a contentInstance without content');
      ok(t, await ae.client.delete(`${container}/v0`), rsc.deleted, 'DELETE');
    },
  ],
  [
    'foreign AEs get 4103 for every operation, unregistered originators for the CSEBase (TS-0001 9.6.1.3.2)',
    async (t, bench) => {
      const owner = await bench.ae(t, 'mn1');
      const container = await bench.container(t, owner);
      const foreign = await bench.ae(t, 'mn1');
      const no = rsc.originatorHasNoPrivilege;
      refused(t, await foreign.client.retrieve(owner.stem), no, 'RETRIEVE');
      refused(t, await foreign.client.retrieve(container), no, 'RETRIEVE below');
      refused(t, await foreign.client.update(owner.stem, { ae: { labels: ['mine'] } }), no, 'UPDATE');
      refused(t, await foreign.client.delete(container), no, 'DELETE');
      refused(t, await instance(foreign.client, container, { content: 1 }), no, 'CREATE');
      const stranger = await bench.connect(bench.name('C'), 'mn1');
      refused(t, await stranger.retrieve(bench.base('mn1')), no, 'CSEBase by an unregistered originator');
    },
  ],
  [
    'a policy grants operation by operation, wildcards included, and itself obeys its self-privileges (TS-0001 9.6.2)',
    async (t, bench) => {
      const owner = await bench.ae(t, 'mn1');
      const reader = await bench.ae(t, 'mn1');
      const writer = await bench.ae(t, 'mn1');
      const own = bench.cseId('mn1');
      const policy = await bench.policy(t, owner, [
        {
          accessControlOriginators: [`${own.slice(0, -1)}*/${reader.stem}`],
          accessControlOperations: 2 | 32,
        },
        { accessControlOriginators: [writer.stem], accessControlOperations: 1 },
      ]);
      const container = await bench.container(t, owner, { accessControlPolicyIds: [policy] });
      ok(
        t,
        await instance(owner.client, container, { resourceName: 'e1', content: 1 }),
        rsc.created,
        'owner writes',
      );
      ok(
        t,
        await reader.client.retrieve(`${container}/la`),
        rsc.ok,
        'reader reads, by a wildcard over the MN-CSEs',
      );
      const no = rsc.originatorHasNoPrivilege;
      refused(t, await instance(reader.client, container, { content: 2 }), no, 'reader writes');
      ok(
        t,
        await instance(writer.client, container, { resourceName: 'e2', content: 2 }),
        rsc.created,
        'writer writes',
      );
      refused(t, await writer.client.retrieve(`${container}/la`), no, 'writer reads');
      refused(t, await reader.client.retrieve(policy), no, 'reader reads the policy');
      const widen = await owner.client.update(policy, {
        accessControlPolicy: {
          privileges: {
            accessControlRule: [{ accessControlOriginators: ['all'], accessControlOperations: 63 }],
          },
        },
      });
      ok(t, widen, rsc.updated, 'the owner changes the rules');
      ok(t, await writer.client.retrieve(`${container}/la`), rsc.ok, 'with effect at once');
    },
  ],
  [
    'policies of a resource change alone (TS-0004 7.3.3.15)',
    async (t, bench) => {
      const owner = await bench.ae(t, 'mn1');
      const policy = await bench.policy(t, owner, []);
      const both = await owner.client.update(owner.stem, {
        ae: { accessControlPolicyIds: [policy], labels: ['x'] },
      });
      refused(t, both, rsc.badRequest, 'acpi with another attribute');
      const alone = await owner.client.update(owner.stem, { ae: { accessControlPolicyIds: [policy] } });
      ok(t, alone, rsc.updated, 'acpi alone');
      ok(t, await owner.client.retrieve(owner.stem), rsc.ok, 'the owner is in the policy');
    },
  ],
  [
    'discovery: labels are alternatives, different criteria add up, only what may be discovered is listed (TS-0001 10.2.6)',
    async (t, bench) => {
      const owner = await bench.ae(t, 'mn1');
      const foreign = await bench.ae(t, 'mn1');
      const [red, blue] = [bench.name('red'), bench.name('blue')];
      const first = await bench.container(t, owner, { labels: [red] });
      const second = await bench.container(t, owner, { labels: [blue, 'more'] });
      await bench.container(t, owner, { labels: ['other'] }, first);
      const base = bench.base('mn1');
      const found = async (labels: string[], more = {}): Promise<string[]> => {
        const outcome = await owner.client.discover(base, { labels, ...more });
        t.ok(outcome.ok, `discovery of ${labels.join(', ')}`);
        const list = outcome.ok ? outcome.value : [];
        return list.map((uri) => uri.replace(`${bench.cseId('mn1')}/`, '')).sort();
      };
      t.strictSame(await found([red]), [first]);
      t.strictSame(await found([red, blue]), [first, second].sort());
      t.strictSame(
        await found([red, blue], { resourceType: [ResourceType.container] }),
        [first, second].sort(),
      );
      t.strictSame(await found([red], { resourceType: [ResourceType.ae] }), []);
      t.strictSame(await found([bench.name('none')]), []);
      if (bench.target.capabilities.limitsAfterFilter) {
        // The client keeps limits itself; this one goes to the CSE.
        const limited = await owner.client.request(
          {
            operation: Operation.retrieve,
            to: base,
            filterCriteria: { filterUsage: FilterUsage.discovery, labels: [blue], limit: 1 },
          },
          { resultContent: rcn.discoveryResultReferences },
        );
        const count = limited.ok ? limited.value.primitiveContent?.uriList?.length : limited.error.message;
        t.equal(count, 1, 'the limit counts matches');
      }
      const outcome = await foreign.client.discover(base, { labels: [red, blue] });
      t.strictSame(outcome.ok && outcome.value, [], 'nothing for a foreign AE');
    },
  ],
  [
    'a resource and its subtree end at their expirationTime; a past one is 4000 (TS-0001 9.6.1.3.2)',
    async (t, bench) => {
      const ae = await bench.ae(t, 'mn1');
      const past = await ae.client.create(ae.path, ResourceType.container, {
        container: { expirationTime: bench.time(-10_000) },
      });
      refused(t, past, rsc.badRequest, 'et in the past');
      const expirationTime = bench.time(3000);
      const extended = await bench.container(t, ae, { expirationTime });
      const container = await bench.container(t, ae, { expirationTime });
      ok(
        t,
        await instance(ae.client, container, { resourceName: 'e1', content: 1 }),
        rsc.created,
        'an instance',
      );
      const cnt = contentOf(ok(t, await ae.client.retrieve(container), rsc.ok, 'still there'), 'container');
      t.equal(cnt.expirationTime?.slice(0, 15), expirationTime, 'et is kept as given');
      const longer = bench.time(3_600_000);
      ok(
        t,
        await ae.client.update(extended, { container: { expirationTime: longer } }),
        rsc.updated,
        'et is extended',
      );
      const gone = await bench.eventually(async () => {
        const outcome = await ae.client.retrieve(`${container}/e1`);
        return outcome.ok ? undefined : outcome;
      });
      t.ok(gone, 'gone after et');
      if (gone !== undefined) refused(t, gone, rsc.notFound, 'the instance below');
      refused(t, await ae.client.retrieve(container), rsc.notFound, 'the container');
      ok(t, await ae.client.retrieve(extended), rsc.ok, 'what was extended lives on');
    },
  ],
  [
    'result content of CREATE, RETRIEVE and DELETE (TS-0001 8.1.2)',
    async (t, bench) => {
      const ae = await bench.ae(t, 'mn1');
      const container = await bench.container(t, ae);
      const nothing = await instance(
        ae.client,
        container,
        { resourceName: 'e1', content: 1 },
        { resultContent: rcn.nothing },
      );
      const { primitiveContent } = ok(t, nothing, rsc.created, 'rcn 0');
      t.ok(primitiveContent === undefined || Object.keys(primitiveContent).length === 0, 'no body');
      const own = await instance(
        ae.client,
        container,
        { resourceName: 'e2', content: 1 },
        { resultContent: rcn.modifiedAttributes },
      );
      const cin = contentOf(ok(t, own, rsc.created, 'rcn 9'), 'contentInstance');
      t.type(cin.resourceId, 'string');
      t.equal(cin.content, undefined, 'what was sent does not come back');
      const uri = await instance(
        ae.client,
        container,
        { resourceName: 'e3', content: 1 },
        { resultContent: rcn.hierarchicalAddress },
      );
      const address = ok(t, uri, rsc.created, 'rcn 2').primitiveContent?.uri;
      t.ok(address?.endsWith(`${container}/e3`), `address ${address}`);
      const nested = ok(
        t,
        await ae.client.retrieve(ae.path, { resultContent: rcn.attributesAndChildResources }),
        rsc.ok,
        'rcn 4',
      );
      const tree = contentOf(nested, 'ae') as {
        aeId?: string;
        container?: { resourceName?: string; contentInstance?: unknown[] }[];
      };
      t.equal(tree.aeId, ae.stem);
      t.equal(tree.container?.[0]?.resourceName, container.split('/').at(-1));
      t.equal(tree.container?.[0]?.contentInstance?.length, 3, 'children of children');
      const children = ok(
        t,
        await ae.client.retrieve(ae.path, { resultContent: rcn.childResources }),
        rsc.ok,
        'rcn 8',
      );
      const only = contentOf(children, 'ae') as { aeId?: string; container?: unknown[] };
      t.equal(only.aeId, undefined);
      t.equal(only.container?.length, 1);
      const references = ok(
        t,
        await ae.client.retrieve(container, { resultContent: rcn.childResourceReferences }),
        rsc.ok,
        'rcn 6',
      );
      const list = references.primitiveContent?.resourceReferenceList?.resourceReference ?? [];
      t.strictSame(list.map(({ name }) => name).sort(), ['e1', 'e2', 'e3']);
      const wrong = await ae.client.create(
        container,
        ResourceType.contentInstance,
        { contentInstance: { content: 1 } },
        { resultContent: rcn.childResources },
      );
      refused(t, wrong, rsc.badRequest, 'rcn 8 with CREATE');
    },
  ],
  [
    'a subscription to a type that is not there, an unknown resource, an unknown parent: errors say why (TS-0004 6.6.3)',
    async (t, bench) => {
      const { client, path } = await bench.ae(t, 'mn1');
      const explains = bench.target.capabilities.explainsErrors;
      const table = [
        ['unknown resource', await client.retrieve(`${path}/nothing`), rsc.notFound],
        [
          'unknown parent',
          await client.create(`${path}/nothing`, ResourceType.container, { container: {} }),
          rsc.notFound,
        ],
        [
          'child that fits nowhere',
          await client.create(path, ResourceType.contentInstance, { contentInstance: { content: 1 } }),
          rsc.invalidChildResourceType,
        ],
        [
          'CSEBase deleted',
          await (await bench.admin('mn1')).delete(bench.base('mn1')),
          rsc.operationNotAllowed,
        ],
        [
          'request that came too late',
          await client.request({ operation: 2, to: path, requestExpirationTimestamp: bench.time(-60_000) }),
          rsc.requestTimeout,
        ],
      ] as const;
      for (const [title, outcome, code] of table) {
        refused(t, outcome, code, title);
        if (explains && !outcome.ok && outcome.error.kind === 'rejected') {
          t.ok((outcome.error.debugInfo ?? '').length > 5, `${title} is explained`);
        }
      }
    },
  ],
  [
    'a flexContainer keeps its own root and attributes (TS-0001 9.6.35)',
    async (t, bench) => {
      if (!bench.target.capabilities.flexContainer) return t.comment('not offered');
      const ae = await bench.ae(t, 'mn1');
      const resourceName = bench.name('battery');
      const content = { containerDefinition: 'org.onem2m.common.moduleclass.battery', lvl: 80 };
      const missing = await ae.client.create(ae.path, ResourceType.flexContainer, { 'cod:bat': { lvl: 1 } });
      refused(t, missing, rsc.badRequest, 'containerDefinition is mandatory');
      const created = await ae.client.create(ae.path, ResourceType.flexContainer, {
        'cod:bat': { resourceName, ...content },
      });
      ok(t, created, rsc.created, 'created');
      const to = `${ae.path}/${resourceName}`;
      ok(t, await ae.client.update(to, { 'cod:bat': { lvl: 79 } }), rsc.updated, 'updated');
      const read = ok(t, await ae.client.retrieve(to), rsc.ok, 'read').primitiveContent?.['cod:bat'];
      t.match(read, { ...content, lvl: 79, resourceName });
    },
  ],
  [
    'a time series takes each dataGenerationTime once (TS-0001 9.6.36)',
    async (t, bench) => {
      if (!bench.target.capabilities.timeSeries) return t.comment('not offered');
      const ae = await bench.ae(t, 'mn1');
      const resourceName = bench.name('ts');
      ok(
        t,
        await ae.client.create(ae.path, ResourceType.timeSeries, { timeSeries: { resourceName } }),
        rsc.created,
        'series',
      );
      const to = `${ae.path}/${resourceName}`;
      const add = (second: number): ReturnType<typeof instance> =>
        ae.client.create(to, ResourceType.timeSeriesInstance, {
          timeSeriesInstance: { dataGenerationTime: bench.time(second * 1000), content: String(second) },
        });
      const dataGenerationTime = bench.time(0);
      const same = { timeSeriesInstance: { dataGenerationTime, content: '0' } };
      ok(t, await ae.client.create(to, ResourceType.timeSeriesInstance, same), rsc.created, 'first');
      refused(t, await ae.client.create(to, ResourceType.timeSeriesInstance, same), rsc.conflict, 'again');
      ok(t, await add(100), rsc.created, 'another time');
      const latest = ok(t, await ae.client.retrieve(`${to}/la`), rsc.ok, 'latest');
      t.equal(contentOf(latest, 'timeSeriesInstance').content, '100');
    },
  ],
  [
    'a request without waiting leaves its outcome in a request resource (TS-0001 8.2.2)',
    async (t, bench) => {
      if (!bench.target.capabilities.nonBlocking) return t.comment('not offered');
      const ae = await bench.ae(t, 'mn1');
      const outcome = await ae.client.request({ operation: 2, to: ae.path, responseType: 1 });
      const uri = ok(t, outcome, rsc.acceptedNonBlockingSynch, 'accepted').primitiveContent?.uri ?? '';
      const result = await bench.eventually(async () => {
        const read = await ae.client.retrieve(uri);
        const request = read.ok
          ? (read.value.primitiveContent?.request as Record<string, unknown>)
          : undefined;
        return request?.requestStatus === 1 ? request.operationResult : undefined;
      });
      t.match(result, { responseStatusCode: rsc.ok });
    },
  ],
];
