import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { millis } from '../../../src/base/units.ts';
import { NodeClock, sleep } from '../../../src/host/clock.ts';

/** IP packets and their octets, headers included, from and to one address. */
export interface Octets {
  readonly up: number;
  readonly down: number;
  readonly packets: number;
}

/**
 * Reads every IP packet of the loopback interface once, where it is sent, and adds up the total length that its IP header
 * tells: acknowledgements, handshakes and repetitions are in it, link headers are not. Answers each line of its input with
 * the sums so far, after whatever is still queued.
 */
const script = `
import json, select, socket, sys
want = socket.inet_aton(sys.argv[1])
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
tap.bind(('lo', 0))
up = down = packets = 0
print('ready', flush=True)
while True:
    ready, _, _ = select.select([tap, sys.stdin], [], [])
    if tap in ready:
        data, (_, protocol, kind, _, _) = tap.recvfrom(65535)
        if kind != 4 or protocol != 0x0800: continue
        length = (data[2] << 8) | data[3]
        if data[12:16] == want: up += length
        elif data[16:20] == want: down += length
        else: continue
        packets += 1
    elif not sys.stdin.readline(): break
    else: print(json.dumps({'up': up, 'down': down, 'packets': packets}), flush=True)
`;

const clock = new NodeClock();
const quietMs = millis(60);

/** Counts what an address sends and receives on loopback; needs the right to open raw sockets. */
export class OctetCounter {
  readonly #child: ChildProcess;
  /** Called with the next line. */
  #take: (line: string) => void = () => undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    let said = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      const end = said.indexOf('\n');
      if (end < 0) return;
      const line = said.slice(0, end);
      said = said.slice(end + 1);
      this.#take(line);
    });
  }

  /** Throws when Python is missing or may not read packets. */
  static async open(address: string): Promise<OctetCounter> {
    const child = spawn('python3', ['-c', script, address], { stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const failed = new Promise<never>((_, reject) => {
      child.on('error', reject);
      child.on('exit', (code) => reject(new Error(said.trim().split('\n').at(-1) ?? `exit code ${code}`)));
    });
    failed.catch(() => undefined);
    const counter = new OctetCounter(child);
    await Promise.race([counter.#line(), failed]);
    return counter;
  }

  /** The sums once the line has fallen silent. */
  async read(): Promise<Octets> {
    for (let before = -1; ;) {
      await sleep(clock, quietMs);
      const answer = this.#line();
      this.#child.stdin?.write('\n');
      const octets = JSON.parse(await answer) as Octets;
      if (octets.packets === before) return octets;
      before = octets.packets;
    }
  }

  close(): void {
    this.#child.stdin?.end();
  }

  #line(): Promise<string> {
    return new Promise((resolve) => (this.#take = resolve));
  }
}
