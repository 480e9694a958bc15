// The server of the lab's first subject, in the namespace of an edge: sends every datagram back and tells when it came.
import { openParentChannel, setExitCode } from '../../src/host/child-process.ts';
import { NodeClock } from '../../src/host/clock.ts';
import { NodeNetwork } from '../../src/host/network.ts';

const clock = new NodeClock();
const channel = openParentChannel({
  onLine: () => undefined,
  onEnd: () => {
    setExitCode(0);
    void socket.close();
  },
});
const [localAddress = '', port = ''] = channel.args;
const socket = await new NodeNetwork().openDatagram({ localAddress, port: Number(port) });
socket.onMessage((data, from) => {
  const atMs = clock.monotonicMs();
  void socket.send(data, from);
  const [seq = '', copy = ''] = Buffer.from(data).toString('latin1').split(' ');
  if (seq !== 'probe') {
    channel.writeLine(JSON.stringify({ kind: 'arrived', seq: Number(seq), copy: Number(copy), atMs, from }));
  }
});
channel.writeLine(JSON.stringify({ kind: 'ready' }));
