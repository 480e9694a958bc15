/**
 * A pseudo terminal: the far end of a serial line that exists in software only. The far side opens `path` with any
 * serial library and cannot tell it from a raw device.
 *
 * The calls go to the C library through koffi, because Node has none for it. One extra descriptor (the keeper) holds
 * the far side open: without it the near side reads EIO whenever nobody else has the device open. The line discipline
 * is made raw, so that nothing is echoed or rewritten.
 *
 * Node's own terminal streams write to this end with blocking calls, which would stop the whole process as soon as
 * the far side does not read. So the stream only reads; octets are written without blocking and what the kernel does
 * not take waits here.
 */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { readlink, rename, symlink, unlink } from 'node:fs/promises';
import { ReadStream } from 'node:tty';
import { IoError, errnoCode, errorText } from '../base/errors.ts';

/** The near end of an open pseudo terminal. */
export interface PseudoTerminal {
  /** What the far side opens: the link when one was asked for, else the device itself. */
  readonly path: string;
  /**
   * Sends octets to the far side. Returns false, and sends nothing, when so much is waiting there unread that a real
   * line would have lost it.
   */
  write(data: Uint8Array): boolean;
  /** Sets the receiver of what the far side writes. */
  onData(handler: (data: Uint8Array) => void): void;
  /** Ends the terminal as an unplugged device ends: the far side sees its line close. Calling it twice is fine. */
  hangUp(): Promise<void>;
}

/** Octets waiting for a far side that does not read, on top of the few KiB that the kernel holds. */
const waitingBytesMax = 65_536;
/** Pause before octets that the kernel did not take are offered again. */
const retryMs = 2;
const termiosBytes = 128;
const pathBytes = 256;
const libcNames: readonly string[] = [
  'libc.so.6',
  'libc.so',
  `libc.musl-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`,
];

/**
 * Opens a pseudo terminal. `link` is a path under which it can be opened whatever its number, as `/dev/serial/by-id`
 * does for real devices; an existing link is replaced, and removed again by `hangUp`. Throws `IoError` where the C
 * library cannot be called or the system has no terminal left.
 */
export async function openPseudoTerminal(options: { link?: string } = {}): Promise<PseudoTerminal> {
  const libc = await loadLibc();
  const masterFd = libc.openMaster();
  let keeperFd = -1;
  try {
    const device = libc.deviceOf(masterFd);
    keeperFd = fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_NOCTTY);
    libc.makeRaw(keeperFd, device);
    if (options.link !== undefined) await placeLink(device, options.link);
    return new NodePseudoTerminal(masterFd, keeperFd, device, options.link);
  } catch (cause) {
    fs.closeSync(masterFd);
    if (keeperFd >= 0) fs.closeSync(keeperFd);
    if (cause instanceof IoError) throw cause;
    throw new IoError(`cannot open a pseudo terminal: ${errorText(cause)}`, { cause });
  }
}

class NodePseudoTerminal implements PseudoTerminal {
  readonly path: string;
  readonly #device: string;
  readonly #link: string | undefined;
  readonly #masterFd: number;
  readonly #keeperFd: number;
  readonly #stream: ReadStream;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #retry: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;

  constructor(masterFd: number, keeperFd: number, device: string, link: string | undefined) {
    this.path = link ?? device;
    this.#device = device;
    this.#link = link;
    this.#masterFd = masterFd;
    this.#keeperFd = keeperFd;
    this.#stream = new ReadStream(masterFd);
    this.#stream.on('error', () => undefined); // reported by `close`, and the owner learns nothing it could act on
  }

  write(data: Uint8Array): boolean {
    if (this.#ended !== undefined || this.#waitingBytes + data.length > waitingBytesMax) return false;
    this.#waiting.push(Uint8Array.from(data));
    this.#waitingBytes += data.length;
    if (this.#retry === undefined) this.#flush();
    return true;
  }

  onData(handler: (data: Uint8Array) => void): void {
    this.#stream.removeAllListeners('data');
    this.#stream.on('data', handler);
  }

  hangUp(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  #flush(): void {
    this.#retry = undefined;
    for (let data = this.#waiting[0]; data !== undefined; data = this.#waiting[0]) {
      const written = writeSome(this.#masterFd, data);
      this.#waitingBytes -= written;
      if (written === data.length) {
        this.#waiting.shift();
        continue;
      }
      this.#waiting[0] = data.subarray(written);
      this.#retry = setTimeout(() => this.#flush(), retryMs);
      return;
    }
  }

  async #end(): Promise<void> {
    clearTimeout(this.#retry);
    this.#waiting = [];
    // The link goes first: whoever reopens at once must not reach the dying device.
    if (this.#link !== undefined) await removeLink(this.#device, this.#link);
    const closed = new Promise<void>((resolve) => this.#stream.once('close', () => resolve()));
    this.#stream.destroy();
    await closed;
    fs.closeSync(this.#keeperFd);
  }
}

/**
 * Octets that are off our hands now: none when the kernel's buffer is full, all when the far side has gone, as on a
 * wire.
 */
function writeSome(fd: number, data: Uint8Array): number {
  try {
    return fs.writeSync(fd, data);
  } catch (cause) {
    return errnoCode(cause) === 'EAGAIN' ? 0 : data.length;
  }
}

async function placeLink(device: string, link: string): Promise<void> {
  const fresh = `${link}.${randomBytes(4).toString('hex')}`;
  try {
    await symlink(device, fresh);
    await rename(fresh, link);
  } catch (cause) {
    await unlink(fresh).catch(() => undefined);
    throw new IoError(
      `cannot place the link ${link} to ${device}: ${errorText(cause)}; is its folder there and writable?`,
      {
        cause,
      },
    );
  }
}

async function removeLink(device: string, link: string): Promise<void> {
  try {
    if ((await readlink(link)) === device) await unlink(link);
  } catch (cause) {
    if (errnoCode(cause) === 'ENOENT' || errnoCode(cause) === 'EINVAL') return;
    throw new IoError(`cannot remove the link ${link}: ${errorText(cause)}`, { cause });
  }
}

interface Libc {
  openMaster(): number;
  deviceOf(masterFd: number): string;
  makeRaw(fd: number, device: string): void;
}

let loading: Promise<Libc> | undefined;

function loadLibc(): Promise<Libc> {
  loading ??= bindLibc();
  return loading;
}

async function bindLibc(): Promise<Libc> {
  const wayOut =
    'pseudo terminals need Linux with glibc or musl and the koffi package; use a real serial port instead';
  if (process.platform !== 'linux') throw new IoError(`no pseudo terminal on ${process.platform}: ${wayOut}`);
  const failures: string[] = [];
  try {
    const { default: koffi } = await import('koffi');
    for (const name of libcNames) {
      try {
        return declareCalls(koffi.load(name));
      } catch (cause) {
        failures.push(`${name}: ${errorText(cause)}`);
      }
    }
  } catch (cause) {
    failures.push(`koffi: ${errorText(cause)}`);
  }
  throw new IoError(`cannot call the C library (${failures.join('; ')}): ${wayOut}`);
}

interface Library {
  func(declaration: string): unknown;
}

function declareCalls(library: Library): Libc {
  const declare = (declaration: string): ((...args: unknown[]) => unknown) =>
    library.func(declaration) as (...args: unknown[]) => unknown;
  const posixOpenpt = declare('int posix_openpt(int flags)');
  const grantpt = declare('int grantpt(int fd)');
  const unlockpt = declare('int unlockpt(int fd)');
  const ptsname = declare('int ptsname_r(int fd, _Out_ uint8_t *buffer, size_t size)');
  const tcgetattr = declare('int tcgetattr(int fd, _Out_ uint8_t *termios)');
  const cfmakeraw = declare('void cfmakeraw(_Inout_ uint8_t *termios)');
  const tcsetattr = declare('int tcsetattr(int fd, int action, uint8_t *termios)');
  const check = (result: unknown, call: string): void => {
    if (result !== 0)
      throw new IoError(`cannot open a pseudo terminal: ${call} failed; is /dev/pts mounted?`);
  };
  return {
    openMaster() {
      const fd = posixOpenpt(fs.constants.O_RDWR | fs.constants.O_NOCTTY | fs.constants.O_NONBLOCK);
      if (typeof fd === 'number' && fd >= 0) return fd;
      throw new IoError(
        'cannot open a pseudo terminal: posix_openpt failed; is /dev/ptmx there, is a terminal left?',
      );
    },
    deviceOf(masterFd) {
      check(grantpt(masterFd), 'grantpt');
      check(unlockpt(masterFd), 'unlockpt');
      const buffer = Buffer.alloc(pathBytes);
      check(ptsname(masterFd, buffer, buffer.length), 'ptsname_r');
      return buffer.toString('utf8', 0, buffer.indexOf(0));
    },
    makeRaw(fd, device) {
      const termios = Buffer.alloc(termiosBytes);
      check(tcgetattr(fd, termios), `tcgetattr on ${device}`);
      cfmakeraw(termios);
      check(tcsetattr(fd, 0, termios), `tcsetattr on ${device}`);
    },
  };
}
