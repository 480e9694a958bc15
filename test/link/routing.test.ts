// Proves: what is to stand in the kernel for a link ends in `unreachable` and leads only over that link; edits make any routing
// fit, a second time change nothing, and never touch a number that is not ours; netlink messages survive encoding, and broken
// octets are refused, never misread; and, in a network namespace of its own where one can be made, the real kernel: set,
// repaired after somebody flushed it, nothing leaks by another link, everything gone at the end and after a crash.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import { InterfaceTable } from '../../src/host/netlink-interfaces.ts';
import type { InterfaceState } from '../../src/host/netlink-interfaces.ts';
import {
  encodeMessage,
  encodeRoute,
  encodeRule,
  messageType,
  parseMessages,
  parseRoutes,
  parseRule,
  subnetOf,
} from '../../src/host/netlink-message.ts';
import type { KernelRoute, KernelRule } from '../../src/host/netlink-message.ts';
import { parseNameServers } from '../../src/link/link-dns.ts';
import { defaultRoutingBase, editsBetween, missingGateway, routingOf } from '../../src/link/link-table.ts';
import type { Routing } from '../../src/link/link-table.ts';

const execute = promisify(execFile);
const seed = Number(process.env['SEED'] ?? 20_261_123);

function state(changes: Partial<InterfaceState> = {}): InterfaceState {
  return {
    index: 7,
    name: 'wwan0',
    up: true,
    carrier: true,
    operstate: 'up',
    mtuBytes: 1500,
    addresses: [
      { family: 4, address: '10.1.2.3', prefixLength: 24, scope: 'global', usable: true, deprecated: false },
      { family: 6, address: 'fd00::3', prefixLength: 64, scope: 'global', usable: true, deprecated: false },
      { family: 6, address: 'fe80::3', prefixLength: 64, scope: 'link', usable: true, deprecated: false },
    ],
    defaultRoutes: [{ family: 4, gateway: '10.1.2.1', metric: 100 }],
    ...changes,
  };
}
const input = (
  changes: Partial<InterfaceState> = {},
  more: object = {},
): Parameters<typeof routingOf>[0] => ({
  number: 2,
  interfaceName: 'wwan0',
  state: state(changes),
  ...more,
});
const show = ({ routes }: Routing): string[] =>
  routes.map(({ kind, destination, gateway }) =>
    `${kind} ${destination?.address ?? 'default'} ${gateway ?? ''}`.trim(),
  );

/** What the kernel would hold after these edits. */
function applied(routing: Routing, edits: ReturnType<typeof editsBetween>): Routing {
  let routes = [...routing.routes];
  let rules = [...routing.rules];
  const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
  const slot = ({ family, table, destination, metric }: KernelRoute): string =>
    JSON.stringify([family, table, destination, metric]);
  for (const edit of edits) {
    if (edit.kind === 'setRoute')
      routes = [...routes.filter((route) => slot(route) !== slot(edit.route)), edit.route];
    if (edit.kind === 'removeRoute') routes = routes.filter((route) => !same(route, edit.route));
    if (edit.kind === 'setRule') rules = [...rules, edit.rule];
    if (edit.kind === 'removeRule') rules = rules.filter((rule) => !same(rule, edit.rule));
  }
  return { routes, rules };
}

await t.test('routing of a link', async (t) => {
  const unreachable = ['unreachable default', 'unreachable default'];
  const subnets = ['unicast 10.1.2.0', 'unicast default 10.1.2.1', 'unicast fd00::'];
  t.same(show(routingOf(input())), [...unreachable, ...subnets]);
  t.same(
    show(routingOf(input({ carrier: false }))),
    unreachable,
    'no carrier: refused, not sent into the void',
  );
  t.same(show(routingOf(input({ up: false }))), unreachable);
  t.same(show(routingOf({ number: 2, interfaceName: 'wwan0', state: undefined })), unreachable, 'unplugged');
  t.equal(
    show(routingOf(input({}, { gateways: ['10.1.2.9'] })))[3],
    'unicast default 10.1.2.9',
    'as configured',
  );
  const lost = input({ defaultRoutes: [] }, { knownGateways: ['10.1.2.1'] });
  t.same(
    show(routingOf(lost)),
    [...unreachable, ...subnets],
    'the gateway it had, while the subnet is the same',
  );
  const moved = input({ defaultRoutes: [] }, { knownGateways: ['10.9.9.1'] });
  t.notOk(show(routingOf(moved)).includes('unicast default 10.9.9.1'), 'not that of another subnet');
  t.match(missingGateway(moved), /set gateway/u);
  t.same(
    routingOf(input()).rules.flatMap(({ source }) => source?.address ?? []),
    ['10.1.2.3', 'fd00::3'],
    'a rule for each address that is not of the link alone',
  );
});

await t.test('edits make any routing fit and touch nothing else', async () => {
  const anyRoute = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    table: fc.constantFrom(254, 100, 24_599, 24_600, 24_602, 24_631, 24_632),
    kind: fc.constantFrom('unicast' as const, 'unreachable' as const),
    metric: fc.constantFrom(0, 100, 4_278_198_272),
    protocol: fc.constantFrom(3, 16, 98),
  });
  const anyRule = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    priority: fc.constantFrom(0, 5270, 24_599, 24_600, 24_634, 24_695, 24_696, 32_766),
    table: fc.constantFrom(52, 254, 24_600, 24_602),
    protocol: fc.constantFrom(2, 98),
  });
  const isOurs = (edit: ReturnType<typeof editsBetween>[number]): boolean =>
    'rule' in edit
      ? edit.rule.priority >= defaultRoutingBase && edit.rule.priority < defaultRoutingBase + 96
      : edit.route.table >= defaultRoutingBase && edit.route.table < defaultRoutingBase + 32;
  fc.assert(
    fc.property(fc.uniqueArray(anyRoute, { selector: (r) => JSON.stringify([r.family, r.table, r.metric]) }), fc.uniqueArray(anyRule, { selector: JSON.stringify }), (routes, rules) => {
      const wanted = routingOf(input());
      const edits = editsBetween({ routes, rules }, wanted);
      const after = applied({ routes, rules }, edits);
      return edits.every(isOurs) && editsBetween(after, wanted).length === 0;
    }),
    { seed },
  ); // prettier-ignore
});

await t.test('messages', async (t) => {
  const route: KernelRoute = { family: 6, table: 24_600, destination: { address: 'fd00:1::', prefixLength: 64 }, kind: 'unicast', interfaceIndex: 3, gateway: 'fe80::1', metric: 100, protocol: 98 }; // prettier-ignore
  t.same(parseRoutes(encodeRoute(route)), [route]);
  const rule: KernelRule = { family: 4, priority: 24_600, table: 24_600, source: { address: '10.1.2.3', prefixLength: 32 }, protocol: 98 }; // prettier-ignore
  t.same(parseRule(encodeRule(rule)), rule);
  const { source: _, ...plain } = rule;
  t.same(parseRule(encodeRule({ ...plain, mark: 0x6018 })), { ...plain, mark: 0x6018 });
  t.same(parseRule(encodeRule({ ...plain, outInterface: 'wwan0' })), { ...plain, outInterface: 'wwan0' });
  t.same(subnetOf(4, '10.1.2.3', 23), { address: '10.1.2.0', prefixLength: 23 });
  t.same(subnetOf(6, '2001:db8::ffff:1.2.3.4', 60), { address: '2001:db8::', prefixLength: 60 });
  t.same(parseNameServers('# x\nnameserver 127.0.0.53\nnameserver 10.0.0.1\n nameserver fd00::1 # y\n'), ['10.0.0.1', 'fd00::1']); // prettier-ignore
  const types = [messageType.newLink, messageType.newAddress, messageType.newRoute, messageType.newRule];
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      fc.constantFrom(...types),
      fc.boolean(),
      (octets, type, isWhole) => {
        const data = isWhole ? encodeMessage(type, 0, 1, octets) : Buffer.from(octets);
        try {
          for (const message of parseMessages(data)) {
            new InterfaceTable().take(message);
            parseRule(message.payload);
          }
          return true;
        } catch (error) {
          return error instanceof DecodeError;
        }
      },
    ),
    { seed, numRuns: 3000 },
  );
});

const own = process.getuid?.() === 0 ? ['-n'] : ['-rn'];
const tryOut = ['ip', 'link', 'add', 'probe0', 'type', 'veth', 'peer', 'name', 'probe1'];
const why = await execute('unshare', [...own, ...tryOut]).then(
  () => undefined,
  (cause: unknown) => `no network namespace can be made here: ${String(cause).split('\n')[0]}`,
);

await t.test('the real kernel', { skip: why ?? false }, async (t) => {
  const child = fileURLToPath(new URL('routing-child.js', import.meta.url));
  const { stdout } = await execute('unshare', [...own, process.execPath, '--enable-source-maps', child], {
    timeout: 30_000,
  });
  const facts = JSON.parse(stdout) as Record<string, string[]>;
  const rules = ['24600: from 10.1.2.3 lookup 24600', '24632: from all oif w0 lookup 24600', '24664: from all fwmark 0x6018 lookup 24600']; // prettier-ignore
  const routes = ['default via 10.1.2.1 dev w0', 'unreachable default', '10.1.2.0/24 dev w0'];
  t.same(facts['set'], [...rules, ...routes], 'set');
  t.same(facts['repaired'], [...rules, ...routes], 'repaired after a flush');
  t.same(facts['down'], [...rules, 'unreachable default'], 'down: only the refusal is left');
  t.same(
    facts['downErrno'],
    ['EHOSTUNREACH'],
    'and it reaches the socket, although another link has a default route',
  );
  t.same(facts['up'], [...rules, ...routes], 'up again, with the gateway that it had');
  t.match(facts['moved']?.[0], '24600: from 10.1.9.9', 'a new address is followed');
  t.same(facts['afterCrash'], facts['moved'], 'a crash leaves it behind');
  t.same(facts['end'], [], 'the next run removes it');
  t.same(
    facts['foreign'],
    ['7: from 192.0.2.1 lookup 77', 'blackhole 192.0.2.0/24'],
    'what others set stays',
  );
  t.same(
    facts['flood'],
    ['2', '10.1.9.9', '10.78.0.1'],
    'lost events: everything is read again, and the process lives',
  );
  t.match(
    (facts['unprivileged'] ?? []).join(' '),
    /EPERM; give the service AmbientCapabilities=CAP_NET_ADMIN/u,
  );
  t.same(facts['states'], ['detected', 'up', 'down', 'up', 'parametersChange']);
});
