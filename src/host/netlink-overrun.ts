/**
 * Keeps the `netlink` package alive when events come faster than they are read: it ends the whole process (an exception in its
 * native callback) when the kernel reports the overrun as an error of the socket (ENOBUFS). The kernel is therefore asked not
 * to report it (NETLINK_NO_ENOBUFS, netlink(7)), and the events that it dropped are found in /proc/net/netlink.
 */
import { readFile, readdir } from 'node:fs/promises';

const netlinkFamily = 16;
const netlinkLevel = 270;
const noOverrunError = 5;
const addressBytes = 12;

/** Has overruns of the socket with this port counted instead of reported; false where that cannot be done. */
export async function silenceOverruns(port: number): Promise<boolean> {
  try {
    const { default: koffi } = await import('koffi');
    const libc = koffi.load('libc.so.6');
    const getsockname = libc.func('int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint8_t *length)');
    const setsockopt = libc.func(
      'int setsockopt(int fd, int level, int name, uint8_t *value, uint32_t length)',
    );
    const one = Buffer.from([1, 0, 0, 0]);
    for (const fd of (await readdir('/proc/self/fd')).map(Number)) {
      const address = Buffer.alloc(addressBytes);
      const length = Buffer.from([addressBytes, 0, 0, 0]);
      if (getsockname(fd, address, length) !== 0 || address.readUInt16LE(0) !== netlinkFamily) continue;
      if (address.readUInt32LE(4) === port) return setsockopt(fd, netlinkLevel, noOverrunError, one, 4) === 0;
    }
  } catch {
    // Without the C library the package is as safe as it is.
  }
  return false;
}

/** Events that the kernel dropped at the socket with this port so far; undefined where it does not say. */
export async function droppedEvents(port: number): Promise<number | undefined> {
  const text = await readFile('/proc/self/net/netlink', 'latin1').catch(() => '');
  for (const line of text.split('\n')) {
    const [, protocol, owner, , , , , , drops] = line.trim().split(/\s+/u);
    if (protocol === '0' && Number(owner) === port) return Number(drops);
  }
  return undefined;
}
