/**
 * TAP devices: Ethernet interfaces whose other end is this process (Documentation/networking/tuntap.rst). The kernel's calls
 * go through koffi, because Node has none for them.
 *
 * Node cannot wait for frames of a TAP device without a thread: each open device keeps one thread of libuv's pool in a blocking
 * read. So a process that opens several sets UV_THREADPOOL_SIZE above their number before it starts, and ends by a signal
 * (`endByKill`): an ordinary exit waits for these threads for ever.
 */
import * as fs from 'node:fs';
import { IoError, errorText } from '../base/errors.ts';

/** An interface that this process is the other end of. It vanishes when the process ends. */
export interface TapDevice {
  readonly name: string;
  /** Hands a frame to the interface; false when it does not take it, as when it is down. */
  write(frame: Uint8Array): boolean;
  /** Sets the receiver of frames that leave by the interface. */
  onFrame(handler: (frame: Uint8Array) => void): void;
  /** Plugs the cable in, or pulls it. */
  setCarrier(isThere: boolean): void;
}

const frameBytesMax = 9216;
const tunSetInterface = 0x4004_54ca;
const tunSetCarrier = 0x4004_54e2;
const tapWithoutHead = 0x2 | 0x1000;
const interfaceRequestBytes = 40;
const interfaceNameBytes = 16;
const newNetwork = 0x4000_0000;

interface Calls {
  setns(fd: number, kind: number): number;
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  errno(): number;
}

/**
 * Makes a TAP device in a network namespace (`ip netns add` makes those); this process stays in that namespace. Throws
 * `IoError` with the reason: no right, no /dev/net/tun, no such namespace, a name that is taken.
 */
export async function openTapDevice(options: { namespace: string; name: string }): Promise<TapDevice> {
  const { namespace, name } = options;
  const calls = await loadCalls();
  const place = `/run/netns/${namespace}`;
  const check = (result: number, what: string): void => {
    if (result >= 0) return;
    throw new IoError(`cannot ${what}: errno ${calls.errno()}; it takes root, and /dev/net/tun`);
  };
  try {
    const namespaceFd = fs.openSync(place, 'r');
    check(calls.setns(namespaceFd, newNetwork), `enter the namespace ${namespace}`);
    fs.closeSync(namespaceFd);
    const fd = fs.openSync('/dev/net/tun', 'r+');
    const request = Buffer.alloc(interfaceRequestBytes);
    request.write(name.slice(0, interfaceNameBytes - 1), 'latin1');
    request.writeUInt16LE(tapWithoutHead, interfaceNameBytes);
    check(calls.ioctl(fd, tunSetInterface, request), `make the TAP device ${name} in ${namespace}`);
    return new KernelTapDevice(name, fd, calls);
  } catch (cause) {
    if (cause instanceof IoError) throw cause;
    throw new IoError(`cannot make the TAP device ${name}: ${errorText(cause)}`, { cause });
  }
}

/** Ends this process although threads wait for frames. */
export function endByKill(): void {
  process.kill(process.pid, 'SIGKILL');
}

class KernelTapDevice implements TapDevice {
  readonly name: string;
  readonly #fd: number;
  readonly #calls: Calls;
  #handler: (frame: Uint8Array) => void = () => undefined;

  constructor(name: string, fd: number, calls: Calls) {
    this.name = name;
    this.#fd = fd;
    this.#calls = calls;
    this.#read();
  }

  write(frame: Uint8Array): boolean {
    try {
      fs.writeSync(this.#fd, frame);
      return true;
    } catch {
      return false;
    }
  }

  onFrame(handler: (frame: Uint8Array) => void): void {
    this.#handler = handler;
  }

  setCarrier(isThere: boolean): void {
    const value = Buffer.alloc(4);
    value.writeInt32LE(isThere ? 1 : 0);
    if (this.#calls.ioctl(this.#fd, tunSetCarrier, value) === 0) return;
    throw new IoError(`cannot set the carrier of ${this.name}: errno ${this.#calls.errno()}`);
  }

  #read(): void {
    const frame = Buffer.allocUnsafe(frameBytesMax);
    fs.read(this.#fd, frame, 0, frame.length, null, (cause, length) => {
      // EIO of a device that is down: nothing can come until it is up, and the next read waits for that.
      if (cause === null) this.#handler(frame.subarray(0, length));
      setImmediate(() => this.#read());
    });
  }
}

async function loadCalls(): Promise<Calls> {
  try {
    const { default: koffi } = await import('koffi');
    const libc = koffi.load('libc.so.6');
    return {
      setns: libc.func('int setns(int fd, int kind)') as Calls['setns'],
      ioctl: libc.func(
        'int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)',
      ) as Calls['ioctl'],
      errno: () => koffi.errno(),
    };
  } catch (cause) {
    throw new IoError(`TAP devices need Linux with glibc and the koffi package: ${errorText(cause)}`, {
      cause,
    });
  }
}
