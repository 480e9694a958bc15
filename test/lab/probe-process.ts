// In the namespace of the gateway: AccessLinks, whose events are told, and echoes from the address of a link on demand.
import { millis } from '../../src/base/units.ts';
import { openParentChannel, setExitCode } from '../../src/host/child-process.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { NetlinkNetwork } from '../../src/host/netlink.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import { AccessLinks } from '../../src/link/access-links.ts';
import { linkNames } from './lab-network.ts';

const clock = new NodeClock();
const network = new NodeNetwork();
const kernel = new NetlinkNetwork(clock);
const channel = openParentChannel({
  onLine: (line) => void ping(JSON.parse(line) as { localAddress: string; count: number; periodMs: number }),
  onEnd: () => {
    setExitCode(0);
    void links.stop().then(() => kernel.close());
  },
});
let isReady = false;
const links = new AccessLinks({
  kernel,
  clock,
  filesystem: new NodeFilesystem(),
  links: linkNames.map((name) => ({ name, interfaceName: name })),
  onEvent: ({ link, kind }) => {
    if (isReady) channel.writeLine(JSON.stringify({ link, kind, toldMs: clock.monotonicMs() }));
  },
});
links.start();
await links.ready;
channel.writeLine(JSON.stringify({ kind: 'ready' }));

async function ping(order: { localAddress: string; count: number; periodMs: number }): Promise<void> {
  const { localAddress, count, periodMs } = order;
  const socket = await network.openDatagram({ localAddress });
  const roundTripsMs: number[] = [];
  const refused: string[] = [];
  socket.onMessage((data) => {
    const [word, , sentMs = ''] = Buffer.from(data).toString('latin1').split(' ');
    if (word === 'probe') roundTripsMs.push(clock.monotonicMs() - Number(sentMs));
  });
  const to = { address: '10.65.1.2', port: 7007 };
  for (let index = 0; index < count; index++) {
    void socket.send(Buffer.from(`probe 0 ${clock.monotonicMs()}`), to).then((sent) => {
      if (!sent.ok) refused.push(sent.error.errno);
    });
    await sleep(clock, millis(periodMs));
  }
  await sleep(clock, millis(300));
  await socket.close();
  isReady = true;
  channel.writeLine(JSON.stringify({ sent: count, roundTripsMs, refused }));
}
