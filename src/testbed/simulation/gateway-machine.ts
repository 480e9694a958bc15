/**
 * The machine that a simulated gateway runs on: it can kill the process (what was written stays, the clock of the boot goes
 * on) or lose its power (the disk keeps what was made durable and some of the rest, a new boot begins), at any step at
 * which the process touches the world: a call on the disk, a datagram, octets of a serial line. Nothing of a life that has
 * ended goes on: its timers never fire, its calls never return, what it still says is not heard.
 */
import { errorText } from '../../base/errors.ts';
import { millis, unixMillis } from '../../base/units.ts';
import type { Millis, UnixMillis } from '../../base/units.ts';
import { Gateway } from '../../gateway/gateway.ts';
import type { GatewayConfig } from '../../gateway/config.ts';
import type { GatewayEvent } from '../../gateway/status.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';
import type { Entropy } from '../../host/entropy.ts';
import type { FileHandle, Filesystem } from '../../host/filesystem.ts';
import type { Host } from '../../host/host.ts';
import type { DatagramSocket, Network } from '../../host/network.ts';
import type { SerialLine, SerialLines } from '../../host/serial-line.ts';
import type { FileFault, FileOperation } from '../simulated-filesystem.ts';
import { sectorBytes } from '../simulated-disk.ts';
import { SimulatedFilesystem } from '../simulated-filesystem.ts';
import type { SimulatedClock } from '../simulated-clock.ts';
import type { Draw } from './draw.ts';
import type { Station } from './simulated-network.ts';

/** How a life ends. */
export type Ending = 'kill' | 'powerCut';

/** What a machine is made of. */
export interface GatewayMachineOptions {
  readonly clock: SimulatedClock;
  readonly entropy: Entropy;
  readonly draw: Draw;
  readonly station: Station;
  readonly serialLines: SerialLines;
  readonly config: GatewayConfig;
  readonly onEvent: (event: GatewayEvent) => void;
  /** A life ended: killed, or by itself with a reason. */
  readonly onEnded: (how: Ending | 'failed', reason: string) => void;
  /** Sees every call on the disk, and may spoil it. */
  readonly onOperation: (operation: FileOperation) => FileFault | undefined;
  /** Stands between the process and its disk, for a mutant. */
  readonly wrapFilesystem?: (filesystem: Filesystem, clock: Clock) => Filesystem;
}

/** The machine of one gateway; see the header of this file. */
export class GatewayMachine {
  readonly #options: GatewayMachineOptions;
  #disk: SimulatedFilesystem = new SimulatedFilesystem();
  #bootCount = 1;
  #bootMs = 0;
  #wallOffsetMs = 0;
  #life: Life | undefined;
  #armed: { steps: number; readonly how: Ending } | undefined;

  constructor(options: GatewayMachineOptions) {
    this.#options = options;
  }

  /** The gateway that runs, if one does. */
  get gateway(): Gateway | undefined {
    return this.#life?.gateway;
  }

  /** Disk of the present moment. */
  get disk(): SimulatedFilesystem {
    return this.#disk;
  }

  /** Starts the process unless it runs. */
  start(): void {
    if (this.#life !== undefined) return;
    this.#disk.onOperation = (operation) => this.#operate(operation);
    this.#life = new Life(this.#options, {
      disk: this.#disk,
      bootId: this.#bootCount.toString(16).padStart(32, '0'),
      bootMs: this.#bootMs,
      wallOffsetMs: () => this.#wallOffsetMs,
      step: () => this.#step(),
      onFailed: (life, reason) => {
        if (this.#life !== life) return;
        this.#end('kill');
        this.#options.onEnded('failed', reason);
      },
    });
  }

  /** Ends the life at once, or after so many more steps of the process. */
  end(how: Ending, steps = 0): void {
    if (this.#life === undefined) return;
    if (steps > 0) {
      this.#armed ??= { steps, how };
      return;
    }
    this.#end(how);
    this.#options.onEnded(how, '');
  }

  /** Ends for good what runs. */
  stop(): void {
    this.#armed = undefined;
    this.#life?.end();
    this.#life = undefined;
  }

  /** An end that was to come after some steps does not. */
  disarm(): void {
    this.#armed = undefined;
  }

  /** Removes a file while no process runs, as an operator may. */
  forget(path: string): void {
    void this.#disk.remove(path);
  }

  /** Flips one bit of what the buffer has written, or zeroes a sector of it; says what. */
  rot(draw: Draw): string {
    const path = this.#disk.paths().find((name) => name.endsWith('/slots'));
    if (path === undefined) return 'nothing';
    const data = this.#disk.contentOf(path);
    const written: number[] = [];
    for (let at = 0; at < data.length; at += sectorBytes) {
      if (data.subarray(at, at + sectorBytes).some((octet) => octet !== 0)) written.push(at / sectorBytes);
    }
    if (written.length === 0) return 'nothing';
    const sector = draw.pick(written);
    if (draw.chance(0.3)) {
      this.#disk.zeroSector(path, sector);
      return `sector ${sector} of ${path} is zero`;
    }
    const bit = (sector * sectorBytes + draw.whole(0, sectorBytes - 1)) * 8 + draw.whole(0, 7);
    this.#disk.flipBit(path, bit);
    return `bit ${bit} of ${path} is flipped`;
  }

  /** Steps the wall clock of this machine alone (I11). */
  stepWall(deltaMs: number): void {
    this.#wallOffsetMs += deltaMs;
  }

  /** Octets that the disk has left from now on. */
  setCapacity(capacityBytes: number): void {
    this.#disk.capacityBytes = capacityBytes;
  }

  /** False when the process ends at this step. */
  #step(): boolean {
    const armed = this.#armed;
    if (armed === undefined) return true;
    armed.steps -= 1;
    if (armed.steps > 0) return true;
    this.end(armed.how);
    return false;
  }

  #operate(operation: FileOperation): FileFault | undefined {
    if (!this.#step()) return { kind: 'crash' };
    return this.#options.onOperation(operation);
  }

  #end(how: Ending): void {
    this.#armed = undefined;
    this.#life?.end();
    this.#life = undefined;
    if (how === 'kill') {
      this.#disk = this.#disk.handOver();
      return;
    }
    const { draw, clock } = this.#options;
    const { capacityBytes } = this.#disk;
    // Mostly all or nothing of what is uncertain, sometimes each sector and name by itself.
    const style = draw.whole(0, 2);
    this.#disk.powerOff();
    this.#disk = this.#disk.crash((count) =>
      style === 0 ? 0 : style === 1 ? count - 1 : draw.whole(0, count - 1),
    );
    this.#disk.capacityBytes = capacityBytes;
    this.#bootCount += 1;
    this.#bootMs = clock.monotonicMs();
  }
}

interface LifeSurroundings {
  readonly disk: SimulatedFilesystem;
  readonly bootId: string;
  readonly bootMs: number;
  readonly wallOffsetMs: () => number;
  readonly step: () => boolean;
  readonly onFailed: (life: Life, reason: string) => void;
}

/** One life of the gateway process. */
class Life {
  readonly gateway: Gateway;
  readonly #station: Station;
  readonly #cancels = new Set<CancelTimer>();
  readonly #lines = new Set<SerialLine>();
  readonly #stop = new AbortController();
  #hasEnded = false;

  constructor(options: GatewayMachineOptions, around: LifeSurroundings) {
    this.#station = options.station;
    const clock = this.#clock(options.clock, around);
    const isAlive = (): boolean => !this.#hasEnded;
    const filesystem: Filesystem = options.wrapFilesystem?.(around.disk, clock) ?? around.disk;
    const host: Host = {
      clock,
      entropy: options.entropy,
      filesystem,
      blockDevices: { read: () => Promise.resolve({ kind: 'unknown', reason: 'simulated' }) },
      network: this.#network(options.station, around, isAlive),
      serialLines: this.#serialLines(options.serialLines, around, isAlive),
      bootId: around.bootId,
    };
    this.gateway = new Gateway({
      host,
      config: options.config,
      pid: 1,
      onEvent: (event) => {
        if (isAlive()) options.onEvent(event);
      },
      onRecord: () => undefined,
    });
    this.gateway.run(this.#stop.signal).then(
      () => around.onFailed(this, 'the gateway ended by itself'),
      (error: unknown) => around.onFailed(this, errorText(error)),
    );
  }

  end(): void {
    this.#hasEnded = true;
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
    this.#station.end();
    for (const line of this.#lines) void line.close();
    this.#lines.clear();
    // Nothing it does now is seen by anybody; but signals that are never aborted keep all that waits for them in memory.
    this.#stop.abort();
  }

  #clock(clock: SimulatedClock, around: LifeSurroundings): Clock {
    return {
      monotonicMs: (): Millis => millis(clock.monotonicMs() - around.bootMs),
      unixMs: (): UnixMillis => unixMillis(clock.unixMs() + around.wallOffsetMs()),
      schedule: (delayMs, action): CancelTimer => {
        if (this.#hasEnded) return () => undefined;
        const cancel = clock.schedule(delayMs, () => {
          this.#cancels.delete(cancel);
          action();
        });
        this.#cancels.add(cancel);
        return () => {
          this.#cancels.delete(cancel);
          cancel();
        };
      },
    };
  }

  #network(station: Station, around: LifeSurroundings, isAlive: () => boolean): Network {
    return {
      openDatagram: async (options) => {
        const socket = await station.openDatagram(options);
        return this.#socket(socket, around, isAlive);
      },
      resolve: (host) => station.resolve(host),
      openStream: () => station.openStream(),
    };
  }

  #socket(socket: DatagramSocket, around: LifeSurroundings, isAlive: () => boolean): DatagramSocket {
    return {
      local: socket.local,
      send: async (data, to) => {
        // Killed before it leaves, or right after: both are moments that a journal must survive.
        if (!isAlive() || !around.step()) return never();
        const sent = await socket.send(data, to);
        return isAlive() && around.step() ? sent : never();
      },
      onMessage: (handler) =>
        socket.onMessage((data, from) => {
          if (isAlive() && around.step()) handler(data, from);
        }),
      close: () => socket.close(),
    };
  }

  #serialLines(lines: SerialLines, around: LifeSurroundings, isAlive: () => boolean): SerialLines {
    return {
      open: async (path, options) => {
        const line = await lines.open(path, options);
        if (!isAlive()) {
          void line.close();
          return never();
        }
        this.#lines.add(line);
        return {
          path: line.path,
          write: (data) => (isAlive() && around.step() ? line.write(data) : never()),
          onData: (handler) =>
            line.onData((data) => {
              if (isAlive()) handler(data);
            }),
          onClose: (handler) =>
            line.onClose((error) => {
              this.#lines.delete(line);
              if (isAlive()) handler(error);
            }),
          close: () => line.close(),
        };
      },
    };
  }
}

/** A call that the end of the process overtook. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}

/** A file system that passes every call on, for a mutant to change some. */
export function passThrough(
  filesystem: Filesystem,
  changeHandle: (path: string, handle: FileHandle) => FileHandle,
): Filesystem {
  return {
    open: async (path, options) => changeHandle(path, await filesystem.open(path, options)),
    list: (directory) => filesystem.list(directory),
    createDirectory: (path) => filesystem.createDirectory(path),
    rename: (from, to) => filesystem.rename(from, to),
    remove: (path) => filesystem.remove(path),
    syncDirectory: (path) => filesystem.syncDirectory(path),
  };
}
