import { read } from 'node:fs';
import { SerialPort } from 'serialport';
import { IoError, errnoCode, errorText } from '../base/errors.ts';

/** Opens serial lines: modems, sensors, boards. */
export interface SerialLines {
  /**
   * Opens the device at `path` in raw mode, 8 data bits, no parity, one stop bit, with an exclusive lock.
   * Throws `IoError` naming the path when it is missing, is no serial line or has another owner.
   */
  open(path: string, options: { baudRate: number }): Promise<SerialLine>;
}

/**
 * One open serial line. A closed line stays closed: reopening gives a new object, so that nothing written to a lost
 * device reaches the one that takes its place.
 */
export interface SerialLine {
  readonly path: string;
  /** Resolves when the octets have left for the device; rejects with `IoError` once the line is closed. */
  write(data: Uint8Array): Promise<void>;
  /** Sets the receiver of incoming octets. */
  onData(handler: (data: Uint8Array) => void): void;
  /** Called once when the line closes; `error` is set when the device went away by itself. */
  onClose(handler: (error?: IoError) => void): void;
  close(): Promise<void>;
}

/** Serial lines of the machine, through the `serialport` package. */
export class NodeSerialLines implements SerialLines {
  open(path: string, options: { baudRate: number }): Promise<SerialLine> {
    return new Promise((resolve, reject) => {
      const port = new SerialPort({ path, baudRate: options.baudRate, autoOpen: false });
      port.open((cause) => {
        if (cause === null) {
          noticeHangUp(port);
          resolve(new NodeSerialLine(port));
        } else
          reject(
            new IoError(
              `cannot open serial line ${path}: ${errorText(cause).replace(/^Error: |, cannot open .*$/gu, '')}`,
              { cause },
            ),
          );
      });
    });
  }
}

class NodeSerialLine implements SerialLine {
  readonly path: string;
  readonly #port: SerialPort;
  #closeHandler: (error?: IoError) => void = () => undefined;
  #closed: { error?: IoError } | undefined;
  /** serialport calls back neither for what it has queued when the port closes, nor later. */
  readonly #unsent = new Set<(error: IoError) => void>();

  constructor(port: SerialPort) {
    this.path = port.path;
    this.#port = port;
    port.on('error', () => undefined); // every failure that matters is followed by `close` or by a rejected write
    port.on('close', (cause: (Error & { disconnected?: boolean }) | null) => {
      const lost = cause?.disconnected === true;
      this.#closed = lost ? { error: new IoError(`serial line ${this.path} went away`, { cause }) } : {};
      for (const giveUp of this.#unsent)
        giveUp(new IoError(`serial line ${this.path} closed before all was sent`));
      this.#closeHandler(this.#closed.error);
    });
  }

  write(data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      // serialport queues writes to a closed port and sends them after a reopen; that must not happen.
      if (!this.#port.isOpen) {
        reject(new IoError(`serial line ${this.path} is closed`));
        return;
      }
      this.#unsent.add(reject);
      this.#port.write(data, (cause) => {
        this.#unsent.delete(reject);
        if (cause === null || cause === undefined) resolve();
        else reject(new IoError(`cannot write to serial line ${this.path}: ${errorText(cause)}`, { cause }));
      });
    });
  }

  onData(handler: (data: Uint8Array) => void): void {
    this.#port.removeAllListeners('data');
    this.#port.on('data', handler);
  }

  onClose(handler: (error?: IoError) => void): void {
    this.#closeHandler = handler;
    if (this.#closed !== undefined) handler(this.#closed.error);
  }

  close(): Promise<void> {
    if (!this.#port.isOpen) return Promise.resolve();
    return new Promise((resolve) => {
      this.#port.close(() => resolve());
    });
  }
}

type PollingBinding = Extract<NonNullable<SerialPort['port']>, { poller: unknown }>;

/**
 * Makes a read that finds the device gone end the port. A terminal that was hung up answers a read with no octets; serialport takes that
 * for "try again" and reads in circles, without a `close`, whenever the hang-up falls between two reads and not into a wait.
 */
function noticeHangUp(port: SerialPort): void {
  const binding = port.port;
  if (binding === undefined || !('poller' in binding)) return;
  binding.read = async (buffer: Buffer, offset: number, length: number) => {
    for (;;) {
      const bytesRead = await readNow(openDescriptor(binding), buffer, offset, length);
      if (bytesRead === 0) throw new Error('the device was hung up');
      if (bytesRead !== undefined) return { buffer, bytesRead };
      // The port may have been closed during the read; waiting on its poller then would crash the process.
      openDescriptor(binding);
      await readable(binding);
    }
  };
}

/** Throws what serialport expects of a read that a close has ended. */
function openDescriptor(binding: PollingBinding): number {
  if (binding.isOpen && binding.fd !== null) return binding.fd;
  throw Object.assign(new Error('Port is not open'), { canceled: true });
}

/** Octets read, 0 at a hang-up, undefined when none are there now. */
function readNow(fd: number, buffer: Buffer, offset: number, length: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, offset, length, null, (cause, bytesRead) => {
      if (cause === null) resolve(bytesRead);
      else if (['EAGAIN', 'EWOULDBLOCK', 'EINTR'].includes(errnoCode(cause) ?? '')) resolve(undefined);
      else reject(cause);
    });
  });
}

function readable(binding: PollingBinding): Promise<void> {
  return new Promise((resolve, reject) => {
    binding.poller.once('readable', (cause: Error | null) => {
      if (cause === null) resolve();
      else reject(cause);
    });
  });
}
