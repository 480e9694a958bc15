// Run by routing.test.ts in a network namespace of its own: AccessLinks on a pair of interfaces, facts as JSON.
import { execFileSync } from 'node:child_process';
import { millis } from '../../src/base/units.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { NetlinkNetwork } from '../../src/host/netlink.ts';
import type { KernelNetwork } from '../../src/host/netlink.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import { AccessLinks } from '../../src/link/access-links.ts';

const clock = new NodeClock();
const filesystem = new NodeFilesystem();
const facts: Record<string, string[]> = {};
const states: string[] = [];
const problems: string[] = [];

const ip = (text: string): string => execFileSync('ip', text.split(' '), { encoding: 'utf8' });
const lines = (text: string): string[] =>
  ip(text)
    .split('\n')
    .map((line) =>
      line
        .replace(/ (proto|metric|scope) \S+| onlink/gu, '')
        .replace(/\s+/gu, ' ')
        .trim(),
    )
    .filter(Boolean);
const ours = (): string[] => [
  ...lines('rule').filter((line) => line.startsWith('246')),
  ...lines('-4 route show table all').filter((line) => line.includes('table 24600')).map((line) => line.replace(' table 24600', '')),
]; // prettier-ignore

/** Waits until what is found stays the same for a moment, two seconds at most. */
async function settled(): Promise<string[]> {
  let last = '';
  for (let still = 0, turn = 0; still < 4 && turn < 20; turn++) {
    await sleep(clock, millis(100));
    const now = JSON.stringify(ours());
    still = now === last ? still + 1 : 0;
    last = now;
  }
  return ours();
}
async function open(kernel: KernelNetwork): Promise<AccessLinks> {
  const links = new AccessLinks({
    kernel,
    clock,
    filesystem,
    links: [{ name: 'wwan', interfaceName: 'w0' }],
    onEvent: ({ kind }) => states.push(kind),
    onProblem: (_, text) => {
      if (text !== undefined) problems.push(text);
    },
  });
  links.start();
  await links.ready;
  return links;
}

for (const text of [
  'link set lo up',
  'link add w0 type veth peer name p0',
  // No address of its own, whose coming would have the routing looked at whatever else happened.
  'link set w0 addrgenmode none',
  'link add x0 type veth peer name y0',
  'link set p0 up',
  'link set w0 up',
  'link set y0 up',
  'link set x0 up',
  'addr add 10.5.5.5/24 dev x0',
  'route add default via 10.5.5.1 dev x0 metric 500',
  'rule add pref 7 from 192.0.2.1 table 77',
  'route add blackhole 192.0.2.0/24 table 77',
]) {
  ip(text);
}
const kernel = new NetlinkNetwork(clock);
const first = await open(kernel);
ip('addr add 10.1.2.3/24 dev w0');
ip('route add default via 10.1.2.1 dev w0 metric 100');
facts['set'] = await settled();
const socket = await new NodeNetwork().openDatagram({ localAddress: '10.1.2.3' });
ip('rule del pref 24600');
ip('route flush table 24600');
facts['repaired'] = await settled();
ip('link set w0 down');
const sent = await socket.send(Buffer.from('x'), { address: '198.51.100.1', port: 9 });
facts['downErrno'] = [sent.ok ? 'sent' : sent.error.errno];
facts['down'] = await settled();
await socket.close();
ip('link set w0 up');
facts['up'] = await settled();
ip('addr add 10.1.9.9/24 dev w0');
ip('addr del 10.1.2.3/24 dev w0');
facts['moved'] = await settled();
facts['states'] = [...states];
// The crash: nothing is closed; the second run begins with what is there.
facts['afterCrash'] = ours();
await (await open(kernel)).stop();
facts['end'] = ours();
facts['foreign'] = [
  ...lines('rule').filter((line) => line.startsWith('7:')),
  ...lines('route show table 77'),
];
const refusing: KernelNetwork = {
  watch: (...handlers) => kernel.watch(...handlers),
  routes: () => kernel.routes(),
  rules: () => kernel.rules(),
  change: (edit) =>
    Promise.resolve({
      ok: false,
      error: {
        errno: 'EPERM',
        message: `refused ${edit.kind}: EPERM; give the service AmbientCapabilities=CAP_NET_ADMIN`,
      },
    }),
  close: () => undefined,
};
problems.length = 0;
await (await open(refusing)).stop();
facts['unprivileged'] = problems;
// More events than any buffer holds, while this process does not read.
const flood = Array.from({ length: 3000 }, (_, at) => `10.77.${at >> 8}.${at & 255}/32 dev w0`);
let completes = 0;
let addresses: string[] = [];
const cancelWatch = kernel.watch(
  (event) => {
    if (event.kind === 'complete') completes++;
    if (event.kind === 'interface' && event.state.name === 'w0') {
      addresses = event.state.addresses.map(({ address }) => address);
    }
  },
  () => undefined,
);
await sleep(clock, millis(300));
const batch = [
  ...flood.flatMap((text) => [`addr add ${text}`, `addr del ${text}`]),
  'addr add 10.78.0.1/32 dev w0',
];
execFileSync('ip', ['-batch', '-'], { input: `${batch.join('\n')}\n` });
for (let turn = 0; turn < 40 && completes < 2; turn++) await sleep(clock, millis(100));
cancelWatch();
facts['flood'] = [`${completes}`, ...addresses];
void first;
console.log(JSON.stringify(facts));
process.exit(0);
