import { IoError } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { SerialLine, SerialLines } from '../host/serial-line.ts';

/** The device's end of a simulated serial line. */
export interface SimulatedDevice {
  readonly path: string;
  /** Whether somebody has the line open. */
  readonly isOpen: boolean;
  /** Sends octets; they are lost while nobody has the line open, as on a real one. */
  write(data: Uint8Array): void;
  /** Sets the receiver of what the owner of the line writes. */
  onData(handler: (data: Uint8Array) => void): void;
  /** Called whenever somebody opens the line. */
  onOpen(handler: () => void): void;
  /** Removes the device: an open line closes with an error, later attempts to open it fail. */
  unplug(): void;
}

/**
 * Serial lines in memory. Octets arrive at once and in the same call, or `latencyMs` later by `clock` where one is
 * given; both ends keep their order.
 */
export class SimulatedSerialLines implements SerialLines {
  readonly #devices = new Map<string, Device>();
  readonly #deliver: (action: () => void) => void;
  #openCount = 0;

  constructor(options: { clock?: Clock; latencyMs?: Millis } = {}) {
    const { clock, latencyMs = millis(1) } = options;
    this.#deliver =
      clock === undefined
        ? (action): void => action()
        : (action): void => void clock.schedule(latencyMs, action);
  }

  /** How often a line was opened, failed attempts included. */
  get openCount(): number {
    return this.#openCount;
  }

  /** Plugs a device in at `path`; one that was there is unplugged first. */
  plug(path: string): SimulatedDevice {
    this.#devices.get(path)?.unplug();
    const device = new Device(path, this.#deliver, () => {
      if (this.#devices.get(path) === device) this.#devices.delete(path);
    });
    this.#devices.set(path, device);
    return device;
  }

  open(path: string): Promise<SerialLine> {
    this.#openCount++;
    const device = this.#devices.get(path);
    if (device === undefined) {
      return Promise.reject(
        new IoError(`cannot open serial line ${path}: Error: No such file or directory, cannot open ${path}`),
      );
    }
    if (device.isOpen) {
      return Promise.reject(
        new IoError(
          `cannot open serial line ${path}: Error: Resource temporarily unavailable Cannot lock port`,
        ),
      );
    }
    return Promise.resolve(device.open());
  }
}

class Device implements SimulatedDevice {
  readonly path: string;
  readonly #deliver: (action: () => void) => void;
  readonly #onUnplug: () => void;
  #line: Line | undefined;
  #dataHandler: (data: Uint8Array) => void = () => undefined;
  #openHandler: () => void = () => undefined;

  constructor(path: string, deliver: (action: () => void) => void, onUnplug: () => void) {
    this.path = path;
    this.#deliver = deliver;
    this.#onUnplug = onUnplug;
  }

  get isOpen(): boolean {
    return this.#line !== undefined;
  }

  open(): SerialLine {
    const line = new Line(
      this.path,
      (data) => this.#deliver(() => this.#dataHandler(data)),
      () => {
        if (this.#line === line) this.#line = undefined;
      },
    );
    this.#line = line;
    this.#openHandler();
    return line;
  }

  write(data: Uint8Array): void {
    const line = this.#line;
    const copy = Uint8Array.from(data);
    if (line !== undefined) this.#deliver(() => line.receive(copy));
  }

  onData(handler: (data: Uint8Array) => void): void {
    this.#dataHandler = handler;
  }

  onOpen(handler: () => void): void {
    this.#openHandler = handler;
  }

  unplug(): void {
    this.#onUnplug();
    this.#line?.end(new IoError(`serial line ${this.path} went away`));
  }
}

class Line implements SerialLine {
  readonly path: string;
  readonly #send: (data: Uint8Array) => void;
  readonly #onEnd: () => void;
  #dataHandler: (data: Uint8Array) => void = () => undefined;
  #closeHandler: (error?: IoError) => void = () => undefined;
  #closed: { error: IoError | undefined } | undefined;

  constructor(path: string, send: (data: Uint8Array) => void, onEnd: () => void) {
    this.path = path;
    this.#send = send;
    this.#onEnd = onEnd;
  }

  receive(data: Uint8Array): void {
    if (this.#closed === undefined) this.#dataHandler(data);
  }

  end(error?: IoError): void {
    if (this.#closed !== undefined) return;
    this.#closed = { error };
    this.#onEnd();
    this.#closeHandler(error);
  }

  write(data: Uint8Array): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(new IoError(`serial line ${this.path} is closed`));
    this.#send(Uint8Array.from(data));
    return Promise.resolve();
  }

  onData(handler: (data: Uint8Array) => void): void {
    this.#dataHandler = handler;
  }

  onClose(handler: (error?: IoError) => void): void {
    this.#closeHandler = handler;
    if (this.#closed !== undefined) handler(this.#closed.error);
  }

  close(): Promise<void> {
    this.end();
    return Promise.resolve();
  }
}
